//! Ports in memory: a shard without sockets, for the core's tests, benchmarks and fuzz target.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewayworker_protocol::Features;

use super::client::NewClient;
use super::link_buffer::{LinkBuffer, LinkClosed};
use super::listener_policy::{Framing, ListenerPolicy, SlowConsumer};
use super::membership_limits::MembershipLimits;
use super::outbox::{Flushed, Outbox};
use super::outgoing::WebSocketType;
use super::ports::{Connection, Directory, Ports, Transmit};
use super::table::Key;
use super::worker_link::WorkerLink;
use super::worker_table::{Routing, WorkerTable};
use super::{Settings, Shard};

/// Ports in memory.
pub struct MemoryPorts;

impl Ports for MemoryPorts {
    type Connection = MemoryConnection;
    type Directory = MemoryDirectory;
    type Buffer = MemoryLink;
}

/// A client's connection: it keeps what is written to it.
#[derive(Debug, Clone)]
pub struct MemoryConnection {
    policy: Arc<ListenerPolicy>,
    /// What was written.
    pub written: Rc<RefCell<Vec<u8>>>,
    /// How many bytes it takes before it is full.
    pub room: Rc<Cell<usize>>,
    /// Whether it has failed.
    pub is_broken: Rc<Cell<bool>>,
}

impl MemoryConnection {
    /// A connection to a listener with these settings, which takes everything.
    pub fn new(policy: ListenerPolicy) -> Self {
        let (written, is_broken) = Default::default();
        Self { policy: Arc::new(policy), written, room: Rc::new(Cell::new(usize::MAX)), is_broken }
    }
}

impl Transmit for MemoryConnection {
    fn flush(&self, outbox: &mut Outbox) -> Flushed {
        while !outbox.is_empty() {
            let taken = outbox.first().len().min(self.room.get());
            if self.is_broken.get() {
                return Flushed::Broken;
            }
            if taken == 0 {
                return Flushed::Blocked;
            }
            self.written.borrow_mut().extend_from_slice(&outbox.first()[..taken]);
            self.room.set(self.room.get() - taken);
            outbox.advance(taken);
        }
        Flushed::Empty
    }
}

impl Connection for MemoryConnection {
    fn policy(&self) -> &ListenerPolicy {
        &self.policy
    }
}

/// The outgoing side of a worker's link: it keeps what is appended.
#[derive(Debug, Clone)]
pub struct MemoryLink {
    /// What was appended.
    pub written: Rc<RefCell<BytesMut>>,
    /// How many bytes make it full.
    pub limit: usize,
    /// Whether it takes no more.
    pub is_closed: Rc<Cell<bool>>,
}

impl MemoryLink {
    /// A link that is full at so many bytes.
    pub fn new(limit: usize) -> Self {
        let (written, is_closed) = Default::default();
        Self { written, limit, is_closed }
    }
}

impl LinkBuffer for MemoryLink {
    fn append(&self, write: impl FnOnce(&mut BytesMut)) -> Result<(), LinkClosed> {
        if self.is_closed.get() {
            return Err(LinkClosed);
        }
        write(&mut self.written.borrow_mut());
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.written.borrow().len() >= self.limit
    }

    fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    fn flush(&self) {}

    fn flush_soon(&self) {}

    fn finish(&self) {
        self.is_closed.set(true);
    }
}

/// A directory of links in memory.
#[derive(Debug, Clone)]
pub struct MemoryDirectory(Rc<RefCell<WorkerTable<MemoryLink>>>);

impl MemoryDirectory {
    /// A directory without workers.
    pub fn new(routing: Routing) -> Self {
        Self(Rc::new(RefCell::new(WorkerTable::new(routing, 0))))
    }

    /// Takes a worker in whose link is full at `limit` bytes.
    pub fn join(&self, key: &str, limit: usize, features: Features) -> Arc<WorkerLink<MemoryLink>> {
        self.0.borrow_mut().join(key, MemoryLink::new(limit), features)
    }
}

impl Directory for MemoryDirectory {
    type Buffer = MemoryLink;

    fn choose(&self, before: Option<&str>) -> Option<Arc<WorkerLink<MemoryLink>>> {
        self.0.borrow_mut().choose(before)
    }

    fn leave(&self, link: &Arc<WorkerLink<MemoryLink>>) {
        self.0.borrow_mut().leave(link);
    }

    fn keep_close(&self, write: impl Fn(&mut BytesMut)) {
        self.0.borrow_mut().keep_close(write);
    }
}

/// The settings of a WebSocket listener without heartbeat.
pub fn policy() -> ListenerPolicy {
    ListenerPolicy {
        port: 8289,
        framing: Framing::WebSocket(WebSocketType::Auto),
        heartbeat: None,
        ping: Bytes::new(),
        max_message_bytes: 8 * 1024 * 1024,
        outbox_bytes: 1_024_000,
        slow_consumer: SlowConsumer::Close,
        rate_limits: None,
    }
}

/// The only shard of a gateway without workers.
pub fn shard() -> (Shard<MemoryPorts>, MemoryDirectory) {
    let settings = Settings {
        address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300),
        index: 0,
        shards: 1,
        admission_timeout_ms: 30_000,
        max_session_bytes: 1 << 20,
        outbox_budget: 1 << 30,
        heartbeat_tick: Duration::from_millis(5),
        membership_limits: MembershipLimits::default(),
    };
    let directory = MemoryDirectory::new(Routing::LeastConnections);
    (Shard::new(settings, directory.clone()), directory)
}

/// What a client with this connection begins with.
pub fn new_client(
    connection_id: u32,
    worker: &Arc<WorkerLink<MemoryLink>>,
    connection: MemoryConnection,
) -> NewClient<MemoryPorts> {
    NewClient {
        connection_id,
        seq: connection_id.into(),
        address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50000),
        connection,
        worker: worker.clone(),
    }
}

/// Inserts a client of a listener with these settings, and returns its connection too.
pub fn client(
    shard: &mut Shard<MemoryPorts>,
    connection_id: u32,
    worker: &Arc<WorkerLink<MemoryLink>>,
    policy: ListenerPolicy,
) -> (Key, MemoryConnection) {
    let connection = MemoryConnection::new(policy);
    let key = shard.insert(new_client(connection_id, worker, connection.clone()), 0);
    (key, connection)
}
