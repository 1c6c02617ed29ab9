//! KICK: sends a last message if there is one, and closes the client when it has been written.
//!
//! Without a last message the body is a serialized null. With a close code in ext, `{"code":4403}`,
//! where the original does not look, the frame is ours and refuses a client
//! ([`Command::Refuse`]).

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Body, Command, Payload};
use crate::{Frame, code};

/// The body of a KICK without a last message.
const NO_MESSAGE: Bytes = Bytes::from_static(b"N;");

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    let connection_id = frame.connection_id;
    let payload = Payload::take(frame);
    let message = (payload.body != Body::Php(NO_MESSAGE)).then_some(Payload { raw: false, ..payload });
    match close_code(&frame.ext) {
        Some(code) => Command::Refuse { connection_id, message, code },
        None => Command::Kick { connection_id, message },
    }
}

fn close_code(ext: &[u8]) -> Option<u16> {
    // The usual one is empty.
    let ext: Value = serde_json::from_slice(ext).ok()?;
    ext.get("code")?.as_u64()?.try_into().ok()
}

pub(super) fn encode(connection_id: u32, message: Option<Payload>) -> Frame {
    with_ext(connection_id, Bytes::new(), message)
}

pub(super) fn encode_refusal(connection_id: u32, message: Option<Payload>, code: u16) -> Frame {
    with_ext(connection_id, json!({ "code": code }).to_string().into(), message)
}

fn with_ext(connection_id: u32, ext: Bytes, message: Option<Payload>) -> Frame {
    let mut frame = Frame { cmd: code::KICK, connection_id, ext, ..Frame::default() };
    message.unwrap_or(Payload { body: Body::Php(NO_MESSAGE), raw: false, binary: false }).fill(&mut frame);
    frame
}
