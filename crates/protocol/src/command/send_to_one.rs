//! SEND_TO_ONE: sends a message, the body, to one client.

use super::{Command, Payload};
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: Frame) -> Command {
    Command::SendToOne { to: frame.connection_id, message: Payload::of(&frame) }
}

#[inline]
pub(super) fn encode(connection_id: u32, message: Payload) -> Frame {
    let mut frame = Frame { cmd: code::SEND_TO_ONE, connection_id, ..Frame::default() };
    message.fill(&mut frame);
    frame
}
