//! The call link to one gateway: the tokio shell around [`CallLink`].
//!
//! This file owns the socket, the attempts to connect and the timer. What is sent when, which
//! answer belongs to which question, and when a gateway is silent, is decided in `core`. `links.rs`
//! keeps one link for each gateway; `gateway.rs` sends commands over it, `ask.rs` questions, and
//! `worker.rs` uses what is in `epoch.rs`. `interest.rs` is the interest link beside it.

mod epoch;
mod interest;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewayworker_net::{
    Backoff, LinkConnector, LinkStream, LinkWriter, PushError, limit_retransmission_pause,
};
use gatewayworker_protocol::{Frame, MAX_FRAME_LEN, MAX_LARGE_FRAME_LEN, MAX_MESSAGE_LEN, SecretKey};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use crate::call_connection::CallConnection;
use crate::core::{CallLink, Effect, LinkError, QuestionId, Transmit};
use crate::event_calls::EventCalls;
pub(crate) use crate::link::interest::Interest;
use crate::link::interest::LinkInterest;
use crate::name_journal::NameJournal;
use crate::{Liveness, Unreached};

/// How much may wait to be sent on one link, in bytes: PHP's `sendToGatewayBufferSize`.
const OUTBOX: usize = 10 * 1024 * 1024;

/// The same where the gateway takes large frames: several of them together.
const LARGE_OUTBOX: usize = MAX_MESSAGE_LEN;

/// A connection that stood this long was a success, however it ended: the next attempt
/// comes soon.
const SUCCESS: Duration = Duration::from_secs(10);

/// The settings that all call links of a handle share.
#[derive(Debug)]
pub(crate) struct LinkSettings {
    pub(crate) secret_key: SecretKey,
    /// Connects to gateways; has the TLS of registers, too.
    pub(crate) connector: LinkConnector,
    pub(crate) question_timeout: Duration,
    pub(crate) liveness: Liveness,
    /// The id of the worker process, which it attaches its links with.
    pub(crate) process: u64,
    /// Leave frames to be written together with those of other tasks.
    pub(crate) gather_writes: bool,
    /// Which gateways are asked for their groups and uids, to be left out where they have none of a send's.
    pub(crate) interest: Interest,
    /// Where interest links live, if not in the runtime of the call links.
    pub(crate) interest_runtime: Option<Handle>,
    /// Counts the gateways that sends and questions leave out.
    pub(crate) left_out: Option<Arc<AtomicU64>>,
    /// Keeps what gateways announce for other clusters.
    pub(crate) journal: Arc<NameJournal>,
    /// Is told of each question that is answered, or not.
    pub(crate) questions: Option<QuestionObserver>,
}

/// Is told how long a gateway took to answer a question, or why it did not. It must not block.
#[derive(Clone)]
pub struct QuestionObserver(Arc<dyn Fn(Duration, Result<(), Unreached>) + Send + Sync>);

impl QuestionObserver {
    /// One that calls `note`.
    pub fn new(note: impl Fn(Duration, Result<(), Unreached>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(note))
    }
}

impl fmt::Debug for QuestionObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuestionObserver").finish_non_exhaustive()
    }
}

type Asker = oneshot::Sender<Result<Bytes, Unreached>>;
type Core = CallLink<Arc<CallConnection>, Asker>;

/// The link to one gateway, connected or not.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddrV4,
    settings: Arc<LinkSettings>,
    /// Commands read it, to reach the connection; questions and the link's task write it.
    core: RwLock<Core>,
    /// The gateway is one of ours that has said so.
    takes_large_frames: AtomicBool,
    /// The gateway's process, while the connection is attached to it; 0 if it is not known.
    instance: AtomicU64,
    /// What is known of the gateway's groups and uids.
    pub(crate) interest: LinkInterest,
    /// There may be a deadline where there was none.
    deadline_set: Notify,
    /// Bumped whenever the link has connected or ended.
    changes: watch::Sender<u64>,
}

impl Transmit for Arc<CallConnection> {
    fn push(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
        self.writer.push(write)
    }

    fn push_over(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
        self.writer.push_over(write)
    }

    fn pushed(&self) -> u64 {
        self.writer.pushed()
    }

