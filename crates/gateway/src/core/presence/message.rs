//! The messages that say who has come to a room, or left it: a template of the application with the values put in.
//!
//! A template has `{group}`, `{uid}` and `{data}` where JSON values go. What goes in is not looked at again, so a uid that
//! is called `{data}` stays one.

use std::fmt::Write;

use serde::de::IgnoredAny;

/// A template that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageTemplate {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Group,
    Uid,
    Data,
}

const PLACEHOLDERS: [(&str, Part); 3] =
    [("{group}", Part::Group), ("{uid}", Part::Uid), ("{data}", Part::Data)];

impl MessageTemplate {
    /// Reads a template; `None` for an empty one, which sends nothing.
    ///
    /// # Errors
    /// When it is no JSON once the values stand in it.
    pub fn parse(text: &str) -> Result<Option<Self>, serde_json::Error> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        let next = |rest: &str| {
            let found = PLACEHOLDERS.iter().filter_map(|(name, part)| Some((rest.find(name)?, *name, part)));
            found.min_by_key(|(at, ..)| *at).map(|(at, name, part)| (at, name.len(), part.clone()))
        };
        while let Some((at, len, part)) = next(rest) {
            parts.extend([Part::Text(rest[..at].into()), part]);
            rest = &rest[at + len..];
        }
        parts.push(Part::Text(rest.into()));
        let template = Self { parts };
        serde_json::from_str::<IgnoredAny>(&template.fill("group", "uid", "{}"))?;
        Ok(Some(template))
    }

    /// Returns the message. `data` is JSON.
    pub fn fill(&self, group: &str, uid: &str, data: &str) -> String {
        let mut message = String::new();
        for part in &self.parts {
            // Writing to a string does not fail.
            let _ = match part {
                Part::Text(text) => message.write_str(text),
                Part::Group => write!(message, "{}", serde_json::Value::from(group)),
                Part::Uid => write!(message, "{}", serde_json::Value::from(uid)),
                Part::Data => message.write_str(data),
            };
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_the_template_as_json() {
        let template = MessageTemplate::parse(r#"{"in":{group},"who":[{uid},{data}]}"#).unwrap().unwrap();
        let message = template.fill("room \"1\"", "{data}", r#"{"name":"Ann"}"#);
        assert_eq!(message, r#"{"in":"room \"1\"","who":["{data}",{"name":"Ann"}]}"#);
    }

    #[test]
    fn a_template_that_makes_no_json_is_an_error_and_an_empty_one_sends_nothing() {
        assert_eq!(MessageTemplate::parse("").unwrap(), None);
        assert!(MessageTemplate::parse("{uid} is here").is_err());
        assert!(MessageTemplate::parse(r#"{"uid":"{uid}"}"#).is_err(), "the value brings its quotes along");
        assert!(MessageTemplate::parse("\"hello\"").unwrap().is_some());
    }
}
