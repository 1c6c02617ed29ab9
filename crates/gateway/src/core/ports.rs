//! What the core of a shard is connected to.
//!
//! A port returns at once: it writes what its socket takes, or appends to a buffer. The
//! gateway's are TCP and TLS sockets (`transmit`) and the links of workers (`workers`); the
//! simulation has its own.

use std::sync::Arc;

use super::delivery_counts::DeliveryCounts;
use super::link_buffer::LinkBuffer;
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
    /// What its bytes go through.
    type Socket;

    /// The settings of the listener that accepted the connection.
    fn policy(&self) -> &ListenerPolicy;

    /// Ends the connection at once, and keeps the rest: the client may come back with another one. From now on it is not
    /// written to.
    fn detach(&mut self);

    /// Goes on with another socket: the client has come back. What the client had is [ended](Self::detach) before.
    fn attach(&mut self, socket: Self::Socket);
}

/// The workers that are linked; all shards share one.
pub trait Directory {
    /// The outgoing side of an event link.
    type Buffer: LinkBuffer;

    /// Returns a worker for a client that had the worker with the key `before`; `None` when
    /// no worker is linked. With `ours_first` a worker that does not acknowledge events is chosen only
    /// where none does.
    fn choose(&self, before: Option<&str>, ours_first: bool) -> Option<Arc<WorkerLink<Self::Buffer>>>;

    /// Takes a link out that takes no more frames. One with acknowledged events is over only when its
    /// task says so.
    fn close(&self, link: &Arc<WorkerLink<Self::Buffer>>);

    /// Has [`Shard::workers_changed`](super::Shard::workers_changed) called on every shard: a link has
    /// room again.
    fn notify(&self);

    /// Counts an event that may have ended a worker and is to be given again. Returns `false` where it
    /// has to wait, until `workers_changed` is called.
    fn begin_suspect(&self, is_last_try: bool) -> bool;

    /// Counts such an event that no worker has any more, and [notifies](Self::notify) the shards where
    /// one waits for that.
    fn end_suspect(&self);

    /// Counters of all shards.
    fn counts(&self) -> &DeliveryCounts;
}
