//! The control messages of `gw.1`: what they are on the wire (`docs/client-protocol.md`).
//!
//! Pure bytes: `resumption` says what they mean. A message is U+0001 and a JSON object with one key.

use bytes::Bytes;
use serde::Deserialize;

use super::super::websocket::encode;

/// What a control message begins with, and a data message twice that began with it.
pub(crate) const MARK: u8 = 1;

/// The longest control message that has no token, in bytes.
const MAX_BYTES: usize = 4 * 1024;

/// The longest one that has, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A control message of a client.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientControl {
    /// It is a new client.
    Start {},
    /// It is the client of a token.
    Resume(Resume),
    /// It has the messages up to this number.
    Ack(u64),
    /// It wants an acknowledgement.
    Ping {},
    /// It has a new token for admission.
    Token {
        /// The token.
        auth: String,
    },
    /// It knows more than this gateway.
    #[serde(untagged)]
    Unknown(serde::de::IgnoredAny),
}

/// What a client says that comes back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Resume {
    /// Its token.
    pub token: String,
    /// The number of this attempt, which rises.
    #[serde(rename = "try")]
    pub attempt: u64,
    /// How many messages it has.
    pub got: u64,
}

/// Why something is no control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads a control message, without its mark.
///
/// # Errors
/// When it is too long, or not a JSON object.
pub(crate) fn read(json: &[u8]) -> Result<ClientControl, Malformed> {
    if json.len() > MAX_TOKEN_BYTES {
        return Err(Malformed);
    }
    let control = serde_json::from_slice(json).map_err(|_| Malformed)?;
    match control {
        ClientControl::Unknown(_) if !json.trim_ascii_start().starts_with(b"{") => Err(Malformed),
        ClientControl::Token { .. } => Ok(control),
        control if json.len() <= MAX_BYTES => Ok(control),
        _ => Err(Malformed),
    }
}

/// Makes a frame of a control message with this JSON.
pub(crate) fn frame(json: &str) -> Bytes {
    let mut text = Vec::with_capacity(1 + json.len());
    text.push(MARK);
    text.extend_from_slice(json.as_bytes());
    encode::message(false, &text)
}

/// What a new client is told.
pub(crate) struct Hello<'h> {
    /// Its id.
    pub(crate) client: &'h str,
    /// Its token.
    pub(crate) token: &'h str,
    /// For how long it is kept after a cut.
    pub(crate) resume_ms: u64,
    /// How often it hears from the gateway.
    pub(crate) ping_ms: u64,
    /// The longest message that it may send, in bytes.
    pub(crate) max_bytes: usize,
}

impl Hello<'_> {
    /// Its frame.
    pub(crate) fn frame(&self) -> Bytes {
        let Self { client, token, resume_ms, ping_ms, max_bytes } = self;
        // None of the texts has a character that JSON escapes.
        frame(&format!(
            r#"{{"hello":{{"client":"{client}","token":"{token}","resume_ms":{resume_ms},"ping_ms":{ping_ms},"max":{max_bytes}}}}}"#
        ))
    }
}

/// Tells a client that it is the same.
pub(crate) fn resumed(client: &str, got: u64) -> Bytes {
    frame(&format!(r#"{{"resumed":{{"client":"{client}","got":{got}}}}}"#))
}

/// Tells a client that the one of its token is not to be had.
pub(crate) fn lost(why: Lost) -> Bytes {
    frame(&format!(r#"{{"lost":{{"why":"{}"}}}}"#, why.name()))
}

/// Tells a client that the application has closed it meanwhile.
pub(crate) fn closed(code: u16, reason: &str) -> Bytes {
    frame(&serde_json::json!({"closed": {"code": code, "reason": reason}}).to_string())
}

/// Acknowledges the messages up to this number.
pub(crate) fn ack(number: u64) -> Bytes {
    frame(&format!(r#"{{"ack":{number}}}"#))
}

/// Asks for an acknowledgement.
pub(crate) fn ping() -> Bytes {
    frame(r#"{"ping":{}}"#)
}

/// Why a client cannot be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It came too late, or the client has been closed.
    Expired,
    /// More was waiting for it than is kept.
    Behind,
    /// The gateway stops.
    Drained,
    /// The token is none of this cluster's, or its gateway is gone, or the connection is another user's.
    Unknown,
}

impl Lost {
    /// All reasons.
    pub(crate) const ALL: [Self; 4] = [Self::Expired, Self::Behind, Self::Drained, Self::Unknown];

    /// Its name on the wire and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Behind => "behind",
            Self::Drained => "drained",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_are_read() {
        for (json, expected) in [
            (r#"{"start":{}}"#, ClientControl::Start {}),
            (r#"{"start":{"later":1}}"#, ClientControl::Start {}),
            (r#"{"ack":17}"#, ClientControl::Ack(17)),
            (r#"{"ping":{}}"#, ClientControl::Ping {}),
            (r#"{"token":{"auth":"a.b.c"}}"#, ClientControl::Token { auth: "a.b.c".into() }),
            (
                r#"{"resume":{"token":"T","try":2,"got":3,"later":{}}}"#,
                ClientControl::Resume(Resume { token: "T".into(), attempt: 2, got: 3 }),
            ),
        ] {
            assert_eq!(read(json.as_bytes()), Ok(expected), "{json}");
        }
    }

    #[test]
    fn what_is_not_known_is_ignored_and_what_is_no_object_is_wrong() {
        for json in [r#"{"later":{"a":[1]}}"#, r#"{}"#, r#"{"ack":-1}"#, r#"{"ack":1,"ping":{}}"#] {
            assert!(matches!(read(json.as_bytes()), Ok(ClientControl::Unknown(_))), "{json}");
        }
        for json in ["", "x", "17", "[1]", "\"start\"", "{\"ack\":", "\x01"] {
            assert_eq!(read(json.as_bytes()), Err(Malformed), "{json}");
        }
    }

    #[test]
    fn long_control_messages_are_wrong() {
        let pad = " ".repeat(MAX_BYTES);
        assert_eq!(read(format!(r#"{{"ping":{{}}}}{pad}"#).as_bytes()), Err(Malformed));
        let long = "x".repeat(MAX_BYTES);
        let token = format!(r#"{{"token":{{"auth":"{long}"}}}}"#);
        assert!(matches!(read(token.as_bytes()), Ok(ClientControl::Token { .. })));
        let longer = "x".repeat(MAX_TOKEN_BYTES);
        assert_eq!(read(format!(r#"{{"token":{{"auth":"{longer}"}}}}"#).as_bytes()), Err(Malformed));
    }

    #[test]
    fn what_the_gateway_says_is_json_behind_the_mark() {
        let hello = Hello { client: "7f", token: "T", resume_ms: 1, ping_ms: 2, max_bytes: 3 };
        for (frame, json) in [
            (hello.frame(), r#"{"hello":{"client":"7f","token":"T","resume_ms":1,"ping_ms":2,"max":3}}"#),
            (resumed("7f", 9), r#"{"resumed":{"client":"7f","got":9}}"#),
            (lost(Lost::Behind), r#"{"lost":{"why":"behind"}}"#),
            (closed(4001, "\"bye\""), r#"{"closed":{"code":4001,"reason":"\"bye\""}}"#),
            (ack(5), r#"{"ack":5}"#),
            (ping(), r#"{"ping":{}}"#),
        ] {
            assert_eq!((frame[0], frame[1] as usize, frame[2]), (0x81, json.len() + 1, MARK));
            assert_eq!(&frame[3..], json.as_bytes());
            assert!(serde_json::from_slice::<serde_json::Value>(&frame[3..]).is_ok());
        }
    }
}
