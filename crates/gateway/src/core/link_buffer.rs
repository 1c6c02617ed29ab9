//! The outgoing side of a worker's event link, as a port of the core.
//!
//! A shard appends frames to it and flushes it at the end of its turn. In the gateway it is
//! `gatewayworker_net::LinkWriter`.

use bytes::BytesMut;

/// The outgoing side of a worker's event link: a buffer with a limit.
pub trait LinkBuffer: Clone + 'static {
    /// Lets `write` append a frame, though the buffer may be over its limit.
    ///
    /// # Errors
    /// When the link is closed; `write` is not called then.
    fn append(&self, write: impl FnOnce(&mut BytesMut)) -> Result<(), LinkClosed>;

    /// How many bytes make the buffer full.
    fn limit(&self) -> usize;

    /// Whether the buffer has reached its limit.
    fn is_full(&self) -> bool;

    /// Whether the link takes no more frames, now or ever.
    fn is_closed(&self) -> bool;

    /// Writes what the socket takes now.
    fn flush(&self);

    /// Asks the link's own task to flush.
    fn flush_soon(&self);

    /// Takes no more frames, and closes the link once the buffer is written.
    fn finish(&self);
}

/// A link that takes no more frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkClosed;
