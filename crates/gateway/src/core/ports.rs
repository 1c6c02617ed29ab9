//! What the core of a shard is connected to.
//!
//! A port returns at once: it writes what its socket takes, or appends to a buffer. The
//! gateway's are TCP and TLS sockets (`transmit`) and the links of workers (`workers`); the
//! simulation has its own.

use std::sync::Arc;

use bytes::BytesMut;

use super::listener_policy::ListenerPolicy;
use super::outbox::{Flushed, Outbox};
use super::worker_link::WorkerLink;

/// The ports of a shard.
pub trait Ports: Sized + 'static {
    /// A client's connection.
    type Connection: Connection;
    /// The directory of workers.
    type Directory: Directory<Buffer = Self::Buffer>;
    /// The outgoing side of a worker's event link.
    type Buffer: LinkBuffer;
}

/// Writes to a client.
pub trait Transmit {
    /// Writes as much of the outbox as the client takes now.
    fn flush(&self, outbox: &mut Outbox) -> Flushed;

    /// How many bytes at the front of the outbox are on their way already, though they are
    /// still in it: a TLS record leaves the outbox when all of it is written.
    fn committed(&self) -> usize {
        0
    }
}

/// A client's connection as the shell keeps it. The core hands it back with
/// [`Effect::Finish`](super::effects::Effect::Finish).
pub trait Connection: Transmit {
    /// The settings of the listener that accepted the connection.
    fn policy(&self) -> &ListenerPolicy;
}

/// The outgoing side of a worker's event link: a buffer with a limit.
pub trait LinkBuffer: Clone + 'static {
    /// Lets `write` append a frame, though the buffer may be over its limit.
    ///
    /// # Errors
    /// When the link is closed; `write` is not called then.
    fn append(&self, write: impl FnOnce(&mut BytesMut)) -> Result<(), LinkClosed>;

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

/// The workers that are linked; all shards share one.
pub trait Directory {
    /// The outgoing side of an event link.
    type Buffer: LinkBuffer;

    /// Returns a worker for a client that had the worker with the key `before`; `None` when
    /// no worker is linked.
    fn choose(&self, before: Option<&str>) -> Option<Arc<WorkerLink<Self::Buffer>>>;

    /// Takes a link out that takes no more frames.
    fn leave(&self, link: &Arc<WorkerLink<Self::Buffer>>);

    /// Keeps an ON_CLOSE frame for the next worker, or gives it to one that has just come.
    fn keep_close(&self, write: impl Fn(&mut BytesMut));
}
