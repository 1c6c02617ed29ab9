//! ON_RESUMED: a client of `gw.1` has a new connection, with this handshake, a serialized PHP array in the body. Its session
//! stands in ext.

use std::mem;

use bytes::Bytes;

use super::{Command, Origin};
use crate::{Frame, code};

pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::OnResumed {
        origin: Origin::of(frame),
        session: mem::take(&mut frame.ext),
        handshake: mem::take(&mut frame.body),
    }
}

pub(super) fn encode(origin: Origin, session: Bytes, handshake: Bytes) -> Frame {
    Frame { ext: session, body: handshake, ..origin.frame(code::ON_RESUMED) }
}
