//! The WebSocket door, RFC 6455: bytes in, messages out, and back.
//!
//! [`handshake`] reads the upgrade request (`request`) and answers it, [`decode`] takes
//! frames apart in the buffer they were read into, [`inflate`] decompresses what some
//! clients compress, [`encode`] makes the frames that go out. None of it knows what a
//! client is.

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod handshake;
pub(crate) mod inflate;
mod request;
