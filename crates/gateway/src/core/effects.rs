//! What a shard's core asks its shell to do.
//!
//! An input of the core only changes data, and writes through ports that return at once. The
//! rest is noted here. The shell takes it when its borrow of the core has ended, so that
//! nothing it does can come back into the core in the middle of an input.

use std::collections::VecDeque;
use std::net::SocketAddrV4;

use gatewayworker_protocol::{ClientId, CloseReason};

use super::close::CloseRecord;
use super::event_spans::SpanChange;
use super::membership_limits::MembershipLimit;
use super::outbox::Outbox;
use super::ports::Ports;
use super::table::Key;
use super::trace::Traced;

/// One thing for the shell to do.
pub enum Effect<P: Ports> {
    /// The client's socket is full: call [`Shard::writable`](super::Shard::writable) when it
    /// takes bytes again.
    WaitWritable(Key),
    /// A reader that [waits](super::events::Route::Wait) goes on: call
    /// [`Shard::resume`](super::Shard::resume).
    Resume(Key),
    /// The client is out of the table: stop reading from it, write what is left, and close.
    Finish(Box<Finished<P::Connection>>),
    /// Note that a client was admitted whose worker was asked at this time, in ms.
    Admitted(u64),
    /// Write a log line.
    Log(Notice),
    /// A client has sent a new token, in this message: call [`Shard::renew`](super::Shard::renew) with what it is worth.
    NewToken(Key, Box<[u8]>),
    /// Take what a trace has seen to whoever reads it.
    Traced(Box<Traced>),
    /// The span of a traced event begins or ends now.
    Span(Box<SpanChange>),
}

/// A connection that is to end.
pub struct Finished<C> {
    /// The connection.
    pub connection: C,
    /// What is left to write. Its end is the last message, if there is one.
    pub outbox: Outbox,
    /// Whose it is.
    pub id: ClientId,
    /// The client's address, unspecified where it came over IPv6.
    pub address: SocketAddrV4,
    /// Why it ends.
    pub reason: CloseReason,
    /// How to end it.
    pub ending: Ending,
    /// What was noticed about the client, for the log.
    pub detail: Option<String>,
    /// What an operator is told later.
    pub record: CloseRecord,
}

/// How a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The peer has ended its side.
    pub has_left: bool,
    /// One try to write, and the connection is closed: nobody waits for the peer.
    pub at_once: bool,
    /// The outbox ends with a close frame, which the peer answers.
    pub with_close_frame: bool,
}

/// Something for the log that many events may cause: one line a second for each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A session longer than `max_session_bytes` was not stored.
    SessionTooLarge {
        /// Whose.
        client: ClientId,
        /// Its length, in bytes.
        bytes: usize,
        /// `max_session_bytes`.
        limit: usize,
    },
    /// An update could not be merged into a session, which stays as it was.
    SessionNotMerged {
        /// Whose.
        client: ClientId,
        /// Why.
        error: String,
    },
    /// A message and its session do not fit into a frame to the client's worker.
    MessageTooLarge {
        /// Whose.
        client: ClientId,
        /// The message's length, in bytes.
        bytes: usize,
        /// The worker.
        worker: String,
        /// The longest frame that the worker takes, in bytes.
        limit: usize,
    },
    /// A close and its session do not fit into a frame to the client's worker: no handler runs for it.
    CloseTooLarge {
        /// Whose.
        client: ClientId,
        /// The length of the frame, in bytes.
        bytes: usize,
        /// The worker.
        worker: String,
        /// The longest frame that the worker takes, in bytes.
        limit: usize,
    },
    /// A client sent faster than it may. It is read from more slowly, or closed.
    OverRate {
        /// The client.
        client: ClientId,
        /// The setting that limits it.
        limit: &'static str,
        /// Whether the client is closed.
        is_closed: bool,
    },
    /// A worker's command would have given a client more than it may have, and was not executed.
    CommandRefused {
        /// The client.
        client: ClientId,
        /// The limit.
        limit: MembershipLimit,
    },
    /// A worker said that it has finished, or returned, more events of a client than it had.
    EventsMiscounted {
        /// Whose.
        client: ClientId,
        /// The worker.
        worker: String,
        /// How many too many.
        events: usize,
    },
    /// An event has ended `max_deliveries` workers: it was dropped, and the client is closed.
    Undeliverable {
        /// Whose.
        client: ClientId,
        /// The event's command.
        command: &'static str,
        /// How many workers have ended with it.
        tries: u8,
    },
}

/// What an input has changed, for the shell to look at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signals {
    /// Something was queued: call [`Shard::flush`](super::Shard::flush) at the end of this turn.
    pub flush: bool,
    /// [`Shard::next_deadline`](super::Shard::next_deadline) may be earlier than it was.
    pub deadline: bool,
    /// A message was queued for several clients: the time until all lists of clients are empty is of
    /// interest.
    pub broadcast: bool,
    /// The last close has been done: [`Shard::has_stopped`](super::Shard::has_stopped) may be true now.
    pub closes_done: bool,
}

/// What is to be done after an input.
pub(super) struct Effects<P: Ports> {
    pub(super) signals: Signals,
    pub(super) list: VecDeque<Effect<P>>,
}

impl<P: Ports> Default for Effects<P> {
    fn default() -> Self {
        Self { signals: Signals::default(), list: VecDeque::new() }
    }
}
