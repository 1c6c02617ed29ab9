//! PING: a sign of life. The body, empty from PHP, carries a [`PingBody`](crate::PingBody) between
//! our own daemons.

use std::mem;

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::Ping(mem::take(&mut frame.body))
}

pub(super) fn encode(body: Bytes) -> Frame {
    Frame { cmd: code::PING, body, ..Frame::default() }
}
