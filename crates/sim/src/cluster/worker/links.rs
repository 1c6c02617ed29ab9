//! The two links of a simulated worker to one gateway: events come on one, commands and questions go on the other.
//!
//! The event link's protocol is the worker's core, the call link's that of the client library. What comes on the
//! event link is handed to `mod.rs`, which has the clients.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use gatewayworker_businessworker::internals::{Event, EventLink};
use gatewayworker_client::Unreached;
use gatewayworker_client::internals::{CallLink, Effect, Transmit};
use gatewayworker_net::PushError;
use gatewayworker_protocol::{Command, SecretKey};

use crate::cluster::gateway::LINKS;
use crate::link_buffer::LinkBuffer;
use crate::model::Context;
use crate::network::{ProcessId, ReadOutcome, Socket};

/// What a step reads of a link at most, in bytes.
const SCRATCH: usize = 4 * 1024;

/// Bytes that a link holds: more than ever wait. (A command that does not fit is an error to the application.)
const UNLIMITED: usize = 1 << 40;

/// The longest wait between two attempts to connect, in ms.
const MAX_WAIT_MS: u64 = 1_000;

/// How long a gateway may take to answer a question, in ms.
const QUESTION_TIMEOUT_MS: u64 = 1_000;

/// A socket with the buffer in front of it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Rc<Socket>,
    pub(super) writer: LinkBuffer,
    pub(super) received: BytesMut,
    pub(super) is_connected: bool,
}

impl Connection {
    pub(super) fn new(gateway: ProcessId, context: &mut Context<'_>) -> Self {
        let socket = Rc::new(context.connect(gateway, LINKS));
        let writer = LinkBuffer::new(socket.clone(), UNLIMITED);
        Self { socket, writer, received: BytesMut::new(), is_connected: false }
    }

    /// Reads once; false when there will be no more.
    pub(super) fn read(&mut self, context: &mut Context<'_>) -> bool {
        let mut scratch = [0; SCRATCH];
        match self.socket.try_read(&mut scratch) {
            ReadOutcome::Bytes(n) => {
                self.received.extend_from_slice(&scratch[..n]);
                context.read_again(self.socket.id());
                true
            }
            ReadOutcome::Empty => true,
            ReadOutcome::End | ReadOutcome::Reset => false,
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
    pub(super) retry_at_ms: Option<u64>,
    /// The worker drains: when it waits no longer for the gateway to close the link.
    pub(super) drain_until_ms: Option<u64>,
}

/// What asked a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A handler that needs the newest session of its client.
    Session(gatewayworker_protocol::ClientId),
    /// The application, with the number of the question.
    Application(u64),
}

/// The outgoing side of a call link.
#[derive(Debug, Clone)]
pub(super) struct Writer(pub(super) LinkBuffer);

impl Transmit for Writer {
    fn push(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
        self.0.push(write).map_err(|_| PushError::Closed)
    }
}

/// The link on which commands and questions go.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) connection: Option<Connection>,
    pub(super) core: CallLink<Writer, Asker>,
    pub(super) retry_at_ms: Option<u64>,
    /// How often it has failed since it last stood.
    failures: u32,
    started: Instant,
}

/// Outcomes of questions.
pub(super) type Settled = Vec<(Asker, Result<Bytes, Unreached>)>;

impl Calls {
    pub(super) fn new() -> Self {
        let core = CallLink::new(SecretKey::default(), Duration::from_millis(QUESTION_TIMEOUT_MS));
        Self { connection: None, core, retry_at_ms: None, failures: 0, started: Instant::now() }
    }

    /// The simulated time as the core wants it. Only differences count.
    pub(super) fn instant(&self, now_ms: u64) -> Instant {
        self.started + Duration::from_millis(now_ms)
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let due = self.core.next_deadline().map(|at| at.duration_since(self.started).as_millis() as u64);
        due.into_iter().chain(self.retry_at_ms).min()
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

    /// Reads once, and hands the answers to the core; false when the connection is over.
    pub(super) fn read(&mut self, context: &mut Context<'_>) -> bool {
        let now = self.instant(context.now_ms);
        let Some(connection) = &mut self.connection else { return true };
        let is_open = connection.read(context);
        if is_open && !connection.received.is_empty() {
            self.failures = 0;
        }
        if let Err(error) = self.core.receive(&mut connection.received, now) {
            context.note(|| format!("a call link is out of step: {error}"));
            return false;
        }
        is_open
    }

    /// Lets go of the connection, and plans the next, at ever longer intervals, if there is to be one.
    pub(super) fn disconnect(&mut self, has_next: bool, context: &mut Context<'_>) {
        let wait_ms = (20_u64 << self.failures).min(MAX_WAIT_MS);
        self.failures = (self.failures + 1).min(10);
        let retry_at_ms = has_next.then(|| context.now_ms + wait_ms + context.rng.below(30));
        match self.connection.take() {
            Some(connection) if connection.is_connected => self.core.disconnected(),
            Some(_) => self.core.connect_failed(),
            None => {}
        }
        self.retry_at_ms = retry_at_ms;
    }

    /// Carries out what the core asks for; returns the outcomes of questions, and whether the connection is
    /// to be closed.
    pub(super) fn carry_out(&mut self) -> (Settled, bool) {
        let mut settled = Vec::new();
        let mut is_closed = false;
        for effect in self.core.take_effects() {
            match effect {
                Effect::Settle { asker, outcome } => settled.push((asker, outcome)),
                Effect::Flush | Effect::Proven => {}
                Effect::Close(_) => is_closed = true,
            }
        }
        if let Some(connection) = &self.connection {
            connection.writer.flush();
        }
        (settled, is_closed)
    }
}
