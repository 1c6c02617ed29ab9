//! ON_CLOSE: a client is gone. Its session stands in ext. The body, which PHP leaves empty and does
//! not read, carries a [`CloseReason`](crate::CloseReason) between our own daemons.

use bytes::Bytes;

use super::{Command, Origin};
use crate::{Frame, code};

pub(super) fn decode(frame: Frame) -> Command {
    Command::OnClose { origin: Origin::of(&frame), session: frame.ext, reason: frame.body }
}

pub(super) fn encode(origin: Origin, session: Bytes, reason: Bytes) -> Frame {
    Frame { ext: session, body: reason, ..origin.frame(code::ON_CLOSE) }
}
