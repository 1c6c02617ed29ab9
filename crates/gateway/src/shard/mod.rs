//! A shard's thread: it runs the core of a shard on tokio.
//!
//! Sockets, sessions, memberships, outboxes and timers of a client live on one thread. Its data
//! is the core's ([`crate::core::Shard`]), in a `RefCell` that is never borrowed across an await.
//! Tasks of this thread give it inputs ([`ShardThread::input`]), which do not wait, so nothing can
//! happen in the middle of one; what it asks for is carried out when the borrow has ended
//! (`ending`). What comes from other threads comes as a [`ShardMessage`].
//!
//! - `connection`: the core's ports,
//! - `message`: what other threads send,
//! - `shared`: what all shards share,
//! - `ending`: carrying out effects.

mod connection;
mod ending;
mod message;
#[cfg(test)]
mod run_tests;
mod shared;
#[cfg(test)]
pub(crate) mod testing;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::anyhow;
use rand::RngExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, LocalSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use crate::core::client::NewClient;
use crate::core::table::Key;
use crate::perpetual::{PerpetualTasks, cause};
use crate::{client, link};

pub(crate) use connection::{ClientConnection, Core, GatewayPorts};
pub(crate) use message::{NewConnection, ShardMessage};
pub(crate) use shared::Shared;

/// Messages that wait for a shard; a sender waits for room.
const CHANNEL: usize = 1024;

/// How long a gateway that stops waits for connections that are being closed, once all are.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a flush waits for more to leave with it, while more keeps coming. A write
/// to a client costs as much as several looks for more.
const GATHER: Duration = Duration::from_micros(100);

/// What a turn reads into: no client has a buffer of its own.
pub(crate) const SCRATCH: usize = 64 * 1024;

/// A shard's thread.
pub(crate) struct ShardThread {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) scratch: RefCell<Box<[u8]>>,
    core: RefCell<Core>,
    started: Instant,
    /// There is something to flush.
    flush_wakeup: Notify,
    /// More was queued since it was last looked at.
    more_queued: Cell<bool>,
    /// The core's next deadline may be earlier than it was.
    deadline_changed: Notify,
    /// Some client has been admitted, or closed before that.
    admission_resolved: Notify,
    /// The task of a link on this shard has panicked.
    link_panicked: Notify,
    /// Connections that are being closed.
    closing: TaskTracker,
}

/// Runs a shard on this thread until it is told to end.
///
/// # Errors
/// As [`ShardThread::run`].
pub(crate) fn run(
    runtime: &Runtime,
    index: usize,
    shared: Arc<Shared>,
    messages: mpsc::Receiver<ShardMessage>,
) -> anyhow::Result<()> {
    LocalSet::new().block_on(runtime, async move { ShardThread::new(index, shared).run(messages).await })
}

/// Tells a shard when the task that holds this panics.
struct PanicWatch(Rc<ShardThread>);

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.link_panicked.notify_one();
        }
    }
}

/// The channel to a shard.
pub(crate) fn channel() -> (mpsc::Sender<ShardMessage>, mpsc::Receiver<ShardMessage>) {
    mpsc::channel(CHANNEL)
}

impl ShardThread {
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> Rc<Self> {
        let core = Core::new(shared.settings(index), shared.workers.clone());
        Rc::new(Self {
            index,
            shared,
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            core: RefCell::new(core),
            started: Instant::now(),
            flush_wakeup: Notify::new(),
            more_queued: Cell::new(false),
            deadline_changed: Notify::new(),
            admission_resolved: Notify::new(),
            link_panicked: Notify::new(),
            closing: TaskTracker::new(),
        })
    }

    /// Runs the shard on this thread, within its `LocalSet`, until a message asks for the end.
    ///
    /// # Errors
    /// When a task that every client relies on ends before that: the flush, the timer, or the
    /// reader of messages; and when the task of a link panics.
    pub(crate) async fn run(self: Rc<Self>, messages: mpsc::Receiver<ShardMessage>) -> anyhow::Result<()> {
        let mut tasks = PerpetualTasks::default();
        tasks.spawn("the flush task", self.clone().flush_forever());
        tasks.spawn("the timer task", self.clone().advance_forever());
        let reading = tokio::task::spawn_local(self.clone().read_messages(messages));
        tokio::select! {
            read = reading => read.map_err(|error| anyhow!("the reader of messages has {}", cause(error))),
            failure = tasks.failure() => Err(failure),
            // A worker would stay linked whose events nobody writes.
            () = self.link_panicked.notified() => Err(anyhow!("the task of a link has panicked")),
        }
    }

    /// Gives the core an input, and carries out what it asks for.
    pub(crate) fn input<R>(self: &Rc<Self>, input: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.core.borrow_mut();
        let result = input(&mut core);
        let signals = core.take_signals();
        if signals.flush {
            self.flush_later();
        }
        if signals.deadline {
            self.deadline_changed.notify_one();
        }
        if signals.admission {
            self.admission_resolved.notify_waiters();
        }
        while let Some(effect) = core.next_effect() {
            drop(core);
            self.carry_out(effect);
            core = self.core.borrow_mut();
        }
        result
    }

