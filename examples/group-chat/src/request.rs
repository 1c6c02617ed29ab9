//! What a client may ask, read with care: it comes from anybody.

use serde_json::Value;

use crate::reply::Refusal;

/// The longest key of a message, in bytes.
const MAX_KEY: usize = 64;

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// It is still there.
    Keep,
    /// Which classes there are.
    Directory,
    /// Something in a thread.
    At(Place, What),
}

/// Who asks, and of what thread. Nothing of it is believed before the database says so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) class: i64,
    pub(crate) thread: i64,
    pub(crate) speaker: i64,
    pub(crate) speaker_name: String,
}

/// What is asked there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// To hear what is said, and, if it watches, who comes and goes.
    Join {
        watch: bool,
    },
    Leave,
    Send(Said),
    /// A page of what was said before this message, or of the newest.
    History {
        before: Option<i64>,
    },
    Members,
    /// Nothing that is known.
    Unknown,
}

/// What is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A message that was stored already.
    Stored(i64),
    /// One to be stored.
    New(Draft),
    Nothing,
}

/// A message that is not stored yet, or may be, by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) content: String,
    /// What the client calls it. Said again after a lost connection, it is the same message.
    pub(crate) key: Option<String>,
}

impl Request {
    pub(crate) fn parse(json: &Value) -> Result<Self, Refusal> {
        match json["action"].as_str() {
            Some("keep") => return Ok(Self::Keep),
            Some("directory") => return Ok(Self::Directory),
            _ => {}
        }
        let id = |key: &str| id(&json[key]).ok_or(Refusal::Incomplete);
        let name = json["speaker_name"].as_str().filter(|name| !name.is_empty());
        let place = Place {
            class: id("class_id")?,
            thread: id("thread_id")?,
            speaker: id("speaker")?,
            speaker_name: name.ok_or(Refusal::Incomplete)?.to_owned(),
        };
        let what = match json["action"].as_str() {
            Some("join") => What::Join { watch: json["watch"] == true },
            Some("leave") => What::Leave,
            Some("send") => What::Send(said(json)?),
            Some("history") => {
                let before = &json["before"];
                What::History { before: (!before.is_null()).then(|| id("before")).transpose()? }
            }
            Some("members") => What::Members,
            _ => What::Unknown,
        };
        Ok(Self::At(place, what))
    }
}

fn said(json: &Value) -> Result<Said, Refusal> {
    let text = |key: &str| match &json[key] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_str())),
        _ => Err(Refusal::Incomplete),
    };
    if let Some(id) = id(&json["mes_id"]) {
        return Ok(Said::Stored(id));
    }
    let Some(content) = text("content")? else { return Ok(Said::Nothing) };
    let key = text("key")?.map(str::to_owned);
    if key.as_ref().is_some_and(|key| !(1..=MAX_KEY).contains(&key.len()) || key.contains('\0')) {
        return Err(Refusal::Incomplete);
    }
    Ok(Said::New(Draft { content: content.trim().to_owned(), key }))
}

/// A number, or one in quotes, as pages send it; 0 is none.
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

    fn what(action: &str, more: Value) -> What {
        match parse(action, more) {
            Ok(Request::At(_, what)) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_whether_its_numbers_are_in_quotes_or_not() {
        let place = Place { class: 2, thread: 3, speaker: 1, speaker_name: "王".into() };
        assert_eq!(parse("join", json!({})), Ok(Request::At(place, What::Join { watch: false })));
        assert_eq!(what("join", json!({"watch": true})), What::Join { watch: true });
        assert_eq!(what("send", json!({"mes_id": "7"})), What::Send(Said::Stored(7)));
        let draft = |key: Option<&str>| Draft { content: "hi".into(), key: key.map(str::to_owned) };
        assert_eq!(what("send", json!({"content": " hi\n"})), What::Send(Said::New(draft(None))));
        let keyed = json!({"content": "hi", "key": "k1"});
        assert_eq!(what("send", keyed), What::Send(Said::New(draft(Some("k1")))));
        assert_eq!(what("send", json!({})), What::Send(Said::Nothing));
        assert_eq!(what("history", json!({})), What::History { before: None });
        assert_eq!(what("history", json!({"before": 50})), What::History { before: Some(50) });
        assert_eq!(what("members", json!({})), What::Members);
        assert_eq!(what("leave", json!({})), What::Leave);
        assert_eq!(what("dance", json!({})), What::Unknown);
    }

    #[test]
    fn some_requests_are_about_no_thread() {
        assert_eq!(Request::parse(&json!({"action": "keep"})), Ok(Request::Keep));
        assert_eq!(Request::parse(&json!({"action": "directory"})), Ok(Request::Directory));
    }

    #[test]
    fn what_is_missing_or_of_another_type_makes_it_incomplete() {
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
