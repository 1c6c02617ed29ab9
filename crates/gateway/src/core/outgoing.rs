//! A message to clients, encoded once however many clients get it.
//!
//! What a client gets depends on its listener: a WebSocket frame, text or binary, or the bytes of
//! another protocol. Nothing is queued here: `commands` do that, with
//! `shared_frames`.

use std::sync::OnceLock;

use bytes::Bytes;
use gatewayworker_protocol::inspect::FrameKind;
use gatewayworker_protocol::php::{self, Value};
use gatewayworker_protocol::{Body, Payload};
use serde::{Deserialize, Serialize};

use super::protocol::Protocol;
use super::resumption::control::MARK;
use super::sent_frames;
use super::websocket::encode;

/// What a WebSocket listener sends a message as that is not marked as binary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebSocketType {
    /// Text where the message is valid UTF-8, binary where not.
    #[default]
    Auto,
    /// Text; still binary where it is not valid UTF-8, as a text frame must be.
    Text,
    /// Binary.
    Binary,
}

/// A message to any number of clients. Each encoding is made when the first
/// client needs it, and shared by all the others, across shards.
#[derive(Debug)]
pub struct Outgoing {
    body: Bytes,
    raw: bool,
    binary: bool,
    as_text: OnceLock<Bytes>,
    as_binary: OnceLock<Bytes>,
    /// A text for clients to which one that begins with U+0001 is a control message.
    as_escaped: OnceLock<Bytes>,
    /// One for each of the gateway's protocols, where one of them has clients.
    framed: OnceLock<Box<[OnceLock<Bytes>]>>,
}

impl Outgoing {
    pub(crate) fn new(payload: Payload) -> Self {
        let Payload { body, raw, binary } = payload;
        let body = match body {
            // It goes into outboxes as it is, and may wait there: not with all of the
            // buffer that the command came in.
            Body::Plain(body) if raw => Bytes::copy_from_slice(&body),
            Body::Plain(body) => body,
            Body::Php(serialized) => json_of(&serialized),
        };
        let (as_text, as_binary, as_escaped, framed) = Default::default();
        Self { body, raw, binary, as_text, as_binary, as_escaped, framed }
    }

    /// The bytes for the only client that a message goes to.
    pub(crate) fn only_websocket(payload: Payload, default: WebSocketType) -> Bytes {
        let Self { body, raw, binary, .. } = Self::new(payload);
        if raw {
            return body;
        }
        encode::message(is_binary(&body, binary, default), &body)
    }

    /// The same for a client that does not speak WebSocket.
    pub(crate) fn only_framed(payload: Payload, protocol: &dyn Protocol) -> Bytes {
        let Self { body, raw, .. } = Self::new(payload);
        if raw { body } else { encoded(protocol, &body) }
    }

    /// The bytes for a client that speaks this protocol, which is number `index` of `of`.
    pub(crate) fn framed(&self, protocol: &dyn Protocol, index: usize, of: usize) -> &Bytes {
        if self.raw {
            return &self.body;
        }
        let all = self.framed.get_or_init(|| (0..of).map(|_| OnceLock::new()).collect());
        all[index].get_or_init(|| encoded(protocol, &self.body))
    }

    /// The bytes for a client of a WebSocket listener with this type.
    pub(crate) fn websocket(&self, default: WebSocketType) -> &Bytes {
        if self.raw {
            return &self.body;
        }
        let (once, binary) = match self.binary || default == WebSocketType::Binary {
            true => (&self.as_binary, true),
            false => (&self.as_text, false),
        };
        once.get_or_init(|| encode::message(is_binary(&self.body, binary, default), &self.body))
    }

    /// Whether a client that counts its messages gets the same bytes as others.
    #[inline]
    pub(crate) fn is_counted_as_it_is(&self) -> bool {
        !self.raw && self.body.first() != Some(&MARK)
    }

