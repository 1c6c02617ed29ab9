//! A shard's thread: it runs the core of a shard ([`crate::core::Shard`]) on tokio.
//!
//! Sockets, sessions, memberships, outboxes and timers of a client live on one thread, in the core,
//! which is in a `RefCell`. The tasks of the thread give it inputs ([`ShardThread::input`]) and must
//! not borrow it across an await. An input does not wait, so nothing else happens in the middle of
//! one. The effects of an input are carried out after the borrow has ended. Other threads send a
//! [`ShardMessage`].
//!
//! - `run`: the perpetual tasks of a shard, and the loop that serves messages,
//! - `message`: the messages of other threads,
//! - `connection`: the core's ports, over sockets and links,
//! - `ending`: the effects: ending connections, waiting for full sockets, logging,
//! - `renewal`: new tokens of clients,
//! - `trace`: the traces of clients.

mod connection;
mod ending;
pub(crate) mod message;
mod renewal;
mod run;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
pub(crate) mod testing;
mod trace;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use crate::core::client::NewClient;
use crate::core::source::ClosesGivenUp;
use crate::core::table::Key;
use crate::core::trace::TraceId;
use crate::gateway_state::GatewayState;
use crate::socket::Socket;
use crate::trace_queue::TraceQueue;

pub(crate) use connection::{ClientConnection, Core, GatewayPorts};
pub(crate) use message::{NewConnection, NewTrace, RelayedConnection, ReturningConnection, ShardMessage};
pub(crate) use run::run;

/// How many messages a shard's channel holds; a sender waits for room.
const CHANNEL: usize = 1024;

/// How long a gateway that stops waits for the ends of connections, once all clients are closed.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a flush waits at most for more messages that leave in the same writes. A write costs as
/// much as several checks for more.
const GATHER: Duration = Duration::from_micros(100);

/// The size of the buffer that all reads of a shard share, in bytes: no client has its own.
pub(crate) const SCRATCH: usize = 64 * 1024;

/// A shard on its thread: the core, and what wakes its tasks.
pub(crate) struct ShardThread {
    pub(crate) index: usize,
    pub(crate) shared: Arc<GatewayState>,
    pub(crate) scratch: RefCell<Box<[u8]>>,
    core: RefCell<Core>,
    /// The spans of traced events that have not ended.
    #[cfg(feature = "otel")]
    spans: RefCell<crate::spans::OpenSpans>,
    started: Instant,
    /// When the first broadcast was queued of those that are under way, where somebody asks for times.
    broadcast_since: Cell<Option<std::time::Instant>>,
    /// Wakes the flush task.
    flush_wakeup: Notify,
    /// More was queued since the flush task last checked.
    more_queued: Cell<bool>,
    /// Wakes the timer task: the core's next deadline may have changed.
    deadline_changed: Notify,
    /// Wakes the stop of the shard: a worker has finished the last close.
    closes_done: Notify,
    /// Wakes [`run`](Self::run): the task of a link on this shard has panicked.
    link_panicked: Notify,
    /// The tasks that close connections.
    closing: TaskTracker,
    /// Where the lines of the core's traces go: a few.
    traces: RefCell<Vec<(TraceId, Arc<TraceQueue>)>>,
}

/// Creates the channel to a shard.
pub(crate) fn channel() -> (mpsc::Sender<ShardMessage>, mpsc::Receiver<ShardMessage>) {
    mpsc::channel(CHANNEL)
}

impl ShardThread {
    pub(crate) fn new(index: usize, shared: Arc<GatewayState>) -> Rc<Self> {
        let core = Core::new(shared.settings(index), shared.workers.clone());
        #[cfg(feature = "otel")]
        let core = core.with_spans(shared.span_settings());
        Rc::new(Self {
            index,
            shared,
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            core: RefCell::new(core),
            #[cfg(feature = "otel")]
            spans: RefCell::default(),
            started: Instant::now(),
            broadcast_since: Cell::new(None),
            flush_wakeup: Notify::new(),
            more_queued: Cell::new(false),
            deadline_changed: Notify::new(),
            closes_done: Notify::new(),
            link_panicked: Notify::new(),
            closing: TaskTracker::new(),
            traces: RefCell::default(),
        })
    }

    /// Gives the core an input, and then carries out its effects.
    pub(crate) fn input<R>(self: &Rc<Self>, input: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.core.borrow_mut();
        let result = input(&mut core);
        let signals = core.take_signals();
        if signals.flush {
            self.schedule_flush();
        }
        // One that was queued for full sockets alone is written later.
        if signals.broadcast
            && signals.flush
            && self.shared.timings.is_some()
            && self.broadcast_since.get().is_none()
        {
            self.broadcast_since.set(Some(std::time::Instant::now()));
        }
        if signals.deadline {
            self.deadline_changed.notify_one();
        }
        if signals.closes_done {
            self.closes_done.notify_one();
        }
        while let Some(effect) = core.next_effect() {
            drop(core);
            self.carry_out(effect);
            core = self.core.borrow_mut();
        }
        result
    }

