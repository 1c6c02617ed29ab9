//! The calls of the history by name, with JSON in and JSON out: the port of the client library's table of calls.
//!
//! HTTP push, the shell and the answers of a backend make them. They do what the methods of [`History`] do.

use std::any::Any;
use std::sync::Arc;

use data_encoding::BASE64;
use gatewayworker_client::calls::{CallError, delivery_json};
use gatewayworker_client::history::{HistoryCall, HistoryCalls};
use gatewayworker_client::{Gateway, OutMessage};
use gatewayworker_protocol::GroupId;
use serde_json::{Value, json};

use crate::history::{Shared, check_group};
use crate::page::Range;
use crate::stats::ReadCall;
use crate::{Entry, Error, History, Page};

impl HistoryCalls for Shared {
    fn publish(
        self: Arc<Self>,
        gateway: Gateway,
        group: GroupId,
        message: OutMessage,
        with_position: bool,
    ) -> HistoryCall {
        Box::pin(async move {
            let history = History::with_shared(self, gateway);
            let name = group.to_string();
            let live = move |entry: &Entry| match with_position {
                true => entry.to_json_message(&name),
                false => entry.to_message(),
            };
            let published = history.publish_as(group, message, live).await?;
            let mut answer = json!({"position": published.position, "time_ms": published.time_ms});
            if let (Some(answer), Value::Object(delivery)) =
                (answer.as_object_mut(), delivery_json(&published.delivery))
            {
                answer.extend(delivery);
            }
            Ok(answer)
        })
    }

    fn since(self: Arc<Self>, group: GroupId, position: String, limit: usize) -> HistoryCall {
        Box::pin(async move {
            let position = position.parse().map_err(|error| bad_param("position", error))?;
            let group = check_group(group)?;
            Ok(page_json(&self.read(ReadCall::Since, &group, Range::After(position, limit as u64)).await?))
        })
    }

    fn last(self: Arc<Self>, group: GroupId, limit: usize) -> HistoryCall {
        Box::pin(async move {
            let group = check_group(group)?;
            Ok(page_json(&self.read(ReadCall::Last, &group, Range::Last(limit as u64)).await?))
        })
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Entry {
    /// The message as JSON text with its position, as members get it that are to know where it stands:
    /// `{"gw":"message","group":"room-1","position":"17-5f3a9c0d11223344","time_ms":1764218000000,"message":"hello"}`. A message that
    /// is not text has `message_base64` instead.
    pub fn to_json_message(&self, group: &str) -> OutMessage {
        let mut json = json!({"gw": "message", "group": group});
        if let (Some(json), Value::Object(entry)) = (json.as_object_mut(), entry_json(self)) {
            json.extend(entry);
        }
        json.into()
    }
}

fn entry_json(entry: &Entry) -> Value {
    let mut json = json!({"position": entry.position, "time_ms": entry.time_ms});
    match entry.text().filter(|_| !entry.binary) {
        Some(text) => json["message"] = text.into(),
        None => json["message_base64"] = BASE64.encode(&entry.message).into(),
    }
    json
}

fn page_json(page: &Page) -> Value {
    let messages: Vec<_> = page.messages.iter().map(entry_json).collect();
    json!({"messages": messages, "whole": page.whole, "more": page.more, "position": page.position})
}

fn bad_param(name: &str, why: impl std::fmt::Display) -> CallError {
    CallError::BadParams(format!("param `{name}`: {why}"))
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        match error {
            Error::Group(_) | Error::LongGroup(_) => bad_param("group", error),
            Error::TooLong { .. } | Error::Encoded => bad_param("message", error),
            Error::NotSent { .. } | Error::Panicked => Self::NotSent(error.to_string()),
            Error::Gateway(error) => error.into(),
            _ => Self::History(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Position;

    #[test]
    fn a_message_is_text_or_base64() {
        let position = Position { offset: 17, epoch: 0x5f3a };
        let entry = |message: &[u8], binary| Entry {
            position,
            time_ms: 7,
            message: bytes::Bytes::copy_from_slice(message),
            binary,
        };
        let text = json!({"position": "17-5f3a", "time_ms": 7, "message": "hello"});
        assert_eq!(entry_json(&entry(b"hello", false)), text);
        for binary in [entry(&[0, 255], false), entry(&[0, 255], true)] {
            assert_eq!(entry_json(&binary)["message_base64"], "AP8=");
        }
        assert_eq!(entry_json(&entry(b"hello", true))["message_base64"], "aGVsbG8=");
        let live = entry(b"hello", false).to_json_message("room");
        let expected =
            r#"{"gw":"message","group":"room","position":"17-5f3a","time_ms":7,"message":"hello"}"#;
        assert_eq!(live, OutMessage::from(expected));
    }
}
