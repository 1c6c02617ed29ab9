//! PUBLISH, ours: an event between workers. Ext is the topic, the body is the payload.

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

pub(super) fn decode(frame: Frame) -> Command {
    Command::Publish { topic: frame.ext, payload: frame.body }
}

pub(super) fn encode(topic: Bytes, payload: Bytes) -> Frame {
    Frame { cmd: code::PUBLISH, ext: topic, body: payload, ..Frame::default() }
}
