//! Frames for clients, taken apart again for an operator: what an outbox has, what a traced client is sent.
//!
//! An outbox holds ready-made bytes, which nothing on the way of a message looks into again. Here they are read
//! leniently, as a worker may send bytes as they are: bytes that are no whole frame are [`FrameKind::Raw`]. Of a
//! compressed message the front is decompressed, which is all that is shown.

use std::borrow::Cow;

use gatewayworker_protocol::inspect::{FrameKind, MAX_OUTBOX_PAYLOAD, MAX_TRACE_PAYLOAD};

use super::listener_policy::{Framing, ListenerPolicy};
use super::protocol::{Decoded, Input, Protocol};
use super::websocket::inflate::inflate_front;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentFrame<'b> {
    pub(crate) kind: FrameKind,
    /// The length of its payload, in bytes, as it is on the wire.
    pub(crate) len: usize,
    /// The code of a close frame, where it has one.
    pub(crate) code: Option<u16>,
    /// The message, or the front of one that is compressed; of a close frame the reason.
    pub(crate) payload: Cow<'b, [u8]>,
}

/// How many frames are told apart in the bytes of one delivery. What is behind them is shown as raw bytes: a worker may
/// send any number of empty frames as one message.
const MAX_FRAMES: usize = 256;

/// How much of a compressed message is decompressed, in bytes: more than is shown of it, so that it is seen to go on.
const MAX_FRONT: usize =
    1 + if MAX_TRACE_PAYLOAD > MAX_OUTBOX_PAYLOAD { MAX_TRACE_PAYLOAD } else { MAX_OUTBOX_PAYLOAD };

impl<'b> SentFrame<'b> {
    /// A frame of this kind.
    pub(crate) fn new(kind: FrameKind, code: Option<u16>, payload: &'b [u8]) -> Self {
        Self { kind, len: payload.len(), code, payload: payload.into() }
    }

    /// Bytes that are no whole frame.
    pub(crate) fn raw(bytes: &'b [u8]) -> Self {
        Self::new(FrameKind::Raw, None, bytes)
    }
}

/// Returns the frames that these bytes are for a client of a listener.
pub(crate) fn sent_frames<'b>(policy: &ListenerPolicy, bytes: &'b [u8]) -> Vec<SentFrame<'b>> {
    match &policy.framing {
        Framing::WebSocket(_) => websocket_frames(bytes),
        Framing::Other(other) => messages(&*other.protocol, bytes),
    }
}

/// Returns the code of the close frame at the end of these bytes, where there is one.
pub(crate) fn close_code(policy: &ListenerPolicy, bytes: &[u8]) -> Option<u16> {
    if !matches!(policy.framing, Framing::WebSocket(_)) {
        return None;
    }
    sent_frames(policy, bytes).last().and_then(|frame| frame.code)
}

/// Returns the messages of another protocol than WebSocket.
fn messages<'b>(protocol: &dyn Protocol, mut bytes: &'b [u8]) -> Vec<SentFrame<'b>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        match protocol.decode(Input::new(bytes, 0, bytes.len())) {
            // What a protocol makes of its own bytes is borrowed, unless it is one that changes them.
            Ok(Decoded::Message { len, payload: Cow::Borrowed(payload) })
                if (1..=bytes.len()).contains(&len) && frames.len() < MAX_FRAMES =>
            {
                frames.push(SentFrame::new(FrameKind::Message, None, payload));
                bytes = &bytes[len..];
            }
            _ => {
                frames.push(SentFrame::raw(bytes));
                break;
            }
        }
    }
    frames
}

/// The first bytes of compressed messages.
const COMPRESSED_TEXT: u8 = 0xc1;
const COMPRESSED_BINARY: u8 = 0xc2;

/// Returns the frames that these bytes are for a WebSocket client.
pub(crate) fn websocket_frames(mut bytes: &[u8]) -> Vec<SentFrame<'_>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        if frames.len() >= MAX_FRAMES {
            frames.push(SentFrame::raw(bytes));
            break;
        }
        match websocket_frame(bytes) {
            Some((frame, rest)) => {
                frames.push(frame);
                bytes = rest;
            }
            None => {
                frames.push(SentFrame::raw(bytes));
                break;
            }
        }
    }
    frames
}

