//! GET_SESSION_BY_CLIENT_ID: the session of a client. The answer is null, or the bytes of the session
//! as they are stored.

use super::Question;
use crate::{Frame, code};

pub(super) fn decode(frame: &Frame) -> Question {
    Question::Session(frame.connection_id)
}

pub(super) fn encode(connection_id: u32) -> Frame {
    Frame { cmd: code::GET_SESSION_BY_CLIENT_ID, connection_id, ..Frame::default() }
}
