//! One call link: commands out, questions out and answers in.
//!
//! An answer has no id, so a link has one question under way at a time, whoever
//! asks; the next is sent when the answer is there. What is not here: which links
//! there are (`links`), and what an answer means (`answer`).

use std::io;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewayworker_net::{Backoff, LinkWriter, PushError};
use gatewayworker_protocol::{
    Command, Frame, Hello, MAX_FRAME_LEN, MAX_LARGE_FRAME_LEN, MAX_MESSAGE_LEN, Question, SecretKey,
    parse_answer,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::Unreached;

/// What may wait to be sent on one link, in bytes: PHP's `sendToGatewayBufferSize`.
const OUTBOX: usize = 10 * 1024 * 1024;

/// The same where the gateway takes large frames: some of them together.
const LARGE_OUTBOX: usize = MAX_MESSAGE_LEN;

/// How many may wait for an answer on one link.
const MAX_WAITING: usize = 1024;

/// The longest answer taken, in bytes: a row for each of a million clients.
const MAX_ANSWER: usize = 128 * 1024 * 1024;

/// A link that stood this long was a success, however it ended.
const SUCCESS: Duration = Duration::from_secs(10);

/// What all call links of a handle have in common.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) secret_key: SecretKey,
    pub(crate) question_timeout: Duration,
    /// Leave frames to be written together with those of other tasks.
    pub(crate) gather: bool,
}

/// The link to one gateway, connected or not.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddrV4,
    settings: Arc<Settings>,
    state: RwLock<State>,
    /// The gateway is one of ours that has said so.
    takes_large_frames: AtomicBool,
    /// Bumped whenever `state` has changed.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
enum State {
    /// The first attempt is under way.
    Connecting,
    Live(Arc<Connection>),
    Down,
}

impl Link {
    pub(crate) fn new(address: SocketAddrV4, settings: Arc<Settings>, changes: watch::Sender<u64>) -> Self {
        let state = RwLock::new(State::Connecting);
        Self { address, settings, state, takes_large_frames: AtomicBool::new(false), changes }
    }

    /// Whether the first attempt to connect is still under way.
    pub(crate) fn is_starting(&self) -> bool {
        matches!(*self.state.read().unwrap_or_else(PoisonError::into_inner), State::Connecting)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.connection().is_ok()
    }

