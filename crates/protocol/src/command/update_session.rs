//! UPDATE_SESSION: merges ext, a serialized PHP array, into the session of a client, as PHP's
//! `array_replace_recursive` does.

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

pub(super) fn decode(frame: Frame) -> Command {
    Command::UpdateSession { connection_id: frame.connection_id, session: frame.ext }
}

pub(super) fn encode(connection_id: u32, session: Bytes) -> Frame {
    Frame { cmd: code::UPDATE_SESSION, connection_id, ext: session, ..Frame::default() }
}
