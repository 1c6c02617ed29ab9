//! An event as the JSON that a backend is sent.
//!
//! `http_events` makes one for each event, `delivery` sends it. What a text cannot hold, as it is not UTF-8, stands as base64
//! under a key of its own: `message_base64`, `uid_base64`, `groups_base64`.

use bytes::Bytes;
use data_encoding::BASE64;
use gatewayworker_businessworker::{Client, CloseReason, EventName, Handshake, SessionData, php};
use gatewayworker_protocol::EventContext;
use serde::Serialize;
use serde_json::{Map, Value};

/// An event that is to be sent.
#[derive(Debug)]
pub(crate) struct Event {
    /// Its id, the same each time that it is sent.
    pub(crate) id: String,
    pub(crate) name: EventName,
    pub(crate) client_id: String,
    /// Everything but the number of the try.
    json: Vec<u8>,
}

/// What of an event is its own.
#[derive(Debug)]
pub(crate) enum Kind<'a> {
    Open,
    Connect(&'a Handshake),
    /// With whether the client marked it as binary.
    Message(&'a Bytes, bool),
    Close(CloseReason),
    Detached,
    Resumed(&'a Handshake),
}

/// The keys, in the order in which they are sent. What does not apply is left out.
#[derive(Debug, Default, Serialize)]
struct Form<'a> {
    event: &'static str,
    id: &'a str,
    client_id: &'a str,
    /// `None` where the gateway does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups_base64: Vec<String>,
    /// There are more groups than a gateway names.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    groups_cut: bool,
    session: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake: Option<HandshakeForm<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<CloseForm<'a>>,
    redelivered: bool,
    gateway_port: u16,
}

#[derive(Debug, Serialize)]
struct HandshakeForm<'a> {
    path: &'a str,
    query: Map<String, Value>,
    headers: Map<String, Value>,
    cookies: Map<String, Value>,
    address: Option<String>,
}

#[derive(Debug, Serialize)]
struct CloseForm<'a> {
    code: u16,
    reason: &'a str,
}

/// What the worker knows of the client of an event.
#[derive(Debug)]
pub(crate) struct About<'a> {
    pub(crate) client_id: String,
    /// The event's id, where its gateway numbers it.
    pub(crate) event_id: Option<String>,
    pub(crate) context: Option<&'a EventContext>,
    /// What the session holds, or why it cannot be read.
    pub(crate) session: Result<SessionData, String>,
    pub(crate) redelivered: bool,
    pub(crate) gateway_port: u16,
    /// The code and the reason of the client's close frame.
    pub(crate) close_frame: Option<(u16, &'a str)>,
}

impl<'a> About<'a> {
    /// Reads it from the client.
    pub(crate) fn of(client: &'a Client) -> Self {
        Self {
            client_id: client.id().to_string(),
            event_id: client.event_id(),
            context: client.context(),
            session: client.session().to_data().map_err(|error| error.to_string()),
            redelivered: client.redelivered(),
            gateway_port: client.gateway_port(),
            close_frame: client.close_frame().map(|frame| (frame.code, frame.reason.as_str())),
        }
    }
}

impl Event {
    /// Writes an event. Where the gateway does not number its events, as one of the original's, the id is made with
    /// `random`: it is another one when a gateway gives the event again.
    ///
    /// # Errors
    /// None that is known: all of this has a JSON form.
    pub(crate) fn new(about: About<'_>, kind: &Kind<'_>, random: u64) -> serde_json::Result<Self> {
        let name = kind.name();
        let id = about.event_id.unwrap_or_else(|| format!("{}-{random:016x}", about.client_id));
        let (session, session_error) = match about.session.and_then(session_json) {
            Ok(session) => (Some(session), None),
            Err(error) => (None, Some(error)),
        };
        let mut form = Form {
            event: name.as_str(),
            id: &id,
            client_id: &about.client_id,
            session,
            session_error,
            redelivered: about.redelivered,
            gateway_port: about.gateway_port,
            ..Form::default()
        };
        if let Some(context) = about.context {
            let (uid, uid_base64) = context.uid.as_ref().map(text_or_base64).unwrap_or_default();
            (form.uid, form.uid_base64) = (Some(uid), uid_base64);
            let (texts, others): (Vec<_>, Vec<_>) = context.groups.iter().map(text_or_base64).unzip();
            form.groups = Some(texts.into_iter().flatten().collect());
            form.groups_base64 = others.into_iter().flatten().collect();
            form.groups_cut = context.is_cut;
        }
        match kind {
            Kind::Open | Kind::Detached => {}
            Kind::Connect(handshake) | Kind::Resumed(handshake) => {
                form.handshake = Some(HandshakeForm::of(handshake))
            }
            Kind::Message(message, binary) => {
                (form.message, form.message_base64) = text_or_base64(message);
                form.binary = Some(*binary);
            }
            Kind::Close(reason) => {
                form.reason = Some(reason.as_str());
                form.close = about.close_frame.map(|(code, reason)| CloseForm { code, reason });
            }
        }
        let json = serde_json::to_vec(&form)?;
        Ok(Self { id, name, client_id: about.client_id, json })
    }

