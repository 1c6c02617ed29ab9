//! A shard: one thread that owns its clients outright.
//!
//! Sockets, sessions, memberships, outboxes and timers of a client live on one
//! thread, in plain data (`table`). What comes from elsewhere comes through the
//! mailbox (`Mail`). Tasks of this thread call the shard's methods directly;
//! none of these waits, so nothing can happen in the middle of one.
//!
//! - `admission`: who is not in yet,
//! - `orders`: what commands do,
//! - `questions`: the shard's part of an answer,
//! - `events`: what workers are told,
//! - `flush`: writing, once a turn,
//! - `beat`: heartbeats,
//! - `schedule`: when each client is closed as the gateway stops.

mod admission;
mod beat;
mod events;
mod flush;
mod index;
mod orders;
mod questions;
#[cfg(test)]
mod run_tests;
mod schedule;
mod table;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
pub(crate) mod testing;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use bytes::Bytes;
use gatewayworker_net::RegisterLinks;
use gatewayworker_protocol::{ClientId, CloseReason, Question};
use rand::RngExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, LocalSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::answer::Part;
use crate::capacity::Capacity;
use crate::close_counts::CloseCounts;
use crate::config::Config;
use crate::door::Speaks;
use crate::entry::refused::RefusalCounts;
use crate::heartbeat::Wheel;
use crate::logs::Logs;
use crate::order::{Arrival, Mail};
use crate::perpetual::{PerpetualTasks, cause};
use crate::protocol::Protocol;
use crate::socket::Socket;
use crate::workers::{WorkerLink, Workers};
use crate::{client, link};

use admission::Admissions;
pub(crate) use events::Route;
use schedule::Schedule;
use table::Client;
pub(crate) use table::{Key, NewClient, Table};

/// Letters that wait in a shard's mailbox; a sender waits for room.
const MAILBOX: usize = 1024;

/// How long a gateway that stops waits for connections that are being closed, once all are.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Clients that are closed at a stop before others get a turn.
const AT_ONCE: usize = 100;

/// What a turn reads into: no client has a buffer of its own.
pub(crate) const SCRATCH: usize = 64 * 1024;

/// What all shards and links share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// How many connections there may be, which may be fewer than `config` says.
    pub(crate) capacity: Capacity,
    /// What is announced, and part of every client id.
    pub(crate) address: SocketAddrV4,
    pub(crate) workers: Workers,
    /// The longest frame that the gateway takes from a worker, in bytes.
    pub(crate) max_frame_len: usize,
    pub(crate) registers: RegisterLinks,
    pub(crate) shards: Vec<mpsc::Sender<Mail>>,
    /// Clients that wait for a worker to be there.
    pub(crate) waiting: Semaphore,
    pub(crate) links: TaskTracker,
    /// The clients are gone; links send what is left and end.
    pub(crate) stopping: CancellationToken,
    pub(crate) closes: CloseCounts,
    pub(crate) refusals: RefusalCounts,
    /// How many more may be told why they are not let in, of those that there is no
    /// place for.
    pub(crate) turned_away: Arc<Semaphore>,
    pub(crate) clients: AtomicUsize,
    pub(crate) logs: Logs,
    /// Bytes that may wait for slow clients on one shard.
    outbox_budget: usize,
    /// How often to look who is silent, if that is asked for at any door.
    heartbeat_tick: Option<Duration>,
    /// The next number in the order of connecting, joining and binding.
    pub(crate) next: AtomicU64,
}

impl Shared {
    /// What `config`, validated, makes of a gateway that has room for so many connections,
    /// announces `address`, and whose shards are behind these mailboxes.
    pub(crate) fn new(
        config: Config,
        capacity: Capacity,
        address: SocketAddrV4,
        shards: Vec<mpsc::Sender<Mail>>,
    ) -> Self {
        Self {
            capacity,
            address,
            max_frame_len: config.max_frame_len(),
            workers: Workers::new(config.routing),
            registers: RegisterLinks::default(),
            shards,
            waiting: Semaphore::new(config.max_waiting.min(Semaphore::MAX_PERMITS)),
            links: TaskTracker::new(),
            stopping: CancellationToken::new(),
            closes: CloseCounts::default(),
            refusals: RefusalCounts::default(),
            turned_away: Arc::new(Semaphore::new(capacity.rejected)),
            clients: AtomicUsize::new(0),
            logs: Logs::default(),
            outbox_budget: config.outbox_budget(),
            heartbeat_tick: config.heartbeat_tick(),
            next: AtomicU64::new(1),
            config,
        }
    }

    /// How it goes, for the operator.
    pub(crate) fn figures(&self) -> Vec<(&'static str, u64)> {
        let counts = [
            ("clients", self.clients.load(Ordering::Relaxed) as u64),
            ("workers", self.workers.len() as u64),
            ("closed", self.closes.total()),
            ("max_connections", self.capacity.clients as u64),
        ];
        counts.into_iter().chain(self.refusals.figures()).collect()
    }

    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The shard that has a connection, or would have it.
    pub(crate) fn shard_of(&self, connection_id: u32) -> usize {
        connection_id as usize % self.shards.len()
    }
}

