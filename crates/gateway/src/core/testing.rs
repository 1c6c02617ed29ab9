//! Ports in memory: a shard without sockets, for the core's tests, benchmarks and fuzz target.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewayworker_protocol::frame::FLAG_REDELIVERED;
use gatewayworker_protocol::{
    Command, EventContext, FLAG_EVENT_CONTEXT, FLAG_TRACE_CONTEXT, Features, Frame, PingBody, TraceContext,
    code,
};

use super::client::NewClient;
use super::delivery_counts::DeliveryCounts;
use super::delivery_settings::DeliverySettings;
use super::effects::Effect;
use super::link_buffer::{LinkBuffer, LinkClosed};
use super::listener_policy::{Framing, ListenerPolicy, SlowConsumer};
use super::membership_limits::MembershipLimits;
use super::outbox::{Flushed, Outbox};
use super::outgoing::WebSocketType;
use super::ports::{Connection, Directory, Ports, Transmit};
use super::table::Key;
use super::websocket::compression::Compression;
use super::worker_link::{Peer, WorkerLink};
use super::worker_table::{Routing, WorkerTable};
use super::{Settings, Shard};

/// What a worker of ours lists whose application does not ask for event contexts.
pub const OURS: Features = Features { event_context: false, ..Features::ALL };

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
    /// Whether its client was cut off it.
    pub is_detached: Rc<Cell<bool>>,
}