    /// Returns the body of a try, counted from 1.
    pub(crate) fn body(&self, number: u32) -> Bytes {
        // An object that has keys: one more is put behind them.
        let mut body = self.json.clone();
        body.pop();
        body.extend_from_slice(format!(",\"try\":{number}}}").as_bytes());
        body.into()
    }
}

impl Kind<'_> {
    /// Returns the name of the event.
    pub(crate) fn name(&self) -> EventName {
        match self {
            Self::Open => EventName::Open,
            Self::Connect(_) => EventName::Connect,
            Self::Message(..) => EventName::Message,
            Self::Close(_) => EventName::Close,
            Self::Detached => EventName::Detached,
            Self::Resumed(_) => EventName::Resumed,
        }
    }
}

impl<'a> HandshakeForm<'a> {
    fn of(handshake: &'a Handshake) -> Self {
        Self {
            path: handshake.path(),
            query: lossy_json(handshake.query()),
            headers: handshake.headers().map(|(name, value)| (name, value.into())).collect(),
            cookies: lossy_json(handshake.cookies()),
            address: handshake.remote_addr().map(|address| address.to_string()),
        }
    }
}

/// Returns bytes as text, or as base64 where they are none.
fn text_or_base64(bytes: &Bytes) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(BASE64.encode(bytes))),
    }
}

/// Returns a session as an object, even where PHP has a list.
fn session_json(session: SessionData) -> Result<Map<String, Value>, String> {
    let value = |(key, value): (php::Key, php::Value)| {
        let name = String::from_utf8_lossy(&key.to_bytes()).into_owned();
        match (std::str::from_utf8(&key.to_bytes()), value.into_json()) {
            (Ok(_), Some(json)) => Ok((name, json)),
            _ => Err(format!("JSON cannot express the session's value {name:?}: text has to be UTF-8")),
        }
    };
    session.into_array().into_iter().map(value).collect()
}

