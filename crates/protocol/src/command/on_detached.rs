//! ON_DETACHED: the connection of a client of `gw.1` is cut, and the client is kept. Its session stands in ext.

use std::mem;

use bytes::Bytes;

use super::{Command, Origin};
use crate::{Frame, code};

pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::OnDetached { origin: Origin::of(frame), session: mem::take(&mut frame.ext) }
}

pub(super) fn encode(origin: Origin, session: Bytes) -> Frame {
    Frame { ext: session, ..origin.frame(code::ON_DETACHED) }
}
