//! The call link to one gateway over TCP: the tokio shell around [`CallLink`].
//!
//! This file owns the socket, the attempts to connect and the timer. What is sent when, and
//! which answer belongs to which question, is decided in `core`. `links.rs` keeps one link
//! for each gateway; `gateway.rs` sends commands over it, `ask.rs` questions.

use std::io;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewayworker_net::{Backoff, LinkWriter, PushError};
use gatewayworker_protocol::{Frame, MAX_FRAME_LEN, MAX_LARGE_FRAME_LEN, MAX_MESSAGE_LEN, SecretKey};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use crate::Unreached;
use crate::core::{CallLink, Effect, QuestionId, Transmit};

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
    pub(crate) question_timeout: Duration,
    /// Leave frames to be written together with those of other tasks.
    pub(crate) gather_writes: bool,
}

type Asker = oneshot::Sender<Result<Bytes, Unreached>>;
type Core = CallLink<Arc<LinkWriter>, Asker>;

/// The link to one gateway, connected or not.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddrV4,
    settings: Arc<LinkSettings>,
    /// Commands read it, to reach the connection; questions and the link's task write it.
    core: RwLock<Core>,
    /// The gateway is one of ours that has said so.
    takes_large_frames: AtomicBool,
    /// A question was asked, so there may be a deadline.
    asked: Notify,
    /// Bumped whenever the link has connected or ended.
    changes: watch::Sender<u64>,
}

impl Transmit for Arc<LinkWriter> {
    fn push(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
        LinkWriter::push(self, write)
    }
}

impl Link {
    pub(crate) fn new(
        address: SocketAddrV4,
        settings: Arc<LinkSettings>,
        changes: watch::Sender<u64>,
    ) -> Self {
        let core = RwLock::new(CallLink::new(settings.secret_key.clone(), settings.question_timeout));
        let takes_large_frames = AtomicBool::new(false);
        Self { address, settings, core, takes_large_frames, asked: Notify::new(), changes }
    }

    /// Whether the first attempt to connect is still under way.
    pub(crate) fn is_connecting(&self) -> bool {
        self.core.read().unwrap_or_else(PoisonError::into_inner).is_connecting()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.writer().is_ok()
    }

    fn writer(&self) -> Result<Arc<LinkWriter>, Unreached> {
        self.core.read().unwrap_or_else(PoisonError::into_inner).connection().cloned()
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
                    if let Ok(writer) = self.writer() {
                        self.flush(&writer);
                    }
                }
                Effect::Close(writer) => {
                    let gateway = self.address;
                    warn!(%gateway, "the gateway did not answer a question in time: starting a new call link");
                    writer.close(io::ErrorKind::TimedOut);
                }
            }
        }
        result
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

    /// The longest frame that the gateway takes, in bytes.
    pub(crate) fn max_frame_len(&self) -> usize {
        if self.takes_large_frames.load(Ordering::Relaxed) { MAX_LARGE_FRAME_LEN } else { MAX_FRAME_LEN }
    }

    /// Hands a frame to the link. Waits for nothing.
    pub(crate) fn tell(&self, frame: &Frame) -> Result<(), Unreached> {
        let writer = self.writer()?;
        let outbox = if self.takes_large_frames.load(Ordering::Relaxed) { LARGE_OUTBOX } else { OUTBOX };
        writer.push_within(outbox, |out| frame.encode(out))?;
        self.flush(&writer);
        Ok(())
    }

    /// Asks with the frame of a question, and waits for the answer for at most the question
    /// time-out.
    ///
    /// Cancel safe: the link drops the answer that nobody waits for any more.
    pub(crate) async fn ask(&self, question: Frame) -> Result<Bytes, Unreached> {
        let now = Instant::now();
        let (asker, mut answered) = oneshot::channel();
        let id = self.update(|core| core.ask(question, asker, now.into_std()))?;
        self.asked.notify_one();
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
        self.update(|core| core.handle_timeout(Instant::now().into_std()));
    }

    /// Refuses further frames; the connection ends once what waits is written.
    pub(crate) fn finish(&self) {
        if let Ok(writer) = self.writer() {
            writer.finish();
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

    /// Ends questions whose time is over, also those whose asker is gone.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let deadline = self.core.read().unwrap_or_else(PoisonError::into_inner).next_deadline();
            match deadline {
                // It may have moved to later meanwhile, never to earlier.
                Some(deadline) => sleep_until(Instant::from_std(deadline)).await,
                None => self.asked.notified().await,
            }
            self.handle_timeout();
        }
    }

    async fn keep_connected(&self, mut listed: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        let address = self.address;
        while *listed.borrow_and_update() {
            match gatewayworker_net::connect(address).await {
                Err(error) => {
                    warn!(gateway = %address, %error, "cannot connect the call link");
                    self.update(Core::connect_failed);
                }
                Ok(stream) => {
                    let started = Instant::now();
                    let ended = self.serve(stream).await;
                    self.update(Core::disconnected);
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
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let (reading, writing) = stream.into_split();
        let writer = Arc::new(LinkWriter::new(writing, OUTBOX));
        self.update(|core| core.connected(writer.clone(), Instant::now().into_std()))
            .map_err(io::Error::other)?;
        info!(gateway = %self.address, "connected");
        self.has_changed();
        let ended = tokio::select! {
            ended = writer.drive() => ended,
            ended = self.read_answers(reading) => ended,
        };
        // Some task may still hold the writer: what it pushes now is refused.
        writer.close(io::ErrorKind::NotConnected);
        ended
    }

    async fn read_answers(&self, mut reading: OwnedReadHalf) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(4096);
            if reading.read_buf(&mut buffer).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the gateway"));
            }
            self.update(|core| core.receive(&mut buffer, Instant::now().into_std()))
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
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