/// One shard.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) scratch: RefCell<Box<[u8]>>,
    state: RefCell<State>,
    /// There is something to flush.
    dirty: Notify,
    /// Somebody has said so since it was last looked at.
    rung: Cell<bool>,
    started: Instant,
    admissions: Admissions,
    /// The task of a link on this shard has panicked.
    link_panicked: Notify,
    /// Connections that are being closed.
    closing: TaskTracker,
    /// Everybody is being closed, and nobody is taken in.
    stopping: Cell<bool>,
}

#[derive(Debug)]
struct State {
    table: Table,
    /// Clients with an outbox to flush that were sent something of their own,
    urgent: Vec<Key>,
    /// and those that were sent what many are sent: they can wait for a slice.
    bulk: VecDeque<Key>,
    /// Worker links with something to flush.
    links: Vec<Arc<WorkerLink>>,
    /// Clients that cannot stay.
    doomed: Vec<(Key, CloseReason)>,
    /// Bytes in outboxes whose sockets are full.
    blocked_bytes: usize,
    wheel: Wheel<Key>,
}

/// Runs a shard on this thread until it is told to end.
///
/// # Errors
/// As [`Shard::run`].
pub(crate) fn run(
    runtime: &Runtime,
    index: usize,
    shared: Arc<Shared>,
    mailbox: mpsc::Receiver<Mail>,
) -> anyhow::Result<()> {
    LocalSet::new().block_on(runtime, async move { Shard::new(index, shared).run(mailbox).await })
}

/// Tells a shard when the task that holds this panics.
struct PanicWatch(Rc<Shard>);

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.link_panicked.notify_one();
        }
    }
}

/// A mailbox, and the way to it.
pub(crate) fn mailbox() -> (mpsc::Sender<Mail>, mpsc::Receiver<Mail>) {
    mpsc::channel(MAILBOX)
}

impl Shard {
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> Rc<Self> {
        let tick = shared.heartbeat_tick.unwrap_or(Duration::from_secs(1));
        Rc::new(Self {
            index,
            shared,
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            state: RefCell::new(State {
                table: Table::default(),
                urgent: Vec::new(),
                bulk: VecDeque::new(),
                links: Vec::new(),
                doomed: Vec::new(),
                blocked_bytes: 0,
                wheel: Wheel::new(tick),
            }),
            dirty: Notify::new(),
            rung: Cell::new(false),
            started: Instant::now(),
            admissions: Admissions::default(),
            link_panicked: Notify::new(),
            closing: TaskTracker::new(),
            stopping: Cell::new(false),
        })
    }

    /// Runs the shard on this thread, within its `LocalSet`, until its mailbox asks for
    /// the end.
    ///
    /// # Errors
    /// When a task that every client relies on ends before that: the flush, the heartbeat,
    /// the admission, or the reader of the mailbox; and when the task of a link panics.
    pub(crate) async fn run(self: Rc<Self>, mailbox: mpsc::Receiver<Mail>) -> anyhow::Result<()> {
        let mut tasks = PerpetualTasks::default();
        tasks.spawn("the flush task", self.clone().flush_for_ever());
        if let Some(tick) = self.shared.heartbeat_tick {
            tasks.spawn("the heartbeat task", self.clone().beat_for_ever(tick));
        }
        tasks.spawn("the admission task", self.clone().decide_for_ever());
        let reading = tokio::task::spawn_local(self.clone().read_mail(mailbox));
        tokio::select! {
            read = reading => read.map_err(|error| anyhow!("the mailbox's reader has {}", cause(error))),
            failure = tasks.failure() => Err(failure),
            // A worker would stay linked whose events nobody writes.
            () = self.link_panicked.notified() => Err(anyhow!("the task of a link has panicked")),
        }
    }

    /// Begins with a client that has come to a door.
    pub(crate) fn take_in(self: &Rc<Self>, stream: TcpStream, arrival: Arrival) {
        tokio::task::spawn_local(client::arrive(self.clone(), stream, arrival));
    }

