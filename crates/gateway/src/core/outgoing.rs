//! A message to clients, encoded once however many clients get it.
//!
//! What a client gets depends on its listener: a WebSocket frame, text or binary, or the bytes of
//! another protocol; and on what it has agreed on: the frame may be compressed (`deflated`). Nothing is queued here: `commands` do that, with
//! `shared_frames`.

use std::sync::OnceLock;

use bytes::Bytes;
use gatewayworker_protocol::inspect::FrameKind;
use gatewayworker_protocol::php::{self, Value};
use gatewayworker_protocol::{Body, Payload};
use serde::{Deserialize, Serialize};

use super::deflated::Deflated;
use super::protocol::Protocol;
use super::resumption::control::MARK;
use super::sent_frames;
use super::websocket::compression::{CompressedSizes, Deflation};
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
    as_text: OnceLock<WebSocketFrames>,
    as_binary: OnceLock<WebSocketFrames>,
    /// A text for clients to which one that begins with U+0001 is a control message.
    as_escaped: OnceLock<Box<Self>>,
    /// One for each of the gateway's protocols, where one of them has clients.
    framed: OnceLock<Box<[OnceLock<Bytes>]>>,
}

/// A message as a frame, text or binary, and as compressed ones.
#[derive(Debug)]
struct WebSocketFrames {
    binary: bool,
    plain: Bytes,
    deflated: Deflated,
}

/// What a client gets for a message. `B` is bytes, or a reference to them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoding<B> {
    /// A frame, or several where the message is raw.
    pub(crate) frame: B,
    /// Its lengths, where it is compressed.
    pub(crate) compressed: Option<CompressedSizes>,
}

/// What a client gets for a message that counts its messages (`resumption`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted<B> {
    /// The frame that is kept for it, without compression: it may come back with another agreement about that.
    pub(crate) kept: B,
    /// What it is sent now.
    pub(crate) sent: Encoding<B>,
}

impl<B: Clone> Counted<B> {
    /// Keeps and sends the same.
    pub(super) fn plain(frame: B) -> Self {
        Self { kept: frame.clone(), sent: Encoding::plain(frame) }
    }
}

impl Counted<&Bytes> {
    pub(super) fn cloned(self) -> Counted<Bytes> {
        let Encoding { frame, compressed } = self.sent;
        Counted { kept: self.kept.clone(), sent: Encoding { frame: frame.clone(), compressed } }
    }
}

impl<B> Encoding<B> {
    fn plain(frame: B) -> Self {
        Self { frame, compressed: None }
    }
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
    pub(crate) fn only_websocket(
        payload: Payload,
        default: WebSocketType,
        deflation: Option<Deflation>,
    ) -> Encoding<Bytes> {
        let Self { body, raw, binary, .. } = Self::new(payload);
        if raw {
            return Encoding::plain(body);
        }
        let binary = is_binary(&body, binary, default);
        let deflation = deflation.and_then(|deflation| deflation.of_message(body.len()));
        let deflated = deflation.and_then(|deflation| encode::deflated_message(binary, &body, deflation));
        match deflated {
            Some(frame) => {
                let sizes = CompressedSizes { plain: encode::message_len(body.len()), wire: frame.len() };
                Encoding { frame, compressed: Some(sizes) }
            }
            None => Encoding::plain(encode::message(binary, &body)),
        }
    }

    /// The same for a client that does not speak WebSocket.
    pub(crate) fn only_framed(payload: Payload, protocol: &dyn Protocol) -> Encoding<Bytes> {
        let Self { body, raw, .. } = Self::new(payload);
        Encoding::plain(if raw { body } else { encoded(protocol, &body) })
    }

    /// The bytes for a client that speaks this protocol, which is number `index` of `of`.
    pub(crate) fn framed(&self, protocol: &dyn Protocol, index: usize, of: usize) -> Encoding<&Bytes> {
        if self.raw {
            return Encoding::plain(&self.body);
        }
        let all = self.framed.get_or_init(|| (0..of).map(|_| OnceLock::new()).collect());
        Encoding::plain(all[index].get_or_init(|| encoded(protocol, &self.body)))
    }

    /// The bytes for a client of a WebSocket listener with this type, which are compressed like this, if at all.
    pub(crate) fn websocket(&self, default: WebSocketType, deflation: Option<Deflation>) -> Encoding<&Bytes> {
        if self.raw {
            return Encoding::plain(&self.body);
        }
        let (once, binary) = match self.binary || default == WebSocketType::Binary {
            true => (&self.as_binary, true),
            false => (&self.as_text, false),
        };
        let frames = once.get_or_init(|| {
            let binary = is_binary(&self.body, binary, default);
            let plain = encode::message(binary, &self.body);
            WebSocketFrames { binary, plain, deflated: Deflated::default() }
        });
        match deflation.and_then(|deflation| deflation.of_message(self.body.len())) {
            Some(deflation) => self.deflated(frames, deflation),
            None => Encoding::plain(&frames.plain),
        }
    }

