//! A worker's event link, as every shard sees it.
//!
//! All shards and the link's own task share it, so its state is atomic. Frames go into its
//! [`LinkBuffer`]; the shard that appended them flushes it at the end of its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gatewayworker_protocol::Features;

use super::link_buffer::LinkBuffer;

/// A worker's event link.
#[derive(Debug)]
pub struct WorkerLink<B> {
    key: Arc<str>,
    /// Where frames for the worker go.
    pub buffer: B,
    /// What the worker has said that it can do; one of the original's says nothing.
    pub features: Features,
    is_open: AtomicBool,
    is_draining: AtomicBool,
    /// Clients that go to the worker with this key: shared with the links that
    /// had the key before, so that the count stays true when a link comes back.
    clients: Arc<AtomicUsize>,
}

impl<B: LinkBuffer> WorkerLink<B> {
    pub(super) fn new(key: Arc<str>, buffer: B, features: Features, clients: Arc<AtomicUsize>) -> Self {
        let (is_open, is_draining) = (AtomicBool::new(true), AtomicBool::new(false));
        Self { key, buffer, features, is_open, is_draining, clients }
    }

    /// Whether the directory has the link: events go to it.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Events go elsewhere from now on.
    pub(super) fn set_closed(&self) {
        self.is_open.store(false, Ordering::Release);
    }

    /// The worker has said that it stops: the end of its link does not mean that it died.
    pub fn set_draining(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Whether the worker may still say what becomes of a client that it was told of.
    pub fn may_answer(&self) -> bool {
        self.is_open() || self.is_draining.load(Ordering::Acquire)
    }

    /// Whether the worker can take another client: less urgent than an event of a client that
    /// it has.
    pub(super) fn has_room(&self) -> bool {
        self.is_open() && !self.buffer.is_full()
    }

    /// The worker's name and id, with its address before them.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// How many clients go to this worker.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// A client goes to this worker from now on.
    pub fn bind(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
    }

    /// A client goes to this worker no more.
    pub fn unbind(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
