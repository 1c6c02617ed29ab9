//! IS_ONLINE: whether a connection is there. The answer is `1` or `0`.

use super::Question;
use crate::{Frame, code};

pub(super) fn decode(frame: &Frame) -> Question {
    Question::IsOnline(frame.connection_id)
}

pub(super) fn encode(connection_id: u32) -> Frame {
    Frame { cmd: code::IS_ONLINE, connection_id, ..Frame::default() }
}
