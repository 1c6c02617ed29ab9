//! BIND_UID: binds a client to the uid in ext.

use std::mem;

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::BindUid { connection_id: frame.connection_id, uid: mem::take(&mut frame.ext) }
}

pub(super) fn encode(connection_id: u32, uid: Bytes) -> Frame {
    Frame { cmd: code::BIND_UID, connection_id, ext: uid, ..Frame::default() }
}
