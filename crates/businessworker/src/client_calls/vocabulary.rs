//! The vocabulary of clients' calls: reads a call, and writes answers and what is published. Plain data.
//!
//! `{"gw":"join","group":"room-1","id":1}` is answered with `{"gw":"join","id":1,"ok":true}`, or with
//! `{"gw":"join","id":1,"ok":false,"error":"forbidden","message":"…"}`. The client chooses the id, a string or a number;
//! it may leave it out. Nothing is decided in here but whether a call can be read: `rules` says whether it is allowed.

use std::borrow::Cow;

use gatewayworker_client::Presence;
use gatewayworker_protocol::GroupId;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::config::ClientCallsConfig;

/// What a call begins with, to the byte.
const BEGIN: &[u8] = br#"{"gw":"#;

/// The most uids in an answer to `presence`: each may have a KiB of data, and any client may ask.
const MAX_MEMBERS: usize = 1000;

/// The longest id of a call, in bytes of its JSON text.
const MAX_ID_BYTES: usize = 64;

/// Whether a message is a call.
#[inline]
pub(super) fn is_call(message: &[u8]) -> bool {
    message.starts_with(BEGIN)
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Join,
    Leave,
    Publish,
    Presence,
}

impl Verb {
    pub(super) const ALL: [Self; 4] = [Self::Join, Self::Leave, Self::Publish, Self::Presence];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Publish => "publish",
            Self::Presence => "presence",
        }
    }
}

/// A call that can be read.
#[derive(Debug)]
pub(super) struct Call<'m> {
    pub(super) verb: Verb,
    /// Its id, a JSON text, where it has one.
    id: Option<&'m RawValue>,
    pub(super) group: GroupId,
    /// What it publishes.
    message: Option<&'m RawValue>,
}

/// Why a call is not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It cannot be read, as the text says.
    BadRequest(&'static str),
    /// There is no such call.
    UnknownCall,
    /// No pattern allows it.
    Forbidden,
    /// The client is in as many groups as it may be in.
    TooMany,
    /// A name or a message is too long.
    TooLong(&'static str),
    /// It publishes to a group that the client is not in.
    NotAMember,
    /// The gateways do not say now what has to be known.
    Unavailable,
}

impl Refusal {
    /// Returns the word for a program, and a sentence for its author.
    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::BadRequest(what) => ("bad-request", what),
            Self::UnknownCall => (
                "unknown-call",
                r#"a message has to be a call: {"gw":"join", "leave", "publish" or "presence", "group":…}"#,
            ),
            Self::Forbidden => ("forbidden", "neither the settings nor your token allow this for this group"),
            Self::TooMany => ("too-many", "you are in as many groups as you may be in: leave one first"),
            Self::TooLong(what) => ("too-long", what),
            Self::NotAMember => ("not-a-member", "join the group before you publish to it"),
            Self::Unavailable => ("unavailable", "the gateways do not answer now: try again"),
        }
    }
}

/// The answer to a call.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'m> {
    gw: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'m RawValue>,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    /// Who is in a group.
    #[serde(flatten)]
    present: Option<Present>,
}

/// The answer to `presence`.
#[derive(Debug, Serialize)]
pub(super) struct Present {
    members: Vec<Member>,
    /// How many there are; more than the length of `members` where the list was cut.
    total: usize,
}

#[derive(Debug, Serialize)]
struct Member {
    uid: String,
    data: Map<String, Value>,
}

impl Present {
    /// As many of those who are present as an answer names.
    pub(super) fn new(presence: Presence) -> Self {
        let total = presence.total;
        let members = presence.members.into_iter().take(MAX_MEMBERS);
        let members = members.map(|member| Member { uid: member.uid.to_string(), data: member.data });
        Self { members: members.collect(), total }
    }
}

impl<'m> Answer<'m> {
    /// An answer to what is no call, or none that can be read, has the name `error`.
    pub(super) fn refused(gw: &'static str, id: Option<&'m RawValue>, why: Refusal) -> Self {
        let (error, message) = why.texts();
        Self { gw, id, ok: false, error: Some(error), message: Some(message), present: None }
    }

    /// The call's name.
    pub(super) fn name(&self) -> &'static str {
        self.gw
    }

    /// The word for why the call was refused; `None` where it was not.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        self.error
    }
}

