//! GET_CLIENT_ID_BY_UID: the connections that are bound to the uid in ext. The answer is a list.

use bytes::Bytes;

use super::Question;
use crate::{Frame, code};

pub(super) fn decode(frame: Frame) -> Question {
    Question::ConnectionsByUid(frame.ext)
}

pub(super) fn encode(uid: Bytes) -> Frame {
    Frame { cmd: code::GET_CLIENT_ID_BY_UID, ext: uid, ..Frame::default() }
}