impl MemoryConnection {
    /// A connection to a listener with these settings, which takes everything.
    pub fn new(policy: ListenerPolicy) -> Self {
        let (written, is_broken, is_detached) = Default::default();
        let room = Rc::new(Cell::new(usize::MAX));
        Self { policy: Arc::new(policy), written, room, is_broken, is_detached }
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
    /// Another connection, whose listener and whose bytes it gets.
    type Socket = Self;

    fn policy(&self) -> &ListenerPolicy {
        &self.policy
    }

    fn detach(&mut self) {
        self.is_detached.set(true);
    }

    fn attach(&mut self, socket: Self) {
        *self = socket;
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

    fn limit(&self) -> usize {
        self.limit
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
pub struct MemoryDirectory {
    table: Rc<RefCell<WorkerTable<MemoryLink>>>,
    counts: Rc<DeliveryCounts>,
    /// Whether [`Shard::workers_changed`] is to be called.
    pub is_changed: Rc<Cell<bool>>,
}

impl MemoryDirectory {
    /// A directory without workers.
    pub fn new(routing: Routing) -> Self {
        let (counts, is_changed) = Default::default();
        Self { table: Rc::new(RefCell::new(WorkerTable::new(routing, 0))), counts, is_changed }
    }

    /// Takes a worker in whose link is full at `limit` bytes.
    pub fn join(&self, key: &str, limit: usize, peer: impl Into<Peer>) -> Arc<WorkerLink<MemoryLink>> {
        self.is_changed.set(true);
        self.table.borrow_mut().join(key, MemoryLink::new(limit), peer.into()).link
    }

    /// Takes a worker in that acknowledges events, with this epoch and any process of its own.
    pub fn join_paired(&self, key: &str, epoch: u32) -> Arc<WorkerLink<MemoryLink>> {
        let process = Some(epoch.into());
        self.join(key, 1 << 20, Peer { features: OURS, epoch, process })
    }

    /// Takes a link out: it is over.
    pub fn leave(&self, link: &Arc<WorkerLink<MemoryLink>>) {
        self.is_changed.set(true);
        self.table.borrow_mut().leave(link);
    }

    /// Whether a worker has come or gone, or has room again, since the last call: the shards are to be told.
    pub fn take_changed(&self) -> bool {
        self.is_changed.take()
    }

    /// How many suspects workers have.
    pub fn suspects(&self) -> usize {
        self.table.borrow().suspects.given()
    }

    /// The worker of a link drains, of a gateway with so many shards.
    pub fn drain(&self, link: &Arc<WorkerLink<MemoryLink>>, shards: usize) -> bool {
        self.is_changed.set(true);
        self.table.borrow_mut().drain(link, shards)
    }
}

impl Directory for MemoryDirectory {
    type Buffer = MemoryLink;

    fn choose(&self, before: Option<&str>, ours_first: bool) -> Option<Arc<WorkerLink<MemoryLink>>> {
        self.table.borrow_mut().choose(before, ours_first)
    }

    fn close(&self, link: &Arc<WorkerLink<MemoryLink>>) {
        self.is_changed.set(true);
        self.table.borrow_mut().close(link);
    }

    fn notify(&self) {
        self.is_changed.set(true);
    }

    fn begin_suspect(&self, is_last_try: bool) -> bool {
        self.table.borrow_mut().suspects.begin(is_last_try)
    }

    fn end_suspect(&self) {
        if self.table.borrow_mut().suspects.end() {
            self.notify();
        }
    }

    fn counts(&self) -> &DeliveryCounts {
        &self.counts
    }
}

/// The settings of a WebSocket listener without heartbeat.
pub fn policy() -> ListenerPolicy {
    ListenerPolicy {
        resume: None,
        index: 0,
        port: 8289,
        framing: Framing::WebSocket(WebSocketType::Auto),
        heartbeat: None,
        ping: Bytes::new(),
        max_message_bytes: 8 * 1024 * 1024,
        outbox_bytes: 1_024_000,
        slow_consumer: SlowConsumer::Close,
        rate_limits: None,
        compression: None,
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
        presence: None,
        delivery: DeliverySettings::default(),
        counters: Arc::default(),
    };
    let directory = MemoryDirectory::new(Routing::LeastConnections);
    (Shard::new(settings, directory.clone()), directory)
}

/// Two shards of a gateway without workers.
pub fn two_shards() -> ([Shard<MemoryPorts>; 2], MemoryDirectory) {
    let (shard, directory) = shard();
    let shards = [0, 1].map(|index| {
        let settings = Settings { index, shards: 2, counters: Arc::default(), ..shard.settings.clone() };
        Shard::new(settings, directory.clone())
    });
    (shards, directory)
}

/// Does what a shell does between inputs: tells the shards that the directory has changed, and goes on
/// with what takes many inputs, until nothing is left to be done. Returns the effects.
///
/// # Panics
/// When the books of a shard do not agree.
pub fn settle(shards: &mut [Shard<MemoryPorts>], workers: &MemoryDirectory) -> Vec<Effect<MemoryPorts>> {
    let mut effects = Vec::new();
    while workers.is_changed.take() {
        shards.iter_mut().for_each(Shard::workers_changed);
        for shard in &mut *shards {
            while shard.next_deadline() == Some(0) {
                shard.advance(0);
            }
        }
    }
    for shard in shards {
        while shard.next_deadline() == Some(0) {
            shard.advance(0);
        }
        effects.extend(std::iter::from_fn(|| shard.next_effect()));
        shard.check().expect("the books agree");
    }
    effects
}

/// What a client with this connection begins with.
pub fn new_client(
    connection_id: u32,
    worker: &Arc<WorkerLink<MemoryLink>>,
    connection: MemoryConnection,
) -> NewClient<MemoryPorts> {
    NewClient {
        resume: None,
        connection_id,
        seq: connection_id.into(),
        address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50000),
        connection,
        worker: worker.clone(),
        compression: Compression::Off,
        response: Bytes::new(),
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

/// What a worker was told since the last call: a word for each event, the client's connection id, and
/// the body of a message; with `again` where it is marked as redelivered.
///
/// # Panics
/// When something else than events of a gateway was written.
pub fn told(link: &WorkerLink<MemoryLink>) -> Vec<String> {
    let mut written = std::mem::take(&mut *link.buffer.written.borrow_mut());
    let mut told = Vec::new();
    while let Some(mut frame) = Frame::parse(&mut written, usize::MAX).expect("frames") {
        if frame.flag & FLAG_TRACE_CONTEXT != 0 {
            TraceContext::take(&mut frame.body).expect("a trace context");
        }
        if frame.flag & FLAG_EVENT_CONTEXT != 0 {
            EventContext::take(&mut frame.body).expect("an event context");
        }
        let again = if frame.flag & FLAG_REDELIVERED != 0 { " again" } else { "" };
        let id = frame.connection_id;
        told.push(match frame.cmd {
            code::ON_CONNECT => format!("connect {id}{again}"),
            code::ON_WEBSOCKET_CONNECT => format!("handshake {id}{again}"),
            code::ON_MESSAGE => format!("message {id} {}{again}", String::from_utf8_lossy(&frame.body)),
            code::ON_CLOSE => format!("close {id}{again}"),
            code::ON_DETACHED => format!("detached {id}{again}"),
            code::ON_RESUMED => format!("resumed {id} {}{again}", String::from_utf8_lossy(&frame.body)),
            code::ADOPT => format!("adopt {id}{again}"),
            _ => match Command::decode(frame).expect("a command") {
                Command::Forget(ids) => format!("forget {}", ids[0]),
                Command::Ping(body) if PingBody::parse(&body) == Some(PingBody::Drained) => {
                    "drained".to_owned()
                }
                other => panic!("{other:?}"),
            },
        });
    }
    told
}
