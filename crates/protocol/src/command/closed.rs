//! CLOSED, ours: the worker has run `on_close` for clients of this gateway, as it took the gateway for
//! lost. Their connections stand in the body, 32 bits each, the most significant byte first.

use super::{Command, ids};
use crate::{Frame, code};

pub(super) fn decode(body: &[u8]) -> Command {
    Command::Closed(ids::read(body))
}

pub(super) fn encode(connection_ids: &[u32]) -> Frame {
    Frame { cmd: code::CLOSED, body: ids::to_bytes(connection_ids), ..Frame::default() }
}
