//! GET_CLIENT_SESSIONS_BY_GROUP: the sessions of the members of the group in ext. The answer maps
//! connection ids to sessions as strings.

use bytes::Bytes;

use super::Question;
use crate::{Frame, code};

pub(super) fn decode(frame: Frame) -> Question {
    Question::SessionsByGroup(frame.ext)
}

pub(super) fn encode(group: Bytes) -> Frame {
    Frame { cmd: code::GET_CLIENT_SESSIONS_BY_GROUP, ext: group, ..Frame::default() }
}
