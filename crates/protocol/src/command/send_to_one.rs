//! SEND_TO_ONE: sends a message, the body, to one client.

use bytes::Bytes;

use super::{Command, Payload};
use crate::{Frame, code};

/// Of the parts of a frame, as every reply to a client is one.
#[inline]
pub(super) fn decode(connection_id: u32, flag: u8, body: Bytes) -> Command {
    Command::SendToOne { to: connection_id, message: Payload::of(flag, body) }
}

#[inline]
pub(super) fn encode(connection_id: u32, message: Payload) -> Frame {
    let mut frame = Frame { cmd: code::SEND_TO_ONE, connection_id, ..Frame::default() };
    message.fill(&mut frame);
    frame
}
