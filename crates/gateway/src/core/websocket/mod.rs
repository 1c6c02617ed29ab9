//! RFC 6455 after the handshake: [`decode`] takes frames apart in the buffer that they were read
//! into, [`inflate`] decompresses what some clients compress, [`encode`] makes the frames that go
//! out. None of it knows what a client is; the handshake is `websocket` beside the core.

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod error;
pub(crate) mod inflate;
