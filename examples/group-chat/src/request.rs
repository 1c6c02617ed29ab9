//! Requests of clients, parsed from JSON.
//!
//! A request comes from anybody: `Request::parse` checks each field's type and believes none. The
//! application calls it for each message, and asks the database about the rest.

use serde_json::Value;

use crate::refusal::Refusal;

/// The longest `key` of a message, in bytes.
const MAX_KEY: usize = 64;

/// A request of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// The heartbeat of a client.
    Keep,
    /// All classes, threads and members.
    Directory,
    /// An action in a thread.
    InThread(Membership, ThreadAction),
}

/// The membership that a request claims: a speaker in the class of a thread.
///
/// `Database::check` verifies it; nothing else may believe it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) class: i64,
    pub(crate) thread: i64,
    pub(crate) speaker: i64,
    pub(crate) speaker_name: String,
}

/// An action in a thread, by a member of its class.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ThreadAction {
    /// Receives the thread's messages; with `watch`, also a notice for each user who joins or leaves.
    Join {
        watch: bool,
    },
    Leave,
    Send(Content),
    /// The page before this message, or the newest page.
    History {
        before: Option<i64>,
    },
    Members,
    /// An action that the chat does not have.
    Unknown,
}

/// The content of `send`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The id of a message that the speaker has stored already.
    Stored(i64),
    /// A message to store.
    New(Draft),
    /// Neither of them.
    Missing,
}

/// A message to store. One with the same key may be stored already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) content: String,
    /// The client's name for the message. A message that is sent again, after a lost connection,
    /// has the same key and is stored once.
    pub(crate) key: Option<String>,
}

impl Request {
    /// Parses a request.
    ///
    /// # Errors
    /// [`Refusal::Incomplete`]: a field is missing or of another type.
    pub(crate) fn parse(json: &Value) -> Result<Self, Refusal> {
        match json["action"].as_str() {
            Some("keep") => return Ok(Self::Keep),
            Some("directory") => return Ok(Self::Directory),
            _ => {}
        }
        let id = |key: &str| id(&json[key]).ok_or(Refusal::Incomplete);
        let name = json["speaker_name"].as_str().filter(|name| !name.is_empty());
        let membership = Membership {
            class: id("class_id")?,
            thread: id("thread_id")?,
            speaker: id("speaker")?,
            speaker_name: name.ok_or(Refusal::Incomplete)?.to_owned(),
        };
        let action = match json["action"].as_str() {
            Some("join") => ThreadAction::Join { watch: json["watch"] == true },
            Some("leave") => ThreadAction::Leave,
            Some("send") => ThreadAction::Send(content(json)?),
            Some("history") => {
                let before = &json["before"];
                ThreadAction::History { before: (!before.is_null()).then(|| id("before")).transpose()? }
            }
            Some("members") => ThreadAction::Members,
            _ => ThreadAction::Unknown,
        };
        Ok(Self::InThread(membership, action))
    }
}

fn content(json: &Value) -> Result<Content, Refusal> {
    let text = |key: &str| match &json[key] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_str())),
        _ => Err(Refusal::Incomplete),
    };
    if let Some(id) = id(&json["mes_id"]) {
        return Ok(Content::Stored(id));
    }
    let Some(content) = text("content")? else { return Ok(Content::Missing) };
    let key = text("key")?.map(str::to_owned);
    if key.as_ref().is_some_and(|key| !(1..=MAX_KEY).contains(&key.len()) || key.contains('\0')) {
        return Err(Refusal::Incomplete);
    }
    Ok(Content::New(Draft { content: content.trim().to_owned(), key }))
}

/// An id: a number, or a number in quotes, as some pages send it. 0 is no id.
fn id(value: &Value) -> Option<i64> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    };
    number.filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(action: &str, more: Value) -> Result<Request, Refusal> {
        let mut json =
            json!({"action": action, "thread_id": 3, "class_id": "2", "speaker": 1, "speaker_name": "王"});
        for (key, value) in more.as_object().unwrap() {
            json[key] = value.clone();
        }
        Request::parse(&json)
    }

    fn action(action: &str, more: Value) -> ThreadAction {
        match parse(action, more) {
            Ok(Request::InThread(_, action)) => action,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_of_a_request_may_be_in_quotes() {
        let membership = Membership { class: 2, thread: 3, speaker: 1, speaker_name: "王".into() };
        assert_eq!(
            parse("join", json!({})),
            Ok(Request::InThread(membership, ThreadAction::Join { watch: false }))
        );
        assert_eq!(action("join", json!({"watch": true})), ThreadAction::Join { watch: true });
        assert_eq!(action("send", json!({"mes_id": "7"})), ThreadAction::Send(Content::Stored(7)));
        let draft = |key: Option<&str>| Draft { content: "hi".into(), key: key.map(str::to_owned) };
        assert_eq!(
            action("send", json!({"content": " hi\n"})),
            ThreadAction::Send(Content::New(draft(None)))
        );
        let keyed = json!({"content": "hi", "key": "k1"});
        assert_eq!(action("send", keyed), ThreadAction::Send(Content::New(draft(Some("k1")))));
        assert_eq!(action("send", json!({})), ThreadAction::Send(Content::Missing));
        assert_eq!(action("history", json!({})), ThreadAction::History { before: None });
        assert_eq!(action("history", json!({"before": 50})), ThreadAction::History { before: Some(50) });
        assert_eq!(action("members", json!({})), ThreadAction::Members);
        assert_eq!(action("leave", json!({})), ThreadAction::Leave);
        assert_eq!(action("dance", json!({})), ThreadAction::Unknown);
    }

    #[test]
    fn keep_and_directory_need_no_thread() {
        assert_eq!(Request::parse(&json!({"action": "keep"})), Ok(Request::Keep));
        assert_eq!(Request::parse(&json!({"action": "directory"})), Ok(Request::Directory));
    }

    #[test]
    fn a_missing_field_or_one_of_another_type_makes_a_request_incomplete() {
        let nothing = [json!(null), json!(0), json!(""), json!([1]), json!({}), json!(1.5), json!(true)];
        for field in ["thread_id", "class_id", "speaker", "speaker_name"] {
            for wrong in &nothing {
                assert_eq!(
                    parse("join", json!({field: wrong})),
                    Err(Refusal::Incomplete),
                    "{field}: {wrong}"
                );
            }
        }
        assert_eq!(parse("join", json!({"speaker": "0x1"})), Err(Refusal::Incomplete));
        assert_eq!(parse("history", json!({"before": "x"})), Err(Refusal::Incomplete));
        assert_eq!(parse("send", json!({"content": ["hi"]})), Err(Refusal::Incomplete));
        for key in [json!(7), json!(""), json!("a\0"), json!("k".repeat(MAX_KEY + 1))] {
            assert_eq!(
                parse("send", json!({"content": "hi", "key": key})),
                Err(Refusal::Incomplete),
                "{key}"
            );
        }
        for json in [json!(null), json!([]), json!("join"), json!(7), json!({"action": "join"})] {
            assert_eq!(Request::parse(&json), Err(Refusal::Incomplete), "{json}");
        }
    }
}
