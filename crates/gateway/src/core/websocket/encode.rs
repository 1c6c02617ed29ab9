//! Encodes frames for clients. A server's frames are not masked, so one serves every receiver.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::compression::Deflation;
use super::deflate::deflate;

/// A whole data message in one frame.
pub(crate) fn message(binary: bool, payload: &[u8]) -> Bytes {
    frame(OpCode::Data(if binary { Data::Binary } else { Data::Text }), payload)
}

/// The length of the frame of a message of so many bytes.
pub(crate) fn message_len(payload: usize) -> usize {
    FrameHeader { mask: None, ..FrameHeader::default() }.len(payload as u64) + payload
}

/// The same message compressed like this, which is that [of the message](Deflation::of_message); `None` where it is not
/// shorter.
pub(crate) fn deflated_message(binary: bool, payload: &[u8], deflation: Deflation) -> Option<Bytes> {
    let opcode = OpCode::Data(if binary { Data::Binary } else { Data::Text });
    let header = FrameHeader { opcode, mask: None, rsv1: true, ..FrameHeader::default() };
    deflate(payload, deflation.policy.level, deflation.window, |deflated| framed(&header, deflated))
}

/// An empty ping.
pub(crate) fn ping() -> Bytes {
    frame(OpCode::Control(Control::Ping), &[])
}

/// The answer to a ping.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    frame(OpCode::Control(Control::Pong), payload)
}

/// A close frame; `None` is the empty one, which answers an empty one.
pub(crate) fn close(code: Option<u16>, reason: &str) -> Bytes {
    let mut payload = Vec::with_capacity(2 + reason.len());
    if let Some(code) = code {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
    }
    frame(OpCode::Control(Control::Close), &payload)
}

fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    framed(&FrameHeader { opcode, mask: None, ..FrameHeader::default() }, payload)
}

fn framed(header: &FrameHeader, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(header.len(payload.len() as u64) + payload.len());
    header.format(payload.len() as u64, &mut out).expect("a Vec takes every byte");
    out.extend_from_slice(payload);
    out.into()
}
