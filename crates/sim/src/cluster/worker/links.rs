//! The two links of a simulated worker to one gateway: events come on one, commands and questions go on the other.
//!
//! The event link's protocol is the worker's core, the call link's that of the client library. What comes on the
//! event link is handed to `mod.rs`, which has the clients; `pairs` makes a pair of both.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use gatewayworker_businessworker::internals::{Event, EventLink};
use gatewayworker_client::internals::{CallLink, Effect, Transmit};
use gatewayworker_client::{Liveness, Unreached};
use gatewayworker_net::PushError;
use gatewayworker_protocol::{Command, SecretKey};

use crate::cluster::timing::{LINK_TIMEOUT_MS, PING_INTERVAL_MS, QUESTION_TIMEOUT_MS};
use crate::link_buffer::LinkBuffer;
use crate::model::Context;
use crate::network::{ProcessId, ReadOutcome, Socket};

/// What a step reads of a link at most, in bytes.
const SCRATCH: usize = 4 * 1024;

/// Bytes that a link holds: more than ever wait. (A command that does not fit is an error to the application.)
const UNLIMITED: usize = 1 << 40;

/// The longest wait between two attempts to connect, in ms.
const MAX_WAIT_MS: u64 = 1_000;

/// A socket with the buffer in front of it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Rc<Socket>,
    pub(super) writer: LinkBuffer,
    pub(super) received: BytesMut,
    pub(super) is_connected: bool,
}

/// What one read of a connection has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Bytes; there may be more.
    More,
    /// Nothing more for now.
    Empty,
    /// There will be no more.
    End,
}

impl Connection {
    pub(super) fn new(gateway: ProcessId, port: u16, context: &mut Context<'_>) -> Self {
        let socket = Rc::new(context.connect(gateway, port));
        let writer = LinkBuffer::new(socket.clone(), UNLIMITED);
        Self { socket, writer, received: BytesMut::new(), is_connected: false }
    }

    /// Reads once.
    pub(super) fn read(&mut self, context: &mut Context<'_>) -> Read {
        let mut scratch = [0; SCRATCH];
        match self.socket.try_read(&mut scratch) {
            ReadOutcome::Bytes(n) => {
                self.received.extend_from_slice(&scratch[..n]);
                context.read_again(self.socket.id());
                Read::More
            }
            ReadOutcome::Empty => Read::Empty,
            ReadOutcome::End | ReadOutcome::Reset => Read::End,
        }
    }
}

/// The link on which a gateway's events come.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) connection: Option<Connection>,
    pub(super) link: EventLink,
    /// An event for which there is no room: nothing is read before it.
    pub(super) stalled: Option<Event>,
    /// There was nothing to read when it was tried last.
    pub(super) is_read_out: bool,
    /// When the gateway is given up, unless it is heard before.
    pub(super) deadline_ms: Option<u64>,
}

/// What asked a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A handler that needs the newest session of its client.
    Session(gatewayworker_protocol::ClientId),
    /// The application, with the number of the question.
    Application(u64),
    /// The worker, which has said CLOSED to this gateway before.
    Closed(ProcessId),
}

/// The outgoing side of a call link.
#[derive(Debug, Clone)]
pub(super) struct Writer(pub(super) LinkBuffer);

impl Transmit for Writer {
    fn push(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
        self.0.push(write).map_err(|_| PushError::Closed)
    }

    fn pushed(&self) -> u64 {
        self.0.pushed()
    }

    fn written(&self) -> u64 {
        self.0.written()
    }
}

/// The link on which commands and questions go.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) connection: Option<Connection>,
    pub(super) core: CallLink<Writer, Asker>,
    pub(super) retry_at_ms: Option<u64>,
    /// There was nothing to read when it was tried last.
    pub(super) is_read_out: bool,
    /// How often it has failed since it last stood.
    failures: u32,
    started: Instant,
}

/// Outcomes of questions.
pub(super) type Settled = Vec<(Asker, Result<Bytes, Unreached>)>;

/// What a call link asks for.
#[derive(Debug, Default)]
pub(super) struct CalledFor {
    pub(super) settled: Settled,
    /// The connection is to be closed.
    pub(super) is_closed: bool,
    /// It takes commands from now on.
    pub(super) is_proven: bool,
}

impl Calls {
    pub(super) fn new() -> Self {
        let liveness =
            Liveness::new(Duration::from_millis(PING_INTERVAL_MS), Duration::from_millis(LINK_TIMEOUT_MS));
        let core = CallLink::new(SecretKey::default(), Duration::from_millis(QUESTION_TIMEOUT_MS));
        let core = core.with_liveness(liveness);
        Self {
            connection: None,
            core,
            retry_at_ms: None,
            is_read_out: false,
            failures: 0,
            started: Instant::now(),
        }
    }

    /// The simulated time as the core wants it. Only differences count.
    pub(super) fn instant(&self, now_ms: u64) -> Instant {
        self.started + Duration::from_millis(now_ms)
    }

    pub(super) fn core_deadline(&self) -> Option<u64> {
        self.core.next_deadline().map(|at| at.duration_since(self.started).as_millis() as u64)
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.core_deadline().into_iter().chain(self.retry_at_ms).min()
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When there is no connection.
    pub(super) fn tell(&self, command: Command) -> Result<(), Unreached> {
        let connection = self.core.connection()?;
        connection.0.push(|out| command.encode(out)).map_err(|_| Unreached::Lost)
    }

    pub(super) fn connected(&mut self, now_ms: u64) {
        let now = self.instant(now_ms);
        if let Some(connection) = &mut self.connection {
            connection.is_connected = true;
            // A link that fails at once is found when it is read from.
            let _ = self.core.connected(Writer(connection.writer.clone()), now);
        }
    }

    /// Reads once, and hands the answers to the core. A stream out of step is at its end.
    pub(super) fn read(&mut self, context: &mut Context<'_>) -> Read {
        let now = self.instant(context.now_ms);
        let Some(connection) = &mut self.connection else { return Read::Empty };
        let read = connection.read(context);
        if read == Read::More {
            self.failures = 0;
            if let Err(error) = self.core.receive(&mut connection.received, now) {
                context.note(|| format!("a call link is out of step: {error}"));
                return Read::End;
            }
        }
        read
    }

    /// Lets go of the connection, and plans the next, at ever longer intervals, if there is to be one.
    pub(super) fn disconnect(&mut self, has_next: bool, context: &mut Context<'_>) {
        let wait_ms = (20_u64 << self.failures).min(MAX_WAIT_MS);
        self.failures = (self.failures + 1).min(10);
        let retry_at_ms = has_next.then(|| context.now_ms + wait_ms + context.rng.below(30));
        if let Some(connection) = self.connection.take() {
            // What waits for it to be written finds out that it is over.
            connection.writer.close();
            match connection.is_connected {
                true => self.core.disconnected(),
                false => self.core.connect_failed(),
            }
        }
        self.retry_at_ms = retry_at_ms;
    }

    /// Carries out what the core asks for.
    pub(super) fn carry_out(&mut self) -> CalledFor {
        let mut called_for = CalledFor::default();
        for effect in self.core.take_effects() {
            match effect {
                Effect::Settle { asker, outcome } => called_for.settled.push((asker, outcome)),
                Effect::Flush => {}
                Effect::Proven => called_for.is_proven = true,
                Effect::Close(_) => called_for.is_closed = true,
            }
        }
        if let Some(connection) = &self.connection {
            connection.writer.flush();
        }
        called_for
    }
}
