//! ADOPT, ours: a client that another worker had is this worker's from now on. Its session stands in
//! ext. No handler runs for it, and it is acknowledged as an event is.

use std::mem;

use bytes::Bytes;

use super::{Command, Origin};
use crate::{Frame, code};

pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::Adopt { origin: Origin::of(frame), session: mem::take(&mut frame.ext) }
}

pub(super) fn encode(origin: Origin, session: Bytes) -> Frame {
    Frame { ext: session, ..origin.frame(code::ADOPT) }
}
