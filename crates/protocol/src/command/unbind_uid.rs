//! UNBIND_UID: unbinds a client from its uid. The uid in ext is sent, as the original does, but not
//! looked at.

use std::mem;

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::UnbindUid { connection_id: frame.connection_id, uid: mem::take(&mut frame.ext) }
}

pub(super) fn encode(connection_id: u32, uid: Bytes) -> Frame {
    Frame { cmd: code::UNBIND_UID, connection_id, ext: uid, ..Frame::default() }
}
