//! UNGROUP: removes all clients from the group whose name is in the frame's `ext`. The clients
//! stay connected.

use std::mem;

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::Ungroup(mem::take(&mut frame.ext))
}

pub(super) fn encode(group: Bytes) -> Frame {
    Frame { cmd: code::UNGROUP, ext: group, ..Frame::default() }
}
