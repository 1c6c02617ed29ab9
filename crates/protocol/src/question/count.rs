//! GET_CLIENT_COUNT_BY_GROUP: how many members the group in ext has or, where ext is empty, how many
//! clients the gateway has. The answer is a number.

use bytes::Bytes;

use super::Question;
use crate::{Frame, code};

pub(super) fn decode(frame: Frame) -> Question {
    Question::Count((!frame.ext.is_empty()).then_some(frame.ext))
}

pub(super) fn encode(group: Option<Bytes>) -> Frame {
    Frame { cmd: code::GET_CLIENT_COUNT_BY_GROUP, ext: group.unwrap_or_default(), ..Frame::default() }
}