    /// Does what the mailbox asks for, until it asks for the end.
    async fn read_mail(self: Rc<Self>, mut mailbox: mpsc::Receiver<Mail>) {
        let mut letters = Vec::new();
        while mailbox.recv_many(&mut letters, 64).await > 0 {
            for mail in letters.drain(..) {
                match mail {
                    Mail::Client(stream, arrival) => {
                        if let Ok(stream) = TcpStream::from_std(stream) {
                            self.take_in(stream, arrival);
                        }
                    }
                    Mail::Link(stream, peer, permit) => {
                        let watched = PanicWatch(self.clone());
                        let link = link::run(self.clone(), stream, peer, permit);
                        self.shared.links.spawn_local(async move {
                            let _watched = watched;
                            link.await;
                        });
                    }
                    Mail::Orders(orders) => self.obey(orders),
                    Mail::Ask(question, reply) => {
                        // Whoever asked may have gone.
                        let _ = reply.send(self.answer(&question));
                    }
                    Mail::End => return,
                    Mail::Stop(spread, done) => {
                        tokio::task::spawn_local(self.clone().stop(spread, done));
                    }
                }
            }
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// This shard's part of the answer to a question.
    pub(crate) fn answer(&self, question: &Question) -> Part {
        questions::answer(&self.state.borrow().table, question)
    }

    /// Takes a client into the table.
    pub(crate) fn insert(&self, new: NewClient, socket: Rc<Socket>) -> Key {
        let due = new.door.heartbeat.map(|heartbeat| heartbeat.due(new.heard_ms, 0));
        new.worker.bind();
        let mut state = self.state.borrow_mut();
        let key = state.table.insert(new, socket);
        if let Some(due) = due {
            state.wheel.insert(due.at_ms(), key);
        }
        self.shared.clients.fetch_add(1, Ordering::Relaxed);
        key
    }

    /// What a client speaks, where that is not WebSocket.
    pub(crate) fn protocol_of(&self, key: Key) -> Option<Arc<dyn Protocol>> {
        match &self.state.borrow_mut().table.get(key)?.door.speaks {
            Speaks::WebSocket(_) => None,
            Speaks::Framed(framing) => Some(framing.protocol.clone()),
        }
    }

    /// Says which task reads from a client, to be aborted when it is closed.
    pub(crate) fn set_reader(&self, key: Key, reader: AbortHandle) {
        match self.state.borrow_mut().table.get(key) {
            Some(client) => client.reader = Some(reader),
            None => reader.abort(),
        }
    }

    /// Bytes have come from a client: its silence starts anew.
    pub(crate) fn heard(&self, key: Key) {
        let now_ms = self.now_ms();
        if let Some(client) = self.state.borrow_mut().table.get(key) {
            client.heard_ms = now_ms;
            client.pings = 0;
        }
    }

    /// A client is not read from any more, or is again.
    pub(crate) fn pause(&self, key: Key, paused: bool) {
        if let Some(client) = self.state.borrow_mut().table.get(key) {
            client.paused = paused;
        }
        self.heard(key);
    }

    /// A connection id that nobody has: drawn at random, since pages post theirs
    /// to be bound, and a counted one would let anybody guess another's. It says
    /// which shard has the client.
    pub(crate) fn draw_connection_id(&self) -> u32 {
        let shards = self.shared.shards.len() as u64;
        let state = self.state.borrow();
        loop {
            let drawn = u64::from(rand::rng().random::<u32>()) / shards * shards + self.index as u64;
            match u32::try_from(drawn) {
                Ok(id) if id != 0 && !state.table.contains(id) => return id,
                _ => {}
            }
        }
    }

    /// Ends a client: takes it out of everything, tells its worker, and closes
    /// the connection, sending `last` before if there is something to say.
    pub(crate) fn close(self: &Rc<Self>, key: Key, reason: CloseReason, last: Option<Bytes>) {
        let mut state = self.state.borrow_mut();
        self.close_in(&mut state, key, reason, last);
        drop(state);
        self.flush_later();
    }

    fn close_in(self: &Rc<Self>, state: &mut State, key: Key, reason: CloseReason, last: Option<Bytes>) {
        let Some(mut client) = state.table.remove(key) else { return };
        if let Some(reader) = client.reader.take() {
            reader.abort();
        }
        if let Some(unblocking) = client.blocked.take() {
            // It holds the socket, and would for as long as the peer does not read.
            unblocking.abort();
            state.blocked_bytes -= client.outbox.bytes();
        }
        self.shared.clients.fetch_sub(1, Ordering::Relaxed);
        self.shared.closes.count(reason);
        debug!(client = %self.client_id(&client), %reason, "a client is gone");
        self.tell_closed(state, &mut client, reason);
        client.worker.unbind();
        self.finish(*client, reason, last);
    }

    fn client_id(&self, client: &Client) -> ClientId {
        ClientId::new(self.shared.address, client.connection_id)
    }

    /// Whether the shard takes no client in any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Whether a client that comes now finds a worker.
    pub(crate) fn can_serve(&self) -> bool {
        !self.is_stopping() && self.shared.workers.len() > 0
    }

    /// Closes everybody over `spread`, so that workers, and the gateways that the clients
    /// turn to, are not run over.
    pub(crate) async fn stop(self: Rc<Self>, spread: Duration, done: oneshot::Sender<()>) {
        self.stopping.set(true);
        let keys: Vec<Key> = self.state.borrow().table.all().collect();
        let schedule =
            Schedule { spread, clients: keys.len(), shard: self.index, shards: self.shared.shards.len() };
        let since = tokio::time::Instant::now();
        let mut closed = 0;
        loop {
            let due = schedule.due(since.elapsed()).min(closed + AT_ONCE);
            for key in &keys[closed..due] {
                let goodbye =
                    self.state.borrow_mut().table.get(*key).and_then(|client| client.door.goodbye());
                self.close(*key, CloseReason::Shutdown, goodbye);
            }
            closed = due;
            if closed == keys.len() {
                break;
            }
            tokio::time::sleep_until(since + schedule.at(closed)).await;
            tokio::task::yield_now().await;
        }
        self.closing.close();
        // Whoever takes longer is cut off.
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.closing.wait()).await;
        let _ = done.send(());
    }
}
