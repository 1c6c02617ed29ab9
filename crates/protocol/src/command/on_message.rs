//! ON_MESSAGE: a client has sent a message, which is the body. Its session stands in ext.

use bytes::Bytes;

use super::{Command, Origin, Payload};
use crate::{Frame, code};

/// Of the parts of a frame, as this is the command that a cluster decodes most.
#[inline]
pub(super) fn decode(origin: Origin, flag: u8, session: Bytes, body: Bytes) -> Command {
    Command::OnMessage { origin, message: Payload::of(flag, body), session }
}

#[inline]
pub(super) fn encode(origin: Origin, session: Bytes, message: Payload) -> Frame {
    let mut frame = Frame { ext: session, ..origin.frame(code::ON_MESSAGE) };
    message.fill(&mut frame);
    frame
}