    /// Reads from the core without changing it.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Core) -> R) -> R {
        look(&self.core.borrow())
    }

    /// Returns the time since the shard's start, in milliseconds: the clock of the core.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Returns when that clock began, in milliseconds since 1970, by the system's clock of now.
    pub(crate) fn clock_start_ms(&self) -> u64 {
        trace::unix_ms().saturating_sub(self.now_ms())
    }

    /// Waits until a time of that clock.
    pub(crate) async fn sleep_until_ms(&self, at_ms: u64) {
        sleep_until(self.started + Duration::from_millis(at_ms)).await;
    }

    /// Inserts a client. The caller has to [set](Self::set_reader) its reading task next.
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

    /// Looks at the socket of a client; at `None` where the client is gone.
    pub(crate) fn with_socket<R>(&self, key: Key, look: impl FnOnce(Option<&Socket>) -> R) -> R {
        look(self.core.borrow().connection_of(key).and_then(|connection| connection.socket.as_ref()))
    }

    /// Draws a random connection id that is free and belongs to this shard.
    pub(crate) fn draw_connection_id(&self) -> u32 {
        let mut rng = rand::rng();
        self.look(|core| core.draw_connection_id(|| rng.random()))
    }

    /// Waits until the core lets a client's reader go on.
    ///
    /// Cancel safe.
    pub(crate) async fn resumed(&self, key: Key) {
        poll_fn(|cx| {
            let mut core = self.core.borrow_mut();
            if core.is_waiting(key)
                && let Some(connection) = core.connection(key)
            {
                connection.set_resume(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Returns whether a new client would find a worker.
    pub(crate) fn can_serve(&self) -> bool {
        !self.is_stopping() && self.shared.workers.len() > 0
    }

    /// Returns whether the gateway stops and accepts no new client.
    pub(crate) fn is_stopping(&self) -> bool {
        self.look(Core::is_stopping)
    }

    /// Schedules a flush, after the tasks that are ready now.
    fn schedule_flush(&self) {
        self.more_queued.set(true);
        self.flush_wakeup.notify_one();
    }

    /// Flushes the core at each wake-up.
    async fn flush_forever(self: Rc<Self>) {
        loop {
            self.flush_wakeup.notified().await;
            self.gather().await;
            while self.input(Core::flush) {
                tokio::task::yield_now().await;
            }
            if let Some(since) = self.broadcast_since.take()
                && let Some(timings) = &self.shared.timings
            {
                timings.broadcasts.observe_us(since.elapsed().as_micros() as u64);
            }
        }
    }

    /// Lets other tasks run as long as they queue more, for [`GATHER`] at most: their messages leave
    /// in the same writes.
    async fn gather(&self) {
        let since = std::time::Instant::now();
        let mut more = self.more_queued.replace(false);
        while more && since.elapsed() < GATHER {
            tokio::task::yield_now().await;
            more = self.more_queued.replace(false);
        }
    }

    /// Calls the core at each of its deadlines, and when a worker has joined or left.
    async fn advance_forever(self: Rc<Self>) {
        let mut workers = self.shared.workers.changes();
        loop {
            let next_ms = self.look(Core::next_deadline);
            tokio::select! {
                () = self.sleep_until_ms(next_ms.unwrap_or_default()), if next_ms.is_some() => self.advance(),
                () = self.deadline_changed.notified() => {}
                _ = workers.changed() => self.input(Core::workers_changed),
            }
            // Many deadlines may be due at once: let other tasks run.
            tokio::task::yield_now().await;
        }
    }

    fn advance(self: &Rc<Self>) {
        let now_ms = self.now_ms();
        self.input(|core| core.advance(now_ms));
    }

    /// Closes all clients evenly over `spread`. Then waits until their workers have handled the closes,
    /// for `timeout` at most, and for the ends of their connections. Reports to `done` which closes are
    /// not handled.
    pub(crate) async fn stop(
        self: Rc<Self>,
        spread: Duration,
        timeout: Duration,
        done: oneshot::Sender<ClosesGivenUp>,
    ) {
        let now_ms = self.now_ms();
        self.input(|core| core.begin_stop(spread, now_ms));
        while !self.look(Core::has_closed_all) {
            self.sleep_until_ms(self.look(Core::next_deadline).unwrap_or_default()).await;
            self.advance();
            tokio::task::yield_now().await;
        }
        let _ = tokio::time::timeout(timeout, self.closes_handled()).await;
        let given_up = self.input(Core::give_up_closes);
        self.closing.close();
        // The connections that take longer are cut off when the process ends.
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.closing.wait()).await;
        let _ = done.send(given_up);
    }

    /// Waits until workers have handled all closes, or no worker is there that could, nor is expected: an
    /// operator who has stopped the workers does not wait for nothing.
    async fn closes_handled(&self) {
        let mut workers = self.shared.workers.changes();
        let must_wait = || !self.look(Core::has_stopped) && self.shared.workers.expects_one();
        if !must_wait() {
            return;
        }
        let _waiting = WaitingShard::new(&self.shared);
        while must_wait() {
            tokio::select! {
                () = self.closes_done.notified() => {}
                _ = workers.changed() => {}
            }
        }
    }
}

/// Counts a shard among those that wait for their closes to be handled.
struct WaitingShard<'s>(&'s GatewayState);

impl<'s> WaitingShard<'s> {
    fn new(shared: &'s GatewayState) -> Self {
        shared.waiting_shards.send_modify(|shards| *shards += 1);
        Self(shared)
    }
}

impl Drop for WaitingShard<'_> {
    fn drop(&mut self) {
        self.0.waiting_shards.send_modify(|shards| *shards -= 1);
    }
}
