//! BATCH_GET_CLIENT_ID_BY_UID: the connections that are bound to each of some uids. Ext is a JSON list
//! of uids; the answer maps each to a list.

use bytes::Bytes;

use super::Question;
use crate::{Frame, code, json as lists};

pub(super) fn decode(frame: &Frame) -> Question {
    Question::BatchConnectionsByUid(lists::names_or_none(&frame.ext))
}

pub(super) fn encode(uids: &[Bytes]) -> Frame {
    Frame {
        cmd: code::BATCH_GET_CLIENT_ID_BY_UID,
        ext: lists::name_list(uids).to_string().into(),
        ..Frame::default()
    }
}
