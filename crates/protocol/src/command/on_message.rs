//! ON_MESSAGE: a client has sent a message, which is the body. Its session stands in ext.

use bytes::Bytes;

use super::{Command, Origin, Payload};
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: Frame) -> Command {
    Command::OnMessage { origin: Origin::of(&frame), message: Payload::of(&frame), session: frame.ext }
}

#[inline]
pub(super) fn encode(origin: Origin, session: Bytes, message: Payload) -> Frame {
    let mut frame = Frame { ext: session, ..origin.frame(code::ON_MESSAGE) };
    message.fill(&mut frame);
    frame
}