    /// The same compressed, unless that is not shorter.
    fn deflated<'m>(&self, frames: &'m WebSocketFrames, deflation: Deflation) -> Encoding<&'m Bytes> {
        match frames.deflated.get(frames.binary, &self.body, deflation) {
            Some(frame) => {
                let sizes = CompressedSizes { plain: frames.plain.len(), wire: frame.len() };
                Encoding { frame, compressed: Some(sizes) }
            }
            None => Encoding::plain(&frames.plain),
        }
    }

    /// Whether a client that counts its messages gets the same bytes as others.
    #[inline]
    pub(crate) fn is_counted_as_it_is(&self) -> bool {
        !self.raw && self.body.first() != Some(&MARK)
    }

    /// The bytes for a client of a WebSocket listener with this type that counts its messages (`resumption`), which are
    /// compressed like this, if at all; `None` for raw bytes that are not one whole message.
    pub(crate) fn websocket_counted(
        &self,
        default: WebSocketType,
        deflation: Option<Deflation>,
    ) -> Option<Counted<&Bytes>> {
        if self.raw && !is_whole_message(&self.body) {
            return None;
        }
        let is_as_it_is =
            self.raw || self.is_counted_as_it_is() || is_binary(&self.body, self.binary, default);
        let message = if is_as_it_is { self } else { self.escaped() };
        let sent = message.websocket(default, deflation);
        Some(Counted { kept: message.websocket(default, None).frame, sent })
    }

    /// The same text behind another U+0001.
    fn escaped(&self) -> &Self {
        self.as_escaped.get_or_init(|| {
            let text = [&[MARK], &self.body[..]].concat();
            Box::new(Self::new(Payload::plain(text)))
        })
    }
}

/// Whether raw bytes are one message in one frame, without extensions, and not one that would be a control message.
fn is_whole_message(bytes: &[u8]) -> bool {
    let [0x81 | 0x82, ..] = bytes else { return false };
    let [frame] = &sent_frames::websocket_frames(bytes)[..] else { return false };
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
    use super::super::websocket::compression::{CompressionPolicy, Window};
    use super::*;

    fn sent(payload: Payload, default: WebSocketType) -> Bytes {
        Outgoing::new(payload).websocket(default, None).frame.clone()
    }

    #[test]
    fn invalid_utf8_never_goes_out_as_text() {
        for default in [WebSocketType::Auto, WebSocketType::Text] {
            assert_eq!(sent(Payload::plain("hi"), default), &b"\x81\x02hi"[..]);
            assert_eq!(sent(Payload::plain(&b"\xff"[..]), default), &b"\x82\x01\xff"[..]);
        }
        assert_eq!(sent(Payload::plain("hi"), WebSocketType::Binary), &b"\x82\x02hi"[..]);
    }

    /// A listener that compresses from so many bytes on, for a client with this window.
    fn from(min_bytes: usize, window: Window) -> Option<Deflation> {
        Some(Deflation { policy: CompressionPolicy { min_bytes, level: 1 }, window })
    }

    #[test]
    fn a_message_is_compressed_once_for_all_clients_that_can_share_that() {
        let text = "compressible ".repeat(100);
        let message = Outgoing::new(Payload::plain(text.clone()));
        let frame = |deflation| message.websocket(WebSocketType::Auto, deflation).frame;
        let shared = frame(from(1, Window::Bits15));
        assert_eq!(shared[0], 0xc1, "a text of one compressed frame");
        // 1300 bytes: a window of 11 bits has all of them.
        assert!(std::ptr::eq(shared, frame(from(1, Window::Bits11))));
        let narrow = frame(from(1, Window::Bits10));
        assert!(!std::ptr::eq(shared, narrow) && narrow[0] == 0xc1);
        assert!(std::ptr::eq(narrow, frame(from(1, Window::Bits10))));
        let plain = frame(None);
        assert!(plain[0] == 0x81 && plain.len() > 10 * shared.len());
        for (deflation, is_compressed) in [
            (from(1300, Window::Bits15), true),
            // Alone it is the same as for all with a smaller window, too.
            (from(1, Window::Bits11), true),
            (from(1301, Window::Bits15), false),
            (from(1301, Window::Bits9), false),
        ] {
            let alone =
                Outgoing::only_websocket(Payload::plain(text.clone()), WebSocketType::Auto, deflation);
            assert_eq!(alone.frame, frame(deflation));
            assert_eq!(alone.compressed, message.websocket(WebSocketType::Auto, deflation).compressed);
            let sizes = CompressedSizes { plain: plain.len(), wire: shared.len() };
            assert_eq!(alone.compressed, is_compressed.then_some(sizes));
        }
    }

    #[test]
    fn what_does_not_shrink_and_what_is_raw_goes_out_as_it_is() {
        let raw = Payload { raw: true, ..Payload::plain("x".repeat(1000)) };
        for (payload, frame) in
            [(raw, Bytes::from(vec![b'x'; 1000])), (Payload::plain("ab"), encode::message(false, b"ab"))]
        {
            let deflation = from(1, Window::Bits15);
            let message = Outgoing::new(payload.clone());
            let shared = message.websocket(WebSocketType::Auto, deflation);
            assert_eq!((shared.frame, shared.compressed), (&frame, None));
            let alone = Outgoing::only_websocket(payload, WebSocketType::Auto, deflation);
            assert_eq!((alone.frame, alone.compressed), (frame, None));
        }
    }

    #[test]
    fn binary_and_text_are_compressed_apart() {
        let message = Outgoing::new(Payload::plain("compressible ".repeat(100)));
        let first = |kind| message.websocket(kind, from(1, Window::Bits15)).frame[0];
        assert_eq!([WebSocketType::Text, WebSocketType::Binary].map(first), [0xc1, 0xc2]);
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
