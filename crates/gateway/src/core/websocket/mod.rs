//! RFC 6455 after the handshake: [`decode`] takes frames apart in the buffer that they were read
//! into, [`inflate`] decompresses what clients have compressed, [`encode`] makes the frames that go
//! out, and `deflate` compresses them, as a [`compression`] says. None of it knows what a client is; the
//! handshake is `websocket` beside the core.

pub(crate) mod compression;
pub(crate) mod decode;
mod deflate;
pub(crate) mod encode;
pub(crate) mod error;
pub(crate) mod inflate;

/// What a sender takes off the end of each compressed message, and a receiver appends: RFC 7692 section 7.2.1.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