impl<'m> Call<'m> {
    pub(super) fn done(&self) -> Answer<'m> {
        Answer { gw: self.verb.name(), id: self.id, ok: true, error: None, message: None, present: None }
    }

    pub(super) fn done_with(&self, present: Present) -> Answer<'m> {
        Answer { present: Some(present), ..self.done() }
    }

    pub(super) fn refused(&self, why: Refusal) -> Answer<'m> {
        Answer::refused(self.verb.name(), self.id, why)
    }
}

/// What the members of a group get.
#[derive(Debug, Serialize)]
pub(super) struct Published<'c> {
    gw: &'static str,
    group: Cow<'c, str>,
    from: Option<&'c str>,
    message: Option<&'c RawValue>,
}

impl<'c> Published<'c> {
    /// What a call publishes; `from` is the uid of its client.
    pub(super) fn new(call: &'c Call<'_>, from: Option<&'c str>) -> Self {
        let group = String::from_utf8_lossy(call.group.as_bytes());
        Self { gw: "message", group, from, message: call.message }
    }
}

/// A call as it stands in a message. Other keys are ignored.
#[derive(Deserialize)]
struct Raw<'m> {
    #[serde(borrow)]
    gw: &'m RawValue,
    #[serde(borrow, default)]
    id: Option<&'m RawValue>,
    #[serde(borrow, default)]
    group: Option<&'m RawValue>,
    #[serde(borrow, default, deserialize_with = "also_null")]
    message: Option<&'m RawValue>,
}

