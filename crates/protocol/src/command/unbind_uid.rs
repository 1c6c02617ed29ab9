//! UNBIND_UID: unbinds a client from its uid. The uid in ext is sent, as the original does, but not
//! looked at.

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

pub(super) fn decode(frame: Frame) -> Command {
    Command::UnbindUid { connection_id: frame.connection_id, uid: frame.ext }
}

pub(super) fn encode(connection_id: u32, uid: Bytes) -> Frame {
    Frame { cmd: code::UNBIND_UID, connection_id, ext: uid, ..Frame::default() }
}
