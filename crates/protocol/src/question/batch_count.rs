//! BATCH_GET_CLIENT_COUNT_BY_GROUP: how many members each of some groups has. Ext is a JSON list of
//! groups; the answer maps each to its number.

use bytes::Bytes;

use super::Question;
use crate::{Frame, code, json as lists};

pub(super) fn decode(frame: &Frame) -> Question {
    Question::BatchCount(lists::names_or_none(&frame.ext))
}

pub(super) fn encode(groups: &[Bytes]) -> Frame {
    Frame {
        cmd: code::BATCH_GET_CLIENT_COUNT_BY_GROUP,
        ext: lists::name_list(groups).to_string().into(),
        ..Frame::default()
    }
}
