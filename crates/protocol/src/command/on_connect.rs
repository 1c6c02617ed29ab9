//! ON_CONNECT: a client has connected. Its session stands in ext.

use std::mem;

use bytes::Bytes;

use super::{Command, Origin};
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::OnConnect { origin: Origin::of(frame), session: mem::take(&mut frame.ext) }
}

pub(super) fn encode(origin: Origin, session: Bytes) -> Frame {
    Frame { ext: session, ..origin.frame(code::ON_CONNECT) }
}