    /// Looks at the core without changing it.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Core) -> R) -> R {
        look(&self.core.borrow())
    }

    /// Serves a connection that a listener has accepted.
    pub(crate) fn spawn_client(self: &Rc<Self>, stream: TcpStream, new: NewConnection) {
        tokio::task::spawn_local(client::accept(self.clone(), stream, new));
    }

    /// Does what messages ask for, until one asks for the end.
    async fn read_messages(self: Rc<Self>, mut receiver: mpsc::Receiver<ShardMessage>) {
        let mut messages = Vec::new();
        while receiver.recv_many(&mut messages, 64).await > 0 {
            for message in messages.drain(..) {
                match message {
                    ShardMessage::Client(stream, new) => {
                        if let Ok(stream) = TcpStream::from_std(stream) {
                            self.spawn_client(stream, new);
                        }
                    }
                    ShardMessage::Link(stream, peer, permit) => {
                        let watched = PanicWatch(self.clone());
                        let link = link::run(self.clone(), stream, peer, permit);
                        self.shared.links.spawn_local(async move {
                            let _watched = watched;
                            link.await;
                        });
                    }
                    ShardMessage::Commands(commands) => self.input(|core| core.execute(commands)),
                    ShardMessage::Ask(question) => self.look(question),
                    ShardMessage::End => return,
                    ShardMessage::Stop(spread, done) => {
                        tokio::task::spawn_local(self.clone().stop(spread, done));
                    }
                }
            }
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Inserts a client, whose reading task is to be [set](Self::set_reader) next.
    pub(crate) fn insert(self: &Rc<Self>, new: NewClient<GatewayPorts>) -> Key {
        self.shared.clients.fetch_add(1, Ordering::Relaxed);
        let now_ms = self.now_ms();
        self.input(|core| core.insert(new, now_ms))
    }

    /// Sets the task that reads from a client, to be aborted when the client is closed.
    pub(crate) fn set_reader(&self, key: Key, reader: AbortHandle) {
        match self.core.borrow_mut().connection(key) {
            Some(connection) => connection.reader = Some(reader),
            None => reader.abort(),
        }
    }

    pub(crate) fn draw_connection_id(&self) -> u32 {
        let mut rng = rand::rng();
        self.look(|core| core.draw_connection_id(|| rng.random()))
    }

    /// Waits until some client has been admitted, or closed before that.
    pub(crate) async fn admission_resolved(&self) {
        self.admission_resolved.notified().await;
    }

    /// Whether a client that comes now finds a worker.
    pub(crate) fn can_serve(&self) -> bool {
        !self.is_stopping() && self.shared.workers.len() > 0
    }

    /// Whether the gateway stops, and no client may come in.
    pub(crate) fn is_stopping(&self) -> bool {
        self.look(Core::is_stopping)
    }

    /// Asks for a flush at the end of this turn.
    fn flush_later(&self) {
        self.more_queued.set(true);
        self.flush_wakeup.notify_one();
    }

    async fn flush_forever(self: Rc<Self>) {
        loop {
            self.flush_wakeup.notified().await;
            self.gather().await;
            while self.input(Core::flush) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Lets those have their turn that have become ready meanwhile, as long as there
    /// are any, for a moment: what they queue leaves in the same writes.
    async fn gather(&self) {
        let since = std::time::Instant::now();
        let mut more = self.more_queued.replace(false);
        while more && since.elapsed() < GATHER {
            tokio::task::yield_now().await;
            more = self.more_queued.replace(false);
        }
    }

    /// Calls the core when its deadline has come, and when a worker has come or gone.
    async fn advance_forever(self: Rc<Self>) {
        let mut workers = self.shared.workers.changes();
        loop {
            let next = self.look(Core::next_deadline);
            let next = self.started + Duration::from_millis(next.unwrap_or_default());
            let is_set = self.look(Core::next_deadline).is_some();
            tokio::select! {
                () = sleep_until(next), if is_set => self.advance(),
                () = self.deadline_changed.notified() => {}
                _ = workers.changed() => self.input(Core::workers_changed),
            }
            // Much may be due at once: others have their turn.
            tokio::task::yield_now().await;
        }
    }

    fn advance(self: &Rc<Self>) {
        let now_ms = self.now_ms();
        self.input(|core| core.advance(now_ms));
    }

    /// Closes everybody over `spread`.
    pub(crate) async fn stop(self: Rc<Self>, spread: Duration, done: oneshot::Sender<()>) {
        let now_ms = self.now_ms();
        self.input(|core| core.begin_stop(spread, now_ms));
        while !self.look(Core::has_stopped) {
            let next = self.look(Core::next_deadline).unwrap_or_default();
            sleep_until(self.started + Duration::from_millis(next)).await;
            self.advance();
            tokio::task::yield_now().await;
        }
        self.closing.close();
        // Whoever takes longer is cut off.
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.closing.wait()).await;
        let _ = done.send(());
    }
}