    fn connection(&self) -> Result<Arc<Connection>, Unreached> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Live(connection) => Ok(connection.clone()),
            State::Connecting | State::Down => Err(Unreached::NotConnected),
        }
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.changes.send_modify(|version| *version += 1);
    }

    /// Notes whether the gateway takes large frames, which its event link is told.
    pub(crate) fn set_takes_large_frames(&self, takes: bool) {
        self.takes_large_frames.store(takes, Ordering::Relaxed);
    }

    /// The longest frame that the gateway takes, in bytes.
    pub(crate) fn max_frame_len(&self) -> usize {
        if self.takes_large_frames.load(Ordering::Relaxed) { MAX_LARGE_FRAME_LEN } else { MAX_FRAME_LEN }
    }

    /// Hands a frame to the link. Waits for nothing.
    pub(crate) fn tell(&self, frame: &Frame) -> Result<(), Unreached> {
        let connection = self.connection()?;
        let outbox = if self.takes_large_frames.load(Ordering::Relaxed) { LARGE_OUTBOX } else { OUTBOX };
        connection.writer.push_within(outbox, |out| frame.encode(out)).map_err(unreached)?;
        connection.flush(self.settings.gather);
        Ok(())
    }

    /// Asks, and waits for the answer at most as long as the settings say.
    ///
    /// Cancel safe: an answer that nobody waits for any more is thrown away when
    /// it comes. One that does not come ends the link, as nothing behind it could
    /// be told apart.
    pub(crate) async fn ask(&self, question: Question) -> Result<Bytes, Unreached> {
        let limit = self.settings.question_timeout;
        let deadline = Instant::now() + limit;
        let _ = tokio::time::timeout_at(deadline, self.started()).await;
        let connection = self.connection()?;
        let answer = connection.ask(question, self.settings.gather);
        tokio::time::timeout_at(deadline, answer).await.unwrap_or_else(|_| {
            connection.give_up_if_stuck(self.address, limit);
            Err(Unreached::TimedOut)
        })
    }

    /// Waits until the first attempt to connect has gone one way or the other.
    async fn started(&self) {
        let mut changes = self.changes.subscribe();
        while self.is_starting() && changes.changed().await.is_ok() {}
    }

    /// Refuses further frames; the link ends once what waits is written.
    pub(crate) fn finish(&self) {
        if let Ok(connection) = self.connection() {
            connection.writer.finish();
        }
    }

    /// Connects, and again, until the gateway is neither connected nor listed or
    /// the link was finished.
    pub(crate) async fn run(&self, mut listed: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        let address = self.address;
        while *listed.borrow_and_update() {
            match gatewayworker_net::connect(address).await {
                Err(error) => warn!(gateway = %address, %error, "no call link"),
                Ok(stream) => {
                    let started = Instant::now();
                    match self.hold(stream).await {
                        Ok(()) => {
                            self.set(State::Down);
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
            self.set(State::Down);
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                _ = listed.changed() => {}
            }
        }
        debug!(gateway = %address, "no longer listed");
    }

    /// One connection, from the first frame to its end. `Ok` when it was finished
    /// from this side.
    async fn hold(&self, stream: TcpStream) -> io::Result<()> {
        let (reading, writing) = stream.into_split();
        let connection = Arc::new(Connection {
            writer: LinkWriter::new(writing, OUTBOX),
            turn: Arc::new(Semaphore::new(1)),
            places: Semaphore::new(MAX_WAITING),
            asked: Mutex::default(),
        });
        // Without a key a call link begins with nothing: so does the original's,
        // and an answer to a hello would stand between the answers to questions.
        if !self.settings.secret_key.is_empty() {
            let hello = Hello {
                worker_key: None,
                secret_key: Some(self.settings.secret_key.clone()),
                features: None,
            };
            connection
                .writer
                .push(|out| Command::ClientConnect(hello).encode(out))
                .map_err(io::Error::other)?;
            connection.writer.flush();
        }
        info!(gateway = %self.address, "connected");
        self.set(State::Live(connection.clone()));
        let ended = tokio::select! {
            ended = connection.writer.drive() => ended,
            ended = connection.read_answers(reading) => ended,
        };
        connection.end();
        ended
    }
}

fn unreached(error: PushError) -> Unreached {
    match error {
        PushError::Full => Unreached::Overloaded,
        PushError::Closed => Unreached::NotConnected,
    }
}

#[derive(Debug)]
struct Connection {
    writer: LinkWriter,
    /// Who holds it may ask. It stays with the question until that is answered,
    /// even where the one who asked has gone.
    turn: Arc<Semaphore>,
    /// Bounds how many wait for their turn.
    places: Semaphore,
    /// The question under way.
    asked: Mutex<Option<Asked>>,
}

#[derive(Debug)]
struct Asked {
    answer: oneshot::Sender<Bytes>,
    since: Instant,
    turn: OwnedSemaphorePermit,
}

impl Connection {
    fn flush(&self, gather: bool) {
        if gather { self.writer.flush_soon() } else { self.writer.flush() }
    }

    async fn ask(&self, question: Question, gather: bool) -> Result<Bytes, Unreached> {
        let _place = self.places.try_acquire().map_err(|_| Unreached::Overloaded)?;
        let turn = self.turn.clone().acquire_owned().await.map_err(|_| Unreached::Lost)?;
        let (answer, answered) = oneshot::channel();
        {
            // Held over the push, so that the answer cannot be faster than the note,
            // nor the link's end come in between.
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            self.writer.push(|out| Command::Ask(question).encode(out)).map_err(unreached)?;
            *asked = Some(Asked { answer, since: Instant::now(), turn });
        }
        self.flush(gather);
        answered.await.map_err(|_| Unreached::Lost)
    }

    async fn read_answers(&self, mut reading: OwnedReadHalf) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        loop {
            while let Some(answer) = parse_answer(&mut buffer, MAX_ANSWER).map_err(io::Error::other)? {
                let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
                let Some(Asked { answer: to, turn, .. }) = asked else {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "an answer that nobody asked for",
                    ));
                };
                let _ = to.send(answer);
                drop(turn);
            }
            buffer.reserve(4096);
            if reading.read_buf(&mut buffer).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the gateway"));
            }
        }
    }

    /// Ends the link where the question under way has had (nearly) all the time
    /// that a question has. One that has only just begun, because its asker stood
    /// in line, is let be.
    fn give_up_if_stuck(&self, address: SocketAddrV4, limit: Duration) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.as_ref().is_some_and(|asked| asked.since.elapsed() >= limit.mul_f64(0.9)) {
            warn!(gateway = %address, "a question was not answered in time: starting a new call link");
            self.writer.close(io::ErrorKind::TimedOut);
        }
    }

    /// Sends everybody away who waits. The writer is closed first: who comes now
    /// finds it so.
    fn end(&self) {
        self.writer.close(io::ErrorKind::NotConnected);
        self.turn.close();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
