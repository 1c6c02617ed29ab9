//! RETURN, ours: the worker gives back events that it has not begun, the last of each client. The
//! epoch stands in the field for the connection, the [`EventCounts`] in the body.

use super::{Command, EventCounts};
use crate::{Frame, code};

pub(super) fn decode(epoch: u32, body: &[u8]) -> Command {
    Command::Return { epoch, counts: EventCounts::read(body) }
}

pub(super) fn encode(epoch: u32, counts: &EventCounts) -> Frame {
    Frame { cmd: code::RETURN, connection_id: epoch, body: counts.to_bytes(), ..Frame::default() }
}
