//! The body of a frame that carries a message of a client or for one, with its flag bits.

use std::mem;

use bytes::Bytes;

use crate::Frame;
use crate::frame::{FLAG_BINARY, FLAG_PLAIN, FLAG_RAW};

/// A message on its way to or from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The bytes.
    pub body: Body,
    /// Whether the body is already encoded for the client's protocol, and is sent as it is.
    pub raw: bool,
    /// Ours: whether it is a binary message, whatever the listener's default is.
    pub binary: bool,
}

/// The body of a [`Payload`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A byte string.
    Plain(Bytes),
    /// A serialized PHP value other than a string: WebSocket clients get it as JSON.
    Php(Bytes),
}

impl Payload {
    /// A plain message.
    pub fn plain(body: impl Into<Bytes>) -> Self {
        Self { body: Body::Plain(body.into()), raw: false, binary: false }
    }

    /// Takes the message out of a frame.
    #[inline]
    pub(super) fn take(frame: &mut Frame) -> Self {
        Self::of(frame.flag, mem::take(&mut frame.body))
    }

    /// The message of a frame with these flags and this body.
    #[inline]
    pub(super) fn of(flag: u8, body: Bytes) -> Self {
        let body = if flag & FLAG_PLAIN != 0 { Body::Plain(body) } else { Body::Php(body) };
        Self { body, raw: flag & FLAG_RAW != 0, binary: flag & FLAG_BINARY != 0 }
    }

    #[inline]
    pub(super) fn fill(self, frame: &mut Frame) {
        frame.flag = u8::from(self.raw) * FLAG_RAW + u8::from(self.binary) * FLAG_BINARY;
        match self.body {
            Body::Plain(body) => {
                frame.flag |= FLAG_PLAIN;
                frame.body = body;
            }
            Body::Php(body) => frame.body = body,
        }
    }
}
