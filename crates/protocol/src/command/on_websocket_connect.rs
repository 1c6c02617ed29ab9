//! ON_WEBSOCKET_CONNECT: the handshake of a WebSocket client, a serialized PHP array in the body.
//! Its session stands in ext. A flag of ours asks the worker to admit or refuse the client.

use std::mem;

use bytes::Bytes;

use super::{Command, Origin};
use crate::frame::FLAG_ASKS;
use crate::{Frame, code};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Command {
    Command::OnWebSocketConnect {
        origin: Origin::of(frame),
        asks: frame.flag & FLAG_ASKS != 0,
        session: mem::take(&mut frame.ext),
        handshake: mem::take(&mut frame.body),
    }
}

pub(super) fn encode(origin: Origin, session: Bytes, handshake: Bytes, asks: bool) -> Frame {
    let flag = u8::from(asks) * FLAG_ASKS;
    Frame { ext: session, body: handshake, flag, ..origin.frame(code::ON_WEBSOCKET_CONNECT) }
}