    fn written(&self) -> u64 {
        self.writer.written()
    }
}

impl Link {
    pub(crate) fn new(
        address: SocketAddrV4,
        settings: Arc<LinkSettings>,
        changes: watch::Sender<u64>,
    ) -> Self {
        let core = CallLink::new(settings.secret_key.clone(), settings.question_timeout)
            .with_liveness(settings.liveness);
        let takes_large_frames = AtomicBool::new(false);
        let interest = LinkInterest::new(settings.interest, settings.left_out.clone());
        Self {
            address,
            settings,
            core: RwLock::new(core),
            takes_large_frames,
            instance: AtomicU64::new(0),
            interest,
            deadline_set: Notify::new(),
            changes,
        }
    }

    /// Returns how many questions wait for their answers.
    pub(crate) fn waiting_questions(&self) -> usize {
        self.core.read().unwrap_or_else(PoisonError::into_inner).waiting_questions()
    }

    /// Whether the first attempt to connect is still under way.
    pub(crate) fn is_connecting(&self) -> bool {
        self.core.read().unwrap_or_else(PoisonError::into_inner).is_connecting()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.connection().is_ok()
    }

    /// Whether something waits to be written.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.connection().is_ok_and(|connection| connection.unwritten() > 0)
    }

    /// The connection and how much was pushed to it, if something waits to be written.
    pub(crate) fn unwritten(&self) -> Option<(Arc<CallConnection>, u64)> {
        let connection = self.connection().ok()?;
        let pushed = connection.writer.pushed();
        (connection.writer.written() < pushed).then_some((connection, pushed))
    }

    fn connection(&self) -> Result<Arc<CallConnection>, Unreached> {
        self.core.read().unwrap_or_else(PoisonError::into_inner).connection().cloned()
    }

    fn any_connection(&self) -> Option<Arc<CallConnection>> {
        self.core.read().unwrap_or_else(PoisonError::into_inner).any_connection().cloned()
    }

    /// Calls the core, then carries out its effects.
    fn update<T>(&self, step: impl FnOnce(&mut Core) -> T) -> T {
        let (result, effects) = {
            let mut core = self.core.write().unwrap_or_else(PoisonError::into_inner);
            (step(&mut core), core.take_effects())
        };
        for effect in effects {
            match effect {
                Effect::Settle { asker, outcome } => {
                    // An asker that is gone wants no answer.
                    let _ = asker.send(outcome);
                }
                Effect::Flush => {
                    if let Some(connection) = self.any_connection() {
                        self.flush(&connection.writer);
                    }
                }
                Effect::Close(connection) => self.close_silent(&connection),
                Effect::Proven => {
                    info!(gateway = %self.address, "the gateway answers again");
                    self.has_changed();
                }
            }
        }
        result
    }

    fn close_silent(&self, connection: &CallConnection) {
        let local = connection.writer.socket().local_addr();
        warn!(
            gateway = %self.address,
            local = local.map(tracing::field::display),
            "the gateway answers nothing: its call link is closed and connected again, and it counts as not \
             connected until it answers"
        );
        connection.writer.close(io::ErrorKind::TimedOut);
    }

    fn flush(&self, writer: &LinkWriter) {
        if self.settings.gather_writes { writer.flush_soon() } else { writer.flush() }
    }

    fn has_changed(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    /// Notes whether the gateway takes large frames, as it has said on its event link.
    pub(crate) fn set_takes_large_frames(&self, takes: bool) {
        self.takes_large_frames.store(takes, Ordering::Relaxed);
    }

    /// Notes whether the gateway announces its groups and uids, as it has said on its event link.
    pub(crate) fn set_announces_names(&self, announces: bool) {
        if self.settings.interest == Interest::Offered {
            self.interest.set_offered(announces);
        }
    }

    /// The gateway's process, if the connection is attached to it.
    pub(crate) fn instance(&self) -> Option<u64> {
        Some(self.instance.load(Ordering::Relaxed)).filter(|instance| *instance != 0)
    }

    /// The longest frame that the gateway takes, in bytes.
    pub(crate) fn max_frame_len(&self) -> usize {
        if self.takes_large_frames.load(Ordering::Relaxed) { MAX_LARGE_FRAME_LEN } else { MAX_FRAME_LEN }
    }

    /// Hands a frame to the link. Waits for nothing. `calls` notes it for the event whose handler
    /// says it.
    pub(crate) fn tell(&self, frame: &Frame, calls: Option<&EventCalls>) -> Result<(), Unreached> {
        let told = self.push(frame);
        if let Some(calls) = calls {
            calls.note(self.address, &told);
        }
        self.flush(&told?.writer);
        Ok(())
    }

    fn push(&self, frame: &Frame) -> Result<Arc<CallConnection>, Unreached> {
        let connection = self.connection()?;
        let outbox = if self.takes_large_frames.load(Ordering::Relaxed) { LARGE_OUTBOX } else { OUTBOX };
        connection.writer.push_within(outbox, |out| frame.encode(out))?;
        if connection.is_probe_due() {
            self.probe(&connection);
        }
        Ok(connection)
    }

    /// Asks for a sign of life behind what was pushed.
    #[cold]
    fn probe(&self, connection: &CallConnection) {
        connection.note_probe();
        self.update(|core| core.probe_backlog(Instant::now().into_std()));
        self.deadline_set.notify_one();
    }

    /// Asks with the frame of a question, and waits for the answer for at most the question
    /// time-out.
    ///
    /// Cancel safe: the link drops the answer that nobody waits for any more.
    pub(crate) async fn ask(&self, question: Frame) -> Result<Bytes, Unreached> {
        let now = Instant::now();
        let outcome = self.ask_at(question, now).await;
        if let Some(QuestionObserver(note)) = &self.settings.questions {
            note(now.elapsed(), outcome.as_ref().map(drop).map_err(|why| *why));
        }
        outcome
    }

    async fn ask_at(&self, question: Frame, now: Instant) -> Result<Bytes, Unreached> {
        let (asker, mut answered) = oneshot::channel();
        let id = self.update(|core| core.ask(question, asker, now.into_std()))?;
        self.deadline_set.notify_one();
        let waiting = CancelOnDrop { link: self, id: Some(id) };
        let outcome = match timeout_at(now + self.settings.question_timeout, &mut answered).await {
            Ok(outcome) => outcome.unwrap_or(Err(Unreached::Lost)),
            Err(_) => {
                // The link's own task does the same, but may be held up by a handler.
                self.handle_timeout();
                answered.try_recv().unwrap_or(Err(Unreached::TimedOut))
            }
        };
        waiting.disarm();
        outcome
    }

    fn handle_timeout(&self) {
        let now = Instant::now();
        // First what has come by now: this task may have been held up, and not the gateway.
        if let Some(connection) = self.any_connection() {
            let read = connection.read_directly(|received| self.receive(&connection, received));
            if let Some(Err(error)) = read {
                warn!(gateway = %self.address, %error, "the call link is out of step: it is connected again");
                connection.writer.close(io::ErrorKind::InvalidData);
            }
        }
        self.update(|core| core.handle_timeout(now.into_std()));
    }

    /// Hands the core what was read from a connection, unless the link has another one by now: its
    /// answers belong to no question of the new one.
    fn receive(&self, connection: &Arc<CallConnection>, received: &mut BytesMut) -> Result<(), LinkError> {
        self.update(|core| {
            if core.any_connection().is_some_and(|current| Arc::ptr_eq(current, connection)) {
                core.receive(received, Instant::now().into_std())
            } else {
                Ok(())
            }
        })
    }

    /// Refuses further frames; the connection ends once what waits is written.
    pub(crate) fn finish(&self) {
        if let Some(connection) = self.any_connection() {
            connection.writer.finish();
        }
    }

    /// Keeps the link connected, until the gateway is neither connected nor listed. Never
    /// returns once [`finish`](Self::finish) has ended a connection.
    pub(crate) async fn run(self: Arc<Self>, listed: watch::Receiver<bool>) {
        // A task of its own: each flush wakes this one, and would look at the timer too.
        let _time = AbortOnDropHandle::new(tokio::spawn(self.clone().keep_time()));
        self.keep_connected(listed).await;
        debug!(gateway = %self.address, "no longer listed");
    }

    /// Ends questions whose time is over, also those whose asker is gone, and notices a gateway that
    /// is silent.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let deadline = self.core.read().unwrap_or_else(PoisonError::into_inner).next_deadline();
            match deadline {
                // The deadline moves while this sleeps: a question is answered, and the gateway is idle.
                // The new one is an interval away at least, so that no sleep of an interval misses it.
                // (That of a question may be earlier; its asker waits for it itself.)
                Some(deadline) => {
                    let latest = Instant::now() + self.settings.liveness.ping_interval;
                    sleep_until(latest.min(Instant::from_std(deadline))).await;
                }
                None => self.deadline_set.notified().await,
            }
            self.handle_timeout();
        }
    }

    async fn keep_connected(self: &Arc<Self>, mut listed: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        let address = self.address;
        while *listed.borrow_and_update() {
            match self.settings.connector.connect(address).await {
                Err(error) => {
                    warn!(gateway = %address, %error, "cannot connect the call link");
                    self.update(Core::connect_failed);
                }
                Ok(stream) => {
                    let started = Instant::now();
                    let ended = self.serve(stream).await;
                    match ended {
                        Ok(()) => {
                            self.has_changed();
                            // Ending would be taken for a lost link, and start the next.
                            return std::future::pending().await;
                        }
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                            info!(gateway = %address, "the gateway has closed the call link");
                        }
                        Err(error) => warn!(gateway = %address, %error, "the call link ended"),
                    }
                    if started.elapsed() > SUCCESS {
                        backoff.reset();
                    }
                }
            }
            self.has_changed();
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                _ = listed.changed() => {}
            }
        }
    }

    /// Serves one connection to its end. `Ok` when this side has finished it.
    async fn serve(self: &Arc<Self>, stream: LinkStream) -> io::Result<()> {
        limit_retransmission_pause(stream.socket(), self.settings.liveness.timeout);
        let connection = Arc::new(CallConnection::new(self.address, stream, OUTBOX));
        let _end = EndOnDrop { link: self, connection: &connection };
        self.update(|core| core.connected(connection.clone(), Instant::now().into_std()))
            .map_err(io::Error::other)?;
        self.deadline_set.notify_one();
        let transport = connection.writer.socket().transport();
        info!(gateway = %self.address, %transport, "connected");
        self.has_changed();
        // A task of its own, as each flush wakes this one.
        let link = self.clone();
        let follow = async move { link.interest.follow(&link).await };
        let runtime = self.settings.interest_runtime.clone().unwrap_or_else(Handle::current);
        let _interest = AbortOnDropHandle::new(runtime.spawn(follow));
        let ended = tokio::select! {
            ended = connection.writer.drive() => ended,
            ended = self.read_answers(&connection) => ended,
        };
        let unwritten_bytes = connection.unwritten();
        if unwritten_bytes > 0 {
            let gateway = self.address;
            warn!(%gateway, unwritten_bytes, "the call link ended before all commands were written: they are lost");
        }
        ended
    }

    async fn read_answers(&self, connection: &Arc<CallConnection>) -> io::Result<()> {
        loop {
            let received = connection.read(|received| self.receive(connection, received)).await?;
            received.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }
}

/// Ends a connection, also where the future that serves it is dropped: what ends with it shall not
/// wait for ever.
struct EndOnDrop<'a> {
    link: &'a Link,
    connection: &'a CallConnection,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        // Some task may still hold the connection: what it pushes now is refused.
        self.connection.writer.close(io::ErrorKind::NotConnected);
        // Before the next connection: what is known of the gateway may be of another process then.
        self.link.interest.call_link_over();
        self.link.update(Core::disconnected);
        // Nothing can be attached before the next connection.
        self.link.instance.store(0, Ordering::Relaxed);
        self.connection.ended.cancel();
    }
}

/// Tells the core that the asker is gone, unless it was disarmed.
struct CancelOnDrop<'a> {
    link: &'a Link,
    id: Option<QuestionId>,
}

impl CancelOnDrop<'_> {
    fn disarm(mut self) {
        self.id = None;
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.link.update(|core| core.cancel(id));
        }
    }
}