/// Returns what a client has sent as an object; what is not UTF-8 has replacement characters, or is left out within lists.
fn lossy_json(array: &php::Array) -> Map<String, Value> {
    let value = |(key, value): (&php::Key, &php::Value)| {
        let json = match value.as_bytes() {
            Some(bytes) => String::from_utf8_lossy(bytes).into(),
            None => value.clone().into_json()?,
        };
        Some((String::from_utf8_lossy(&key.to_bytes()).into_owned(), json))
    };
    array.iter().filter_map(value).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use gatewayworker_businessworker::Handshake;
    use serde_json::json;

    use super::*;

    static CONTEXT: LazyLock<EventContext> =
        LazyLock::new(|| context(Some("lena".into()), vec!["hall".into()]));

    fn context(uid: Option<Bytes>, groups: Vec<Bytes>) -> EventContext {
        EventContext { number: 7, uid, groups, is_cut: false }
    }

    pub(crate) fn about<'a>() -> About<'a> {
        About {
            client_id: "7f00000108fc00000001".into(),
            event_id: Some("00000000000000ab-7".into()),
            context: Some(&CONTEXT),
            session: Ok(SessionData::of(&json!({"name": "Lena", "roles": ["admin"]})).unwrap()),
            redelivered: false,
            gateway_port: 8282,
            close_frame: None,
        }
    }

    pub(crate) fn handshake() -> Handshake {
        let value = json!({
            "get": {"token": "t", "list": ["a"]},
            "server": {
                "REQUEST_URI": "/chat?token=t", "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": 5000,
                "HTTP_USER_AGENT": "test/1", "HTTP_COOKIE": "id=7",
            },
            "cookie": {"id": "7"},
        });
        Handshake::parse(&php::serialize(&php::Value::from_json(value))).unwrap()
    }

    /// The body of the first try.
    pub(crate) fn body(about: About<'_>, kind: &Kind<'_>) -> Value {
        serde_json::from_slice(&Event::new(about, kind, 1).unwrap().body(1)).unwrap()
    }

    #[test]
    fn a_handshake_goes_with_the_connect_event() {
        let mut expected = json!({
            "event": "connect",
            "id": "00000000000000ab-7",
            "client_id": "7f00000108fc00000001",
            "uid": "lena",
            "groups": ["hall"],
            "session": {"name": "Lena", "roles": ["admin"]},
            "handshake": {
                "path": "/chat",
                "query": {"token": "t", "list": ["a"]},
                "headers": {"user-agent": "test/1", "cookie": "id=7"},
                "cookies": {"id": "7"},
                "address": "127.0.0.1:5000",
            },
            "redelivered": false,
            "gateway_port": 8282,
            "try": 1,
        });
        let handshake = handshake();
        let kind = Kind::Connect(&handshake);
        assert_eq!(body(about(), &kind), expected);
        let event = Event::new(about(), &kind, 1).unwrap();
        expected["try"] = 3.into();
        assert_eq!(serde_json::from_slice::<Value>(&event.body(3)).unwrap(), expected, "a later try");
    }

    /// The schema that `/openapi.json` has of the body of a request.
    fn check(event: &Value) {
        let webhook = &gatewayworker_http::openapi()["webhooks"][event["event"].as_str().unwrap()]["post"];
        let schema = &webhook["requestBody"]["content"]["application/json"]["schema"];
        let validator = jsonschema::draft202012::new(schema).unwrap();
        let errors: Vec<_> = validator.iter_errors(event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{event}: {errors:?}");
    }

    #[test]
    fn every_event_is_as_the_description_says() {
        let handshake = handshake();
        let [text, bytes] = [Bytes::from("hi"), Bytes::from_static(b"\xff")];
        let kinds = [
            Kind::Open,
            Kind::Connect(&handshake),
            Kind::Message(&text, false),
            Kind::Message(&bytes, true),
            Kind::Close(CloseReason::ClientLeft),
            Kind::Detached,
            Kind::Resumed(&handshake),
        ];
        let strange = Bytes::from_static(b"\xff");
        let mut strange = context(Some(strange.clone()), vec![strange]);
        strange.is_cut = true;
        for kind in &kinds {
            check(&body(about(), kind));
            let close_frame = Some((1000, "bye"));
            check(&body(About { event_id: None, context: Some(&strange), close_frame, ..about() }, kind));
            check(&body(About { context: None, session: Err("an object".into()), ..about() }, kind));
        }
    }

    #[test]
    fn a_close_says_why_and_what_the_client_has_said() {
        let event = body(
            About { close_frame: Some((4001, "bye")), ..about() },
            &Kind::Close(CloseReason::ClientLeft),
        );
        assert_eq!((&event["event"], &event["reason"]), (&json!("close"), &json!("client-left")));
        assert_eq!(event["close"], json!({"code": 4001, "reason": "bye"}));
        assert!(body(about(), &Kind::Close(CloseReason::TimedOut)).get("close").is_none());
    }

    #[test]
    fn names_that_are_not_text_are_base64_under_another_key() {
        let strange = Bytes::from_static(b"\xff");
        let context = context(Some(strange.clone()), vec!["hall".into(), strange]);
        let event = body(About { context: Some(&context), ..about() }, &Kind::Open);
        assert_eq!((&event["uid"], &event["uid_base64"]), (&Value::Null, &json!("/w==")));
        assert_eq!((&event["groups"], &event["groups_base64"]), (&json!(["hall"]), &json!(["/w=="])));
    }

    #[test]
    fn a_gateway_that_says_nothing_leaves_uid_and_groups_out_and_the_id_is_random() {
        let event = body(About { event_id: None, context: None, ..about() }, &Kind::Open);
        assert!(event.get("uid").is_none() && event.get("groups").is_none());
        assert_eq!(event["id"], "7f00000108fc00000001-0000000000000001");
        let nobody = context(None, Vec::new());
        let event = body(About { context: Some(&nobody), ..about() }, &Kind::Open);
        assert_eq!((&event["uid"], &event["groups"]), (&Value::Null, &json!([])));
    }

    #[test]
    fn a_session_without_a_json_form_is_null_and_says_why() {
        let strange =
            php::Array::from_iter([(php::Key::from("photo"), php::Value::from(Bytes::from_static(b"\xff")))]);
        for session in [Ok(strange.into()), Err("it holds an object".to_owned())] {
            let event = body(About { session, ..about() }, &Kind::Open);
            assert_eq!(event["session"], Value::Null);
            assert!(event["session_error"].is_string());
        }
        let none = body(About { session: Ok(SessionData::new()), ..about() }, &Kind::Open);
        assert_eq!((&none["session"], none.get("session_error")), (&json!({}), None));
    }
}
