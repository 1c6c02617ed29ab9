//! REPORT, ours: what a worker tells a gateway about itself, on its event link. Its number stands in the field for the
//! connection, the JSON of a [`Report`](crate::report::Report) is the body.

use std::mem;

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::Report { number: frame.connection_id, body: mem::take(&mut frame.body) }
}

pub(super) fn encode(number: u32, body: Bytes) -> Frame {
    Frame { cmd: code::REPORT, connection_id: number, body, ..Frame::default() }
}
