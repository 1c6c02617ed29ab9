//! JOIN_GROUP: puts a client into the group in ext.

use std::mem;

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::JoinGroup { connection_id: frame.connection_id, group: mem::take(&mut frame.ext) }
}

pub(super) fn encode(connection_id: u32, group: Bytes) -> Frame {
    Frame { cmd: code::JOIN_GROUP, connection_id, ext: group, ..Frame::default() }
}
