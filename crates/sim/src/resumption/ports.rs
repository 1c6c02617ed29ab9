//! The ports of the gateway's core in this scenario: clients' connections over simulated sockets. The links of workers are
//! buffers in memory, as in the core's own tests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use gatewayworker_gateway::internals::testing::{MemoryDirectory, MemoryLink};
use gatewayworker_gateway::internals::{
    self as core, Flushed, ListenerPolicy, Outbox, Ports, Shard, Transmit,
};

use crate::closing::flush;
use crate::network::Socket;

/// The ports.
#[derive(Debug)]
pub(super) struct SimPorts;

/// The shard.
pub(super) type Core = Shard<SimPorts>;

impl Ports for SimPorts {
    type Connection = SimConnection;
    type Directory = MemoryDirectory;
    type Buffer = MemoryLink;
}

/// A connection as the gateway's node knows it: its number, and its socket.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) socket: Rc<Socket>,
}

/// What all connections tell the node.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The time of this step.
    pub(super) now_ms: Cell<u64>,
    /// Connections that the core has ended: they are read from no more.
    pub(super) ended: RefCell<Vec<u32>>,
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct SimConnection {
    /// `None` while the client is detached.
    pub(super) line: Option<Line>,
    pub(super) policy: Rc<ListenerPolicy>,
    pub(super) shared: Rc<Shared>,
    /// Since when it is.
    pub(super) detached_ms: Option<u64>,
}

impl Transmit for SimConnection {
    fn flush(&self, outbox: &mut Outbox) -> Flushed {
        self.line.as_ref().map_or(Flushed::Empty, |line| flush(&line.socket, outbox))
    }
}

impl core::Connection for SimConnection {
    type Socket = Line;

    fn policy(&self) -> &ListenerPolicy {
        &self.policy
    }

    fn detach(&mut self) {
        self.detached_ms.get_or_insert(self.shared.now_ms.get());
        self.shared.ended.borrow_mut().extend(self.line.take().map(|line| line.number));
    }

    fn attach(&mut self, line: Line) {
        (self.line, self.detached_ms) = (Some(line), None);
    }
}
