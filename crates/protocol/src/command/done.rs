//! DONE, ours: the worker has handled events of these clients. The epoch stands in the field for the
//! connection, the [`EventCounts`] in the body.

use super::{Command, EventCounts};
use crate::{Frame, code};

#[inline]
pub(super) fn decode(epoch: u32, body: &[u8]) -> Command {
    Command::Done { epoch, counts: EventCounts::read(body) }
}

pub(super) fn encode(epoch: u32, counts: &EventCounts) -> Frame {
    Frame { cmd: code::DONE, connection_id: epoch, body: counts.to_bytes(), ..Frame::default() }
}
