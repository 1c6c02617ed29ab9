//! The ports of the gateway's core in the simulation: simulated sockets, and links over them.
//!
//! They return at once, as the core's `ports` ask. What follows from them (a directory that has changed, a link
//! that wants to be flushed) is noted here, and the gateway's node looks at it at the end of the step.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use gatewayworker_gateway::internals::{
    self as core, Flushed, Joined, ListenerPolicy, Outbox, Peer, Ports, Routing, Shard, Transmit, WorkerTable,
};

use crate::closing::flush;
use crate::link_buffer::LinkBuffer;
use crate::network::Socket;

/// The simulation's ports.
#[derive(Debug)]
pub(super) struct SimPorts;

/// A shard of a simulated gateway.
pub(super) type Core = Shard<SimPorts>;

/// A worker's event link, as shards see it.
pub(super) type WorkerLink = core::CoreWorkerLink<SimLink>;

impl Ports for SimPorts {
    type Connection = SimConnection;
    type Directory = SimDirectory;
    type Buffer = SimLink;
}

/// A client's connection.
#[derive(Debug, Clone)]
pub(super) struct SimConnection {
    pub(super) socket: Rc<Socket>,
    pub(super) policy: Rc<ListenerPolicy>,
    /// The number that the gateway's node has for the client.
    pub(super) number: u32,
}

impl Transmit for SimConnection {
    fn flush(&self, outbox: &mut Outbox) -> Flushed {
        flush(&self.socket, outbox)
    }
}

impl core::Connection for SimConnection {
    type Socket = Rc<Socket>;

    fn policy(&self) -> &ListenerPolicy {
        &self.policy
    }

    fn detach(&mut self) {}

    fn attach(&mut self, socket: Rc<Socket>) {
        self.socket = socket;
    }
}

/// The outgoing side of a worker's event link.
#[derive(Debug, Clone)]
pub(super) struct SimLink {
    pub(super) buffer: LinkBuffer,
    wants_flush: Rc<Cell<bool>>,
}

impl SimLink {
    pub(super) fn new(buffer: LinkBuffer) -> Self {
        Self { buffer, wants_flush: Rc::default() }
    }

    /// Returns whether a flush was asked for since the last call.
    pub(super) fn take_wants_flush(&self) -> bool {
        self.wants_flush.take()
    }
}

impl core::LinkBuffer for SimLink {
    fn append(&self, write: impl FnOnce(&mut BytesMut)) -> Result<(), core::LinkClosed> {
        self.buffer.push(write).map_err(|_| core::LinkClosed)
    }

    fn limit(&self) -> usize {
        self.buffer.limit()
    }

    fn is_full(&self) -> bool {
        self.buffer.is_full()
    }

    fn is_closed(&self) -> bool {
        self.buffer.is_closed()
    }

    fn flush(&self) {
        self.buffer.flush();
    }

    fn flush_soon(&self) {
        self.wants_flush.set(true);
    }

    fn finish(&self) {
        self.buffer.finish();
    }
}

/// The workers that are linked to a gateway.
#[derive(Debug, Clone)]
pub(super) struct SimDirectory {
    table: Rc<RefCell<WorkerTable<SimLink>>>,
    changed: Rc<Cell<bool>>,
    counts: Rc<core::DeliveryCounts>,
}

impl SimDirectory {
    pub(super) fn new(routing: Routing, seed: u64) -> Self {
        let (changed, counts) = Default::default();
        Self { table: Rc::new(RefCell::new(WorkerTable::new(routing, seed))), changed, counts }
    }

    pub(super) fn join(&self, key: &str, link: SimLink, peer: Peer) -> Joined<SimLink> {
        self.changed.set(true);
        self.table.borrow_mut().join(key, link, peer)
    }

    pub(super) fn leave(&self, link: &Arc<WorkerLink>) {
        self.changed.set(true);
        self.table.borrow_mut().leave(link);
    }

    /// The worker of a link stops.
    pub(super) fn drain(&self, link: &Arc<WorkerLink>, shards: usize) -> bool {
        self.changed.set(true);
        self.table.borrow_mut().drain(link, shards)
    }

    /// Returns whether a worker has come or gone since the last call.
    pub(super) fn take_changed(&self) -> bool {
        self.changed.take()
    }

    pub(super) fn len(&self) -> usize {
        self.table.borrow().len()
    }

    /// Says whether a worker is linked, or may link again.
    pub(super) fn expects_worker(&self) -> bool {
        self.table.borrow().expects_worker()
    }

    /// Says whether a client that comes now would find a worker that reads.
    pub(super) fn has_room(&self) -> bool {
        self.table.borrow().links().any(|link| link.is_open() && !link.is_full())
    }

    /// Calls `look` with every link.
    pub(super) fn each(&self, look: impl FnMut(&Arc<WorkerLink>)) {
        self.table.borrow().links().for_each(look);
    }
}

impl core::Directory for SimDirectory {
    type Buffer = SimLink;

    fn choose(&self, before: Option<&str>, ours_first: bool) -> Option<Arc<WorkerLink>> {
        self.table.borrow_mut().choose(before, ours_first)
    }

    fn close(&self, link: &Arc<WorkerLink>) {
        self.changed.set(true);
        self.table.borrow_mut().close(link);
    }

    fn notify(&self) {
        self.changed.set(true);
    }

    fn begin_suspect(&self, is_last_try: bool) -> bool {
        self.table.borrow_mut().suspects.begin(is_last_try)
    }

    fn end_suspect(&self) {
        if self.table.borrow_mut().suspects.end() {
            self.changed.set(true);
        }
    }

    fn counts(&self) -> &core::DeliveryCounts {
        &self.counts
    }
}