/// Reads a value that may be `null`, which is not the same as none.
fn also_null<'de: 'm, 'm, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'m RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Reads a call.
///
/// # Errors
/// With the answer to one that cannot be read.
pub(super) fn read<'m>(message: &'m [u8], config: &ClientCallsConfig) -> Result<Call<'m>, Answer<'m>> {
    let unreadable = |what| Answer::refused("error", None, Refusal::BadRequest(what));
    let raw: Raw<'m> = serde_json::from_slice(message)
        .map_err(|_| unreadable("a call is a JSON object in UTF-8 whose keys stand there once"))?;
    let name: Cow<'_, str> = text(raw.gw).ok_or_else(|| unreadable("gw: has to be a string"))?;
    if raw.id.is_some_and(|id| !is_id(id)) {
        return Err(unreadable("id: has to be a string or a number of at most 64 bytes"));
    }
    let Some(verb) = Verb::ALL.into_iter().find(|verb| verb.name() == name) else {
        return Err(Answer::refused("error", raw.id, Refusal::UnknownCall));
    };
    let refused = |why| Answer::refused(verb.name(), raw.id, why);
    let bad = |what| refused(Refusal::BadRequest(what));
    let group = raw.group.and_then(text).ok_or_else(|| bad("group: has to be a string"))?;
    if group.len() > config.max_name_bytes {
        return Err(refused(Refusal::TooLong("group: the name is too long")));
    }
    let group = GroupId::try_from(&*group).map_err(|_| bad(r#"group: may not be empty or "0""#))?;
    if verb == Verb::Publish {
        let message = raw.message.ok_or_else(|| bad("message: is missing"))?;
        if message.get().len() > config.max_message_bytes {
            return Err(refused(Refusal::TooLong("message: is too long")));
        }
        // Those who get it are not to choke on it: this limits how deep it goes.
        if serde_json::from_str::<Value>(message.get()).is_err() {
            return Err(bad("message: is no JSON that others can read"));
        }
    }
    Ok(Call { verb, id: raw.id, group, message: raw.message })
}

fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<String>(value.get()).ok().map(Cow::Owned)
}

fn is_id(id: &RawValue) -> bool {
    let text = id.get();
    let is_scalar = text.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
    text.len() <= MAX_ID_BYTES && is_scalar
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> ClientCallsConfig {
        ClientCallsConfig { max_name_bytes: 8, max_message_bytes: 300, ..ClientCallsConfig::default() }
    }

    fn answer_to(message: &str) -> Value {
        let config = config();
        let answer = match read(message.as_bytes(), &config) {
            Ok(call) => serde_json::to_value(call.done()),
            Err(answer) => serde_json::to_value(answer),
        };
        answer.unwrap()
    }

    fn error_to(message: &str) -> (String, String) {
        let answer = answer_to(message);
        assert_eq!(answer["ok"], false, "{message}");
        (answer["gw"].as_str().unwrap().into(), answer["error"].as_str().unwrap().into())
    }

    #[test]
    fn a_call_begins_with_gw_to_the_byte() {
        assert!(is_call(br#"{"gw":"join"}"#));
        for other in [&br#"{ "gw":"join"}"#[..], br#"{"gw" :1}"#, br#"{"a":1,"gw":"join"}"#, b"{\"gw\"", b""]
        {
            assert!(!is_call(other));
        }
    }

    #[test]
    fn an_answer_names_the_call_and_carries_its_id_as_it_came() {
        for (id, of_answer) in [
            ("1", json!({"gw": "join", "id": 1, "ok": true})),
            ("-1.5e3", json!({"gw": "join", "id": -1.5e3, "ok": true})),
            (r#""a-1""#, json!({"gw": "join", "id": "a-1", "ok": true})),
            ("null", json!({"gw": "join", "ok": true})),
        ] {
            let call = format!(r#"{{"gw":"join","group":"room","id":{id},"more":[1]}}"#);
            assert_eq!(answer_to(&call), of_answer);
        }
        let refused = answer_to(r#"{"gw":"leave","id":7}"#);
        assert_eq!(
            (&refused["gw"], &refused["id"], &refused["error"]),
            (&json!("leave"), &json!(7), &json!("bad-request"))
        );
        assert!(refused["message"].as_str().unwrap().starts_with("group: "));
    }

    #[test]
    fn what_cannot_be_read_is_a_bad_request() {
        for message in [
            r#"{"gw":"#,
            r#"{"gw":"join","group":"a"} {}"#,
            r#"{"gw":"join","gw":"leave","group":"a"}"#,
            r#"{"gw":1,"group":"a"}"#,
            r#"{"gw":"join","group":"a","id":{}}"#,
            r#"{"gw":"join","group":"a","id":true}"#,
            &format!(r#"{{"gw":"join","group":"a","id":"{}"}}"#, "1".repeat(63)),
            &format!(r#"{{"gw":"join","group":"a","id":{}}}"#, "1".repeat(65)),
        ] {
            assert_eq!(error_to(message), ("error".into(), "bad-request".into()), "{message}");
        }
        let not_utf8 = read(b"{\"gw\":\"join\",\"group\":\"\xff\"}", &config()).unwrap_err();
        assert_eq!(not_utf8.refusal(), Some("bad-request"));
        for group in ["", "0"] {
            let message = format!(r#"{{"gw":"join","group":"{group}"}}"#);
            assert_eq!(error_to(&message), ("join".into(), "bad-request".into()));
        }
        for message in
            [r#"{"gw":"join"}"#, r#"{"gw":"join","group":["a"]}"#, r#"{"gw":"join","group":"\ud800"}"#]
        {
            assert_eq!(error_to(message), ("join".into(), "bad-request".into()), "{message}");
        }
        for name in ["dance", "token", "message", "error", ""] {
            let message = format!(r#"{{"gw":"{name}","group":"a"}}"#);
            assert_eq!(error_to(&message), ("error".into(), "unknown-call".into()));
        }
    }

    #[test]
    fn what_is_too_long_or_too_deep_is_refused() {
        assert_eq!(error_to(r#"{"gw":"join","group":"123456789"}"#), ("join".into(), "too-long".into()));
        let publish = |message: &str| format!(r#"{{"gw":"publish","group":"room","message":{message}}}"#);
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(error_to(&publish(&nested(151))), ("publish".into(), "too-long".into()));
        assert_eq!(error_to(&publish(&nested(150))), ("publish".into(), "bad-request".into()));
        assert_eq!(answer_to(&publish(&nested(100)))["ok"], true);
        let bomb = publish(&nested(1_000_000));
        assert_eq!(error_to(&bomb), ("publish".into(), "too-long".into()));
        let elsewhere = format!(r#"{{"gw":"join","group":"room","more":{}}}"#, nested(1_000_000));
        assert_eq!(answer_to(&elsewhere)["ok"], true);
    }

    #[test]
    fn what_is_published_goes_on_as_it_came() {
        for message in [r#""hi""#, "null", r#"{"a":[1.50,12345678901234567890]}"#] {
            let call = format!(r#"{{"gw":"publish","group":"room","message":{message}}}"#);
            let config = config();
            let call = read(call.as_bytes(), &config).unwrap();
            let published = serde_json::to_string(&Published::new(&call, Some("ann"))).unwrap();
            assert_eq!(
                published,
                format!(r#"{{"gw":"message","group":"room","from":"ann","message":{message}}}"#)
            );
            let nobody = serde_json::to_value(Published::new(&call, None)).unwrap();
            assert_eq!(nobody["from"], Value::Null);
        }
        assert_eq!(error_to(r#"{"gw":"publish","group":"room"}"#), ("publish".into(), "bad-request".into()));
    }
}
