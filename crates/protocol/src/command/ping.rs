//! PING: a sign of life. The body, empty from PHP, carries a [`PingBody`](crate::PingBody) between
//! our own daemons.

use bytes::Bytes;

use super::Command;
use crate::{Frame, code};

pub(super) fn decode(frame: Frame) -> Command {
    Command::Ping(frame.body)
}

pub(super) fn encode(body: Bytes) -> Frame {
    Frame { cmd: code::PING, body, ..Frame::default() }
}