    /// The bytes for a client of a WebSocket listener with this type that counts its messages (`resumption`); `None`
    /// for raw bytes that are not one whole message.
    pub(crate) fn websocket_counted(&self, default: WebSocketType) -> Option<&Bytes> {
        if self.is_counted_as_it_is() {
            return Some(self.websocket(default));
        }
        if self.raw {
            return is_whole_message(&self.body).then_some(&self.body);
        }
        if is_binary(&self.body, self.binary, default) {
            return Some(self.websocket(default));
        }
        Some(self.as_escaped.get_or_init(|| encode::message(false, &[&[MARK], &self.body[..]].concat())))
    }
}

/// Whether raw bytes are one message in one frame, without extensions, and not one that would be a control message.
fn is_whole_message(bytes: &[u8]) -> bool {
    let [frame] = sent_frames::websocket_frames(bytes)[..] else { return false };
    match frame.kind {
        FrameKind::Text => frame.payload.first() != Some(&MARK),
        kind => kind == FrameKind::Binary,
    }
}

fn encoded(protocol: &dyn Protocol, message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + 16);
    protocol.encode(message, &mut out);
    out.into()
}

/// Whether a message goes out as binary: as it is marked, or the listener has it, or
/// as it must where it is no valid UTF-8.
fn is_binary(body: &[u8], marked: bool, default: WebSocketType) -> bool {
    marked || default == WebSocketType::Binary || std::str::from_utf8(body).is_err()
}

/// What the original's WebSocket protocol sends for a serialized value: a string
/// as it is, anything else as `json_encode` has it. Where that fails the original's gateway
/// dies; here the message is empty.
fn json_of(serialized: &[u8]) -> Bytes {
    // All that is an array or object is not looked into here.
    match serialized.first() {
        Some(b's' | b'b') => match php::unserialize(serialized) {
            Ok(Value::String(text)) => text,
            Ok(Value::Bool(true)) => Bytes::from_static(b"1"),
            _ => Bytes::new(),
        },
        _ => php::json_encode(serialized).unwrap_or_default().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(payload: Payload, default: WebSocketType) -> Bytes {
        Outgoing::new(payload).websocket(default).clone()
    }

    #[test]
    fn invalid_utf8_never_goes_out_as_text() {
        for default in [WebSocketType::Auto, WebSocketType::Text] {
            assert_eq!(sent(Payload::plain("hi"), default), &b"\x81\x02hi"[..]);
            assert_eq!(sent(Payload::plain(&b"\xff"[..]), default), &b"\x82\x01\xff"[..]);
        }
        assert_eq!(sent(Payload::plain("hi"), WebSocketType::Binary), &b"\x82\x02hi"[..]);
    }

    #[test]
    fn a_raw_message_goes_out_as_it_is() {
        let buffer = Bytes::from(b"\x81\x02hi, and what else was read".to_vec());
        let raw = Payload { raw: true, ..Payload::plain(buffer.slice(..4)) };
        let waiting = sent(raw, WebSocketType::Auto);
        assert_eq!(waiting, &b"\x81\x02hi"[..]);
        assert!(buffer.is_unique(), "a waiting message keeps the buffer it came in");
    }

    #[test]
    fn a_php_array_becomes_json() {
        let body = Body::Php(Bytes::from_static(b"a:1:{s:1:\"k\";s:6:\"\xe4\xbd\xa0\xe5\xa5\xbd\";}"));
        let payload = Payload { body, raw: false, binary: false };
        assert_eq!(&sent(payload, WebSocketType::Auto)[2..], r#"{"k":"你好"}"#.as_bytes());
        for (serialized, expected) in [
            ("s:2:\"hi\";", "hi"),
            ("N;", "null"),
            ("O:8:\"stdClass\":1:{s:1:\"a\";i:1;}", r#"{"__PHP_Incomplete_Class_Name":"stdClass","a":1}"#),
            ("a:1:{i:0;d:INF;}", ""),
            ("rubbish", ""),
        ] {
            let body = Body::Php(Bytes::from_static(serialized.as_bytes()));
            let sent = sent(Payload { body, raw: false, binary: false }, WebSocketType::Auto);
            assert_eq!(&sent[2..], expected.as_bytes(), "{serialized}");
        }
    }
}
