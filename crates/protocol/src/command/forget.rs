//! FORGET, ours: these clients are the worker's no more, and nothing runs for them. Their connections
//! stand in the body, 32 bits each, the most significant byte first.

use super::{Command, ids};
use crate::{Frame, code};

pub(super) fn decode(body: &[u8]) -> Command {
    Command::Forget(ids::read(body))
}

pub(super) fn encode(connection_ids: &[u32]) -> Frame {
    Frame { cmd: code::FORGET, body: ids::to_bytes(connection_ids), ..Frame::default() }
}
