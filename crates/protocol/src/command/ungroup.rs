//! UNGROUP: takes every member out of the group in ext.

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

pub(super) fn decode(frame: Frame) -> Command {
    Command::Ungroup(frame.ext)
}

pub(super) fn encode(group: Bytes) -> Frame {
    Frame { cmd: code::UNGROUP, ext: group, ..Frame::default() }
}
