//! One client, as its shard keeps it.
//!
//! Plain data: the connection itself is the shell's, and opaque here.

use std::net::SocketAddrV4;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::ClientId;

use super::event_log::EventLog;
use super::index::Membership;
use super::listener_policy::{ListenerPolicy, SlowConsumer};
use super::memberships::Memberships;
use super::ports::{Connection, Ports};
use super::resumption::{Resumable, ResumePolicy};
use super::send_queue::SendQueue;
use super::websocket::compression::Compression;
use super::worker_link::WorkerLink;

/// A client.
pub struct Client<P: Ports> {
    pub(crate) connection_id: u32,
    /// Its place in the order of connecting, over all shards.
    pub(crate) seq: u64,
    /// Its address, unspecified where it came over IPv6.
    pub(crate) address: SocketAddrV4,
    pub(crate) connection: P::Connection,
    /// Its session; a box as large as it is, as every client has one.
    pub(crate) session: Box<[u8]>,
    /// The worker that its events go to. It may have left: the next event finds another.
    pub(super) worker: Arc<WorkerLink<P::Buffer>>,
    pub(super) queue: SendQueue,
    /// Its events that no worker has finished, where there are any.
    pub(super) log: Option<Box<EventLog<P::Buffer>>>,
    /// What was agreed on about compression.
    pub(super) compression: Compression,
    /// Its worker has not said whether it is admitted: the table has what waits for that.
    pub(super) is_pending: bool,
    /// Reading has stopped for back-pressure, so its silence says nothing.
    pub(super) is_paused: bool,
    /// What its reader waits for.
    pub(super) waits: Waits,
    /// What is known of it where it may come back after a cut.
    pub(super) resumable: Option<Box<Resumable>>,
    /// It came with a token: `tokens` has until when that is valid.
    pub(super) has_token: bool,
    /// It came from a worker of which merely nothing was heard.
    pub(super) is_taken_over: bool,
    pub(super) left_behind: LeftBehind,
    /// Since when nothing was heard of it, in ms of the shard's clock; later by as much as a
    /// ping was late.
    pub(super) silent_since_ms: u64,
    /// Pings sent since then.
    pub(super) pings: u16,
    /// When it connected, in s of the shard's clock: half the size, as every client has it.
    pub(super) connected_s: u32,
    /// How many messages it has sent, as far as the number goes.
    pub(super) messages: u32,
    pub(super) uid: Option<Membership>,
    /// `None` until it first joins one: PHP tells that apart from having left all.
    pub(super) groups: Option<Memberships>,
}

/// What the reader of a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// Nothing that the shard sees to.
    No,
    /// Until the client's own events go on: `go_on` wakes it.
    ForTurn,
    /// Until its worker's link has room: a change of the directory wakes it.
    ForRoom,
}

/// What a client has left with workers that it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LeftBehind {
    /// Nothing: each was told to forget it, was let go, or has linked again.
    Nothing,
    /// One went without that. If its process runs, it has the client in its books.
    Books,
    /// Besides, the gateway was unheard for so long that such a worker may have taken it for lost and run
    /// `on_close`: the client's own `on_close` may be the second, and is marked.
    PerhapsClosed,
}

/// What a client begins with.
pub struct NewClient<P: Ports> {
    /// An id that nobody has; see [`Shard::draw_connection_id`](super::Shard::draw_connection_id).
    pub connection_id: u32,
    /// Its place in the order of connecting, over all shards.
    pub seq: u64,
    /// Its address, unspecified where it came over IPv6.
    pub address: SocketAddrV4,
    /// Its connection.
    pub connection: P::Connection,
    /// The worker that was chosen for it.
    pub worker: Arc<WorkerLink<P::Buffer>>,
    /// What its handshake has agreed on about compression.
    pub compression: Compression,
    /// What it is sent before all else: the answer to its handshake. Empty where it speaks another protocol.
    pub response: Bytes,
    /// It may come back after a cut, with this secret.
    pub resume: Option<(ResumePolicy, [u8; 16])>,
}

/// What waits for a client to be admitted.
#[derive(Debug, Default)]
pub(super) struct PendingAdmission {
    /// When the worker was asked, in ms.
    pub(super) asked_ms: u64,
    frames: Vec<Bytes>,
    bytes: usize,
}

impl PendingAdmission {
    pub(super) fn into_frames(self) -> Vec<Bytes> {
        self.frames
    }

    /// Keeps a frame until the client is admitted. Returns whether it fits in with what may wait, in bytes.
    pub(super) fn defer(&mut self, frame: Bytes, limit: usize) -> bool {
        let bytes = self.bytes + frame.len() + size_of::<Bytes>();
        let fits = bytes <= limit;
        if fits {
            self.bytes = bytes;
            self.frames.push(frame);
        }
        fits
    }
}

impl<P: Ports> Client<P> {
    pub(super) fn new(new: NewClient<P>) -> Self {
        let NewClient { connection_id, seq, address, connection, worker, compression, response, resume } =
            new;
        Self {
            connection_id,
            seq,
            address,
            connection,
            session: Box::default(),
            worker,
            queue: SendQueue::of(response),
            log: None,
            compression,
            is_pending: false,
            is_paused: false,
            waits: Waits::No,
            resumable: resume.map(|(policy, secret)| Box::new(Resumable::new(secret, policy))),
            has_token: false,
            is_taken_over: false,
            left_behind: LeftBehind::Nothing,
            silent_since_ms: 0,
            pings: 0,
            connected_s: 0,
            messages: 0,
            uid: None,
            groups: None,
        }
    }

    pub(crate) fn id(&self, gateway: SocketAddrV4) -> ClientId {
        ClientId::new(gateway, self.connection_id)
    }

    pub(crate) fn policy(&self) -> &ListenerPolicy {
        self.connection.policy()
    }

    /// What becomes of a message that it does not read. One that counts its messages misses none.
    pub(super) fn slow_consumer(&self) -> SlowConsumer {
        if self.resumable.is_some() { SlowConsumer::Close } else { self.policy().slow_consumer }
    }

    /// Whether its connection is cut, and it may come back.
    #[inline]
    pub(super) fn is_detached(&self) -> bool {
        self.resumable.as_ref().is_some_and(|resumable| resumable.is_detached())
    }

    /// Whether its worker has not said yet whether it is admitted.
    pub(crate) fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// When it is looked at first, whether it is silent; `None` where nobody asks.
    pub(super) fn first_check_ms(&self, now_ms: u64) -> Option<u64> {
        match &self.resumable {
            Some(resumable) => Some(now_ms + resumable.ping_ms()),
            None => self.policy().heartbeat.map(|heartbeat| heartbeat.due(now_ms, 0).at_ms()),
        }
    }

    /// How long it has been connected, to a second.
    pub(super) fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(u64::from(self.connected_s) * 1000)
    }

    /// How many of its events no worker has finished.
    pub(super) fn unfinished(&self) -> usize {
        self.log.as_ref().map_or(0, |log| log.len())
    }

    /// How long the first of these has been the first; 0 if there is none.
    pub(super) fn oldest_ms(&self, now_ms: u64) -> u64 {
        self.log.as_ref().map_or(0, |log| now_ms.saturating_sub(log.oldest_since_ms()))
    }
}
