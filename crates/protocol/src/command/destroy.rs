//! DESTROY: closes a client at once, whatever waits to be written to it.

use super::Command;
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::Destroy(frame.connection_id)
}

pub(super) fn encode(connection_id: u32) -> Frame {
    Frame { cmd: code::DESTROY, connection_id, ..Frame::default() }
}
