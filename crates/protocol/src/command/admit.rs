//! ADMIT, ours: admits a client after its handshake.

use super::Command;
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::Admit(frame.connection_id)
}

pub(super) fn encode(connection_id: u32) -> Frame {
    Frame { cmd: code::ADMIT, connection_id, ..Frame::default() }
}
