//! ON_CLOSE: a client is gone. Its session stands in ext. The body, which PHP leaves empty and does
//! not read, carries a [`CloseReason`](crate::CloseReason) between our own daemons, and may carry the client's
//! close frame behind it ([`ClientCloseFrame`](crate::ClientCloseFrame)).

use std::mem;

use bytes::Bytes;

use super::{Command, Origin};
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::OnClose {
        origin: Origin::of(frame),
        session: mem::take(&mut frame.ext),
        reason: mem::take(&mut frame.body),
    }
}

pub(super) fn encode(origin: Origin, session: Bytes, reason: Bytes) -> Frame {
    Frame { ext: session, body: reason, ..origin.frame(code::ON_CLOSE) }
}
