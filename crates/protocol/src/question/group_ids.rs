//! GET_GROUP_ID_LIST: every group that has a member. The answer is a list.

use super::Question;
use crate::{Frame, code};

pub(super) fn decode() -> Question {
    Question::GroupIds
}

pub(super) fn encode() -> Frame {
    Frame { cmd: code::GET_GROUP_ID_LIST, ..Frame::default() }
}
