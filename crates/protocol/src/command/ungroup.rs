//! UNGROUP: removes all clients from the group whose name is in the frame's `ext`. The clients
//! stay connected.

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

pub(super) fn decode(frame: Frame) -> Command {
    Command::Ungroup(frame.ext)
}

pub(super) fn encode(group: Bytes) -> Frame {
    Frame { cmd: code::UNGROUP, ext: group, ..Frame::default() }
}