/// Takes a whole frame off the front: RFC 6455 section 5.2, without a mask.
fn websocket_frame(bytes: &[u8]) -> Option<(SentFrame<'_>, &[u8])> {
    let [first, second] = *bytes.first_chunk::<2>()?;
    let (header, len) = match second {
        len @ 0..=125 => (2, u64::from(len)),
        126 => (4, u64::from(u16::from_be_bytes(*bytes[2..].first_chunk::<2>()?))),
        127 => (10, u64::from_be_bytes(*bytes[2..].first_chunk::<8>()?)),
        // It is masked: no frame of a server.
        _ => return None,
    };
    // Whole messages only.
    let kind = match first {
        0x81 | COMPRESSED_TEXT => FrameKind::Text,
        0x82 | COMPRESSED_BINARY => FrameKind::Binary,
        0x88 => FrameKind::Close,
        0x89 => FrameKind::Ping,
        0x8a => FrameKind::Pong,
        _ => return None,
    };
    let (payload, rest) = bytes.get(header..)?.split_at_checked(usize::try_from(len).ok()?)?;
    let frame = match payload.split_first_chunk::<2>() {
        Some((code, reason)) if kind == FrameKind::Close => {
            SentFrame::new(kind, Some(u16::from_be_bytes(*code)), reason)
        }
        _ if matches!(first, COMPRESSED_TEXT | COMPRESSED_BINARY) => {
            let front = inflate_front(payload, MAX_FRONT)?;
            SentFrame { kind, len: payload.len(), code: None, payload: front.into() }
        }
        _ => SentFrame::new(kind, None, payload),
    };
    Some((frame, rest))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::listener_policy::OtherProtocol;
    use super::super::protocol::{Protocol, Text};
    use super::super::testing;
    use super::super::websocket::compression::{CompressionPolicy, Deflation, Window};
    use super::super::websocket::encode;
    use super::*;

    #[test]
    fn frames_are_read_back_as_they_were_made() {
        let long = vec![b'x'; 70_000];
        let bytes = [
            &encode::message(false, b"hi")[..],
            &encode::message(true, &[7; 300]),
            &encode::message(true, &long),
            &encode::ping(),
            &encode::pong(b"p"),
            &encode::close(Some(4001), "bye"),
        ]
        .concat();
        let policy = testing::policy();
        let frames: Vec<_> = sent_frames(&policy, &bytes)
            .into_iter()
            .map(|frame| (frame.kind, frame.len, frame.code))
            .collect();
        let expected = [
            (FrameKind::Text, 2, None),
            (FrameKind::Binary, 300, None),
            (FrameKind::Binary, 70_000, None),
            (FrameKind::Ping, 0, None),
            (FrameKind::Pong, 1, None),
            (FrameKind::Close, 3, Some(4001)),
        ];
        assert_eq!(frames, expected);
        assert_eq!(close_code(&policy, &bytes), Some(4001));
        assert_eq!(close_code(&policy, &encode::close(None, "")), None);
        assert_eq!(close_code(&policy, b""), None);
    }

    #[test]
    fn bytes_that_are_no_whole_frame_are_raw() {
        let policy = testing::policy();
        for bytes in [
            &b"\x81"[..],
            b"\x81\x05hi",
            b"\x81\x82mask\x00\x00",
            b"\x81\x7e\x00",
            b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xffx",
            b"\x01\x01x",
            b"hello",
        ] {
            assert_eq!(sent_frames(&policy, bytes), [SentFrame::raw(bytes)], "{bytes:?}");
        }
        let frames = sent_frames(&policy, b"\x81\x01xrest");
        assert_eq!(frames, [SentFrame::new(FrameKind::Text, None, b"x"), SentFrame::raw(b"rest")]);
    }

    #[test]
    fn the_front_of_a_compressed_message_is_shown() {
        let text = "compressible ".repeat(1000);
        for (binary, kind) in [(false, FrameKind::Text), (true, FrameKind::Binary)] {
            let policy = CompressionPolicy { min_bytes: 0, level: 1 };
            let deflation = Deflation { policy, window: Window::Bits15 };
            let frame = encode::deflated_message(binary, text.as_bytes(), deflation).unwrap();
            let both = [&frame[..], &frame].concat();
            let shown = &sent_frames(&testing::policy(), &both)[1];
            assert_eq!((shown.kind, &*shown.payload), (kind, &text.as_bytes()[..MAX_FRONT]));
            assert!(shown.len < frame.len() && shown.len < 500, "{} bytes", shown.len);
        }
        let garbage = b"\xc1\x03\xff\xff\xff";
        assert_eq!(sent_frames(&testing::policy(), garbage), [SentFrame::raw(garbage)]);
    }

    #[test]
    fn a_message_of_another_protocol_is_read_by_that_protocol() {
        let protocol: Arc<dyn Protocol> = Arc::new(Text);
        let framing = Framing::Other(OtherProtocol { protocol, index: 0, of: 1 });
        let policy = ListenerPolicy { framing, ..testing::policy() };
        let message = || SentFrame::new(FrameKind::Message, None, b"hi");
        assert_eq!(sent_frames(&policy, b"hi\n"), [message()]);
        assert_eq!(sent_frames(&policy, b"hi\nhi\nho"), [message(), message(), SentFrame::raw(b"ho")]);
        assert_eq!(close_code(&policy, b"\x88\x02\x03\xe8"), None);
    }
}
