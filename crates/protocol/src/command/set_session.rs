//! SET_SESSION: replaces the session of a client with ext, a serialized PHP array or nothing.

use std::mem;

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::SetSession { connection_id: frame.connection_id, session: mem::take(&mut frame.ext) }
}

pub(super) fn encode(connection_id: u32, session: Bytes) -> Frame {
    Frame { cmd: code::SET_SESSION, connection_id, ext: session, ..Frame::default() }
}
