//! REPORTED, ours: a gateway has read a worker's REPORT, whose number stands in the field for the connection.

use super::Command;
use crate::{Frame, code};

pub(super) fn decode(number: u32) -> Command {
    Command::Reported(number)
}

pub(super) fn encode(number: u32) -> Frame {
    Frame { cmd: code::REPORTED, connection_id: number, ..Frame::default() }
}
