//! UPDATE_SESSION: merges ext, a serialized PHP array, into the session of a client, as PHP's
//! `array_replace_recursive` does.

use std::mem;

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::UpdateSession { connection_id: frame.connection_id, session: mem::take(&mut frame.ext) }
}

pub(super) fn encode(connection_id: u32, session: Bytes) -> Frame {
    Frame { cmd: code::UPDATE_SESSION, connection_id, ext: session, ..Frame::default() }
}
