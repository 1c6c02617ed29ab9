//! ON_CONNECT: a client has connected. Its session stands in ext.

use bytes::Bytes;

use super::{Command, Origin};
use crate::{Frame, code};

pub(super) fn decode(frame: Frame) -> Command {
    Command::OnConnect { origin: Origin::of(&frame), session: frame.ext }
}

pub(super) fn encode(origin: Origin, session: Bytes) -> Frame {
    Frame { ext: session, ..origin.frame(code::ON_CONNECT) }
}
