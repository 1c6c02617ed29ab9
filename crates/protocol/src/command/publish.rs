//! PUBLISH, ours: an event between workers. Ext is the topic, the body is the payload.

use std::mem;

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::Publish { topic: mem::take(&mut frame.ext), payload: mem::take(&mut frame.body) }
}

pub(super) fn encode(topic: Bytes, payload: Bytes) -> Frame {
    Frame { cmd: code::PUBLISH, ext: topic, body: payload, ..Frame::default() }
}
