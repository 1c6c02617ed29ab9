//! ATTACH, ours: makes a call link that of an epoch. The epoch stands in the field for the connection,
//! the id of the worker's process in the body, 64 bits, the most significant byte first.

use super::Command;
use crate::{Frame, code};

pub(super) fn decode(epoch: u32, body: &[u8]) -> Command {
    let process = body.first_chunk().map_or(0, |process| u64::from_be_bytes(*process));
    Command::Attach { epoch, process }
}

pub(super) fn encode(epoch: u32, process: u64) -> Frame {
    let body = process.to_be_bytes().to_vec().into();
    Frame { cmd: code::ATTACH, connection_id: epoch, body, ..Frame::default() }
}
