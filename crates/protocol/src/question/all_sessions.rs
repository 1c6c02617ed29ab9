//! GET_ALL_CLIENT_SESSIONS: the sessions of all clients. The answer maps connection ids to sessions
//! as strings.

use super::Question;
use crate::{Frame, code};

pub(super) fn decode() -> Question {
    Question::AllSessions
}

pub(super) fn encode() -> Frame {
    Frame { cmd: code::GET_ALL_CLIENT_SESSIONS, ..Frame::default() }
}
