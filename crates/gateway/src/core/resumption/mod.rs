//! Clients that keep their connection over cuts: the subprotocol `gw.1` (`docs/client-protocol.md`).
//!
//! A client that has opened with it has a [`Resumable`]. What it is sent goes into its outbox as anybody's, and is kept
//! until it is acknowledged. When its connection is cut the client is *detached*: it stays in the table, with its uid,
//! groups and session, and what it is sent is kept only. A new connection is [attached](Shard::attach) to it, also while
//! the old one seems alive. All others pay a look at a field that they do not have.
//!
//! The shell checks tokens and reads the first message of a connection; no socket is known here.
//!
//! - `kept`: the messages that are kept;
//! - `control`: control messages, as bytes;
//! - `closed`: what is left of a client that the application has closed while it was away;
//! - `receiving`: what such a client sends;
//! - `told`: what its worker is told;
//! - `check`: what holds between two inputs, for tests and the simulation.

#[cfg(any(test, feature = "internals"))]
mod check;
mod closed;
pub(crate) mod control;
pub(super) mod kept;
mod receiving;
#[cfg(test)]
mod tests;
pub(super) mod told;

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use bytes::Bytes;
use gatewayworker_protocol::CloseReason;
use gatewayworker_protocol::close_code::{PROTOCOL_ERROR, SUPERSEDED};
use subtle::ConstantTimeEq;

use super::Shard;
use super::client::Waits;
use super::outgoing::Counted;
use super::ports::{Connection, Ports};
use super::send_queue::{Priority, SendQueue};
use super::table::Key;
use super::tokens::Grant;
use super::websocket::compression::Compression;
use super::websocket::encode;
use closed::ClosedClients;
use control::Lost;
use kept::Kept;

/// What a listener says of clients that may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumePolicy {
    /// For how long a client is kept after a cut, in ms.
    pub resume_ms: u64,
    /// How much is kept for one client, in bytes.
    pub resume_bytes: usize,
    /// How often a client hears from the gateway, in ms.
    pub ping_ms: u64,
}

/// After so many pings without a word of the client, in halves, its line is dead.
const DEAD_AFTER_HALVES: u64 = 5;

/// A client is told that its messages have arrived after so many of them at the latest.
const ACK_EVERY: u64 = 32;

/// What is known of a client that may come back.
#[derive(Debug)]
pub(super) struct Resumable {
    /// Who knows it is the client.
    secret: [u8; 16],
    policy: ResumePolicy,
    pub(super) kept: Kept,
    /// How many messages of the client its worker was given.
    received: u64,
    /// How many of these the client knows of,
    acknowledged: u64,
    /// and how many bytes it does not know of.
    unacknowledged_bytes: usize,
    /// The highest number of its attempts to resume.
    attempt: u64,
    /// When it was last sent something, and when it was last asked for a sign of life, in ms.
    sent_ms: u64,
    asked_ms: u64,
    detached: Option<Detached>,
}

/// A cut.
#[derive(Debug, Clone, Copy)]
struct Detached {
    /// Since when, in ms.
    since_ms: u64,
    /// That is the time of the cut, and not of an input before it.
    is_dated: bool,
}

impl Resumable {
    /// A client that has just come, and is the one that knows this secret.
    pub(super) fn new(secret: [u8; 16], policy: ResumePolicy) -> Self {
        Self {
            secret,
            policy,
            kept: Kept::default(),
            received: 0,
            acknowledged: 0,
            unacknowledged_bytes: 0,
            attempt: 0,
            sent_ms: 0,
            asked_ms: 0,
            detached: None,
        }
    }

    /// Keeps a frame, and forgets the oldest ones where the client, or all together, have more than they may: `budget`.
    /// Returns whether the frame is to be sent, too: not while the client is detached.
    #[inline]
    pub(super) fn keep(
        &mut self,
        frame: Bytes,
        together: &mut Resumption,
        budget: usize,
        now_ms: u64,
    ) -> bool {
        let others = together.bytes - self.kept.bytes();
        self.kept.push(frame);
        let limit = self.policy.resume_bytes.min(budget.saturating_sub(others));
        while self.kept.bytes() > limit && self.kept.forget_oldest() {}
        together.bytes = others + self.kept.bytes();
        self.sent_ms = now_ms;
        !self.is_detached()
    }

    /// How often it hears from the gateway, in ms.
    pub(super) fn ping_ms(&self) -> u64 {
        self.policy.ping_ms
    }

    /// Whether its connection is cut.
    pub(super) fn is_detached(&self) -> bool {
        self.detached.is_some()
    }

    /// Since when its connection is cut, in ms of the shard's clock.
    pub(super) fn detached_since_ms(&self) -> Option<u64> {
        self.detached.map(|detached| detached.since_ms)
    }

    /// When it is given up, as the shard's list has it.
    fn given_up_ms(&self) -> Option<u64> {
        self.detached.filter(|cut| cut.is_dated).map(|cut| cut.since_ms + self.policy.resume_ms)
    }
}

/// The clients of a shard that may come back, together.
#[derive(Debug, Default)]
pub(super) struct Resumption {
    /// What is kept for all of them, in bytes.
    bytes: usize,
    /// Those that are detached, with the time at which each is given up, the first one first.
    detached: BTreeSet<(u64, u32)>,
    closed: ClosedClients,
    /// Clients that were cut off, or closed while they were away, since the last [`advance`](Shard::advance): their time
    /// begins with the next one, which is due at once. Such an input has no time, and the last that had one may be
    /// long ago.
    undated: Vec<u32>,
}

impl Resumption {
    /// When the next one is given up, in ms.
    pub(super) fn next_ms(&self) -> Option<u64> {
        if !self.undated.is_empty() {
            return Some(0);
        }
        let detached = self.detached.first().map(|(at_ms, _)| *at_ms);
        detached.into_iter().chain(self.closed.next_ms()).min()
    }

    /// Whether an id is that of a client that the application has closed while it was away.
    pub(super) fn has_closed(&self, id: u32) -> bool {
        self.closed.contains(id)
    }

    /// How much is kept, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.bytes
    }

    /// How many clients are detached.
    pub(super) fn detached_len(&self) -> usize {
        self.detached.len()
    }
}

/// A connection whose first message asks to be attached to a client.
pub struct Returning<S> {
    /// The new connection's socket. The client keeps its place within the limits, and its listener's settings.
    pub socket: S,
    /// The client's id and secret, as its token says.
    pub connection_id: u32,
    /// The secret of its token.
    pub secret: [u8; 16],
    /// The number of the attempt.
    pub attempt: u64,
    /// How many messages the client has.
    pub got: u64,
    /// Where the connection comes from.
    pub address: SocketAddrV4,
    /// The body of ON_RESUMED: its handshake.
    pub handshake: Bytes,
    /// What its handshake has agreed on about compression.
    pub compression: Compression,
    /// What is written before anything else.
    pub prefix: Bytes,
    /// What its token for admission says, where it has shown one.
    pub grant: Option<Grant>,
}

/// The socket of a client's connection.
type Socket<P> = <<P as Ports>::Connection as Connection>::Socket;

/// What became of such a connection.
pub enum Attached<S> {
    /// It is the client's: read from it.
    Yes(Key),
    /// There is no such client: the connection is a new client's, which is told why.
    Lost(S, Lost),
    /// The connection gets this, and ends: the application has closed the client, a newer connection has it, or it says that
    /// it has what it was never sent.
    Ended(S, Vec<Bytes>),
}

impl<P: Ports> Shard<P> {
    /// Sends a message that counts: it is kept until the client acknowledges it. `None` is one that cannot be sent to
    /// such a client. Returns whether the client will get it.
    pub(super) fn enqueue_kept(&mut self, key: Key, message: Option<Counted<Bytes>>) -> bool {
        let Some(Counted { kept, sent }) = message.filter(|message| !message.kept.is_empty()) else {
            self.settings.counters.deliveries_dropped.add(1);
            return false;
        };
        if self.keep(key, kept) {
            // A connection that turns out to be broken is a cut.
            let is_queued = self.enqueue(key, Priority::Urgent, |_| sent.frame);
            self.note_compressed(is_queued, sent.compressed);
        }
        true
    }

    /// Keeps a frame for a client. Returns whether it is to be sent, too: not while the client is detached.
    fn keep(&mut self, key: Key, frame: Bytes) -> bool {
        let Some(resumable) = self.table.get(key).and_then(|client| client.resumable.as_mut()) else {
            return true;
        };
        resumable.keep(frame, &mut self.resumption, self.settings.outbox_budget, self.now_ms)
    }

    /// The client's connection is cut: it may come back. Returns `false` where it may not, and is to be closed.
    pub(super) fn detach(&mut self, key: Key) -> bool {
        let now_ms = self.now_ms;
        let is_stopping = self.is_stopping();
        let Some(client) = self.table.get(key) else { return false };
        let is_pending = client.is_pending();
        let Some(resumable) = client.resumable.as_mut().filter(|_| !is_pending && !is_stopping) else {
            return false;
        };
        if resumable.is_detached() {
            return true;
        }
        resumable.detached = Some(Detached { since_ms: now_ms, is_dated: false });
        self.resumption.undated.push(key.connection_id());
        self.effects.signals.deadline = true;
        self.settings.counters.detached.add(1);
        self.tokens.pause(key.connection_id());
        self.cut(key);
        self.tell_detached(key);
        true
    }

    /// Ends a client's connection, and not the client.
    fn cut(&mut self, key: Key) {
        self.set_paused(key, false);
        let Some(client) = self.table.get(key) else { return };
        client.waits = Waits::No;
        client.connection.detach();
        let is_traced = client.queue.is_traced();
        let queue = std::mem::take(&mut client.queue);
        client.queue.set_traced(is_traced);
        // What was not written is kept.
        drop(queue.close(&mut self.blocked_bytes));
    }

    /// Attaches a connection to the client that it is of, and sends what that has missed. Where the client still has
    /// another one, that ends.
    pub fn attach(&mut self, returning: Returning<Socket<P>>, now_ms: u64) -> Attached<Socket<P>> {
        self.set_now(now_ms);
        let Returning {
            socket,
            connection_id: id,
            secret,
            attempt,
            got,
            address,
            handshake,
            compression,
            prefix,
            grant,
        } = returning;
        if self.is_stopping() {
            return Attached::Lost(socket, Lost::Drained);
        }
        let is_another_user = grant.as_ref().is_some_and(|grant| grant.uid != self.token_uid(id));
        let key = self.table.key_of(id);
        let known = key.and_then(|key| self.table.get(key)).and_then(|client| client.resumable.as_mut());
        let Some((key, resumable)) = key.zip(known).filter(|(_, known)| is_same(&known.secret, &secret))
        else {
            return match self.resumption.closed.last_words(id, &secret, got) {
                Some(frames) => Attached::Ended(socket, frames),
                None => Attached::Lost(socket, Lost::Expired),
            };
        };
        if is_another_user {
            return Attached::Lost(socket, Lost::Unknown);
        }
        if attempt <= resumable.attempt {
            let frame = encode::close(Some(SUPERSEDED), "another connection of this client is newer");
            return Attached::Ended(socket, vec![frame]);
        }
        if got > resumable.kept.last() {
            let frame = encode::close(Some(PROTOCOL_ERROR), "you have not been sent as many messages");
            return Attached::Ended(socket, vec![frame]);
        }
        resumable.attempt = attempt;
        if resumable.kept.frames_behind(got).is_none() {
            self.close(key, CloseReason::ClientLeft, None);
            return Attached::Lost(socket, Lost::Behind);
        }
        self.cut(key);
        self.acknowledged(key, got);
        let Some(client) = self.table.get(key) else { return Attached::Lost(socket, Lost::Expired) };
        client.connection.attach(socket);
        (client.address, client.compression) = (address, compression);
        (client.silent_since_ms, client.pings) = (now_ms, 0);
        let id_text = client.id(self.settings.address).to_string();
        let Some(resumable) = &mut client.resumable else { return Attached::Yes(key) };
        (resumable.sent_ms, resumable.asked_ms) = (now_ms, now_ms);
        (resumable.acknowledged, resumable.unacknowledged_bytes) = (resumable.received, 0);
        if let Some(until_ms) = resumable.given_up_ms() {
            self.resumption.detached.remove(&(until_ms, id));
        }
        resumable.detached = None;
        let is_traced = client.queue.is_traced();
        let resumed = control::resumed(&id_text, resumable.received);
        client.queue = SendQueue::of([prefix, resumed].concat().into());
        client.queue.push_all(resumable.kept.frames_behind(got).into_iter().flatten());
        client.queue.set_traced(is_traced);
        self.list_urgent(key);
        self.continue_token(id, grant.map(|grant| grant.expires_ms));
        self.settings.counters.resumed.add(1);
        self.tell_resumed(key, &handshake);
        Attached::Yes(key)
    }

    /// Gives up the clients that have not come back.
    pub(super) fn close_detached(&mut self, now_ms: u64) {
        self.date_cuts(now_ms);
        self.resumption.closed.forget_old(now_ms, &mut self.resumption.bytes);
        while let Some((until_ms, id)) = self.resumption.detached.first().copied()
            && until_ms <= now_ms
        {
            self.resumption.detached.pop_first();
            if let Some(key) = self.table.key_of(id) {
                self.close(key, CloseReason::ClientLeft, None);
            }
        }
    }

    /// Lets the time begin of those that were cut off, or closed, since the last call.
    fn date_cuts(&mut self, now_ms: u64) {
        for id in std::mem::take(&mut self.resumption.undated) {
            let resumable = self.table.by_id(id).and_then(|client| client.resumable.as_mut());
            let Some(resumable) = resumable else {
                self.resumption.closed.date(id, now_ms);
                continue;
            };
            // It may have come back, and one that was cut off again stands there twice.
            if let Some(detached) = resumable.detached.as_mut().filter(|detached| !detached.is_dated) {
                *detached = Detached { since_ms: now_ms, is_dated: true };
                self.resumption.detached.extend(resumable.given_up_ms().map(|until_ms| (until_ms, id)));
            }
        }
    }

    /// A client is closed: nothing is kept for it any more, unless the application closes it while it is away; then it
    /// is told when it comes back.
    pub(super) fn forget_resumable(
        &mut self,
        id: u32,
        resumable: Resumable,
        close: &super::close::Close<'_>,
    ) {
        self.resumption.bytes -= resumable.kept.bytes();
        if let Some(until_ms) = resumable.given_up_ms() {
            self.resumption.detached.remove(&(until_ms, id));
        }
        if !resumable.is_detached() {
            return;
        }
        let Resumable { secret, kept, policy, .. } = resumable;
        let is_by_application = matches!(
            close.reason,
            CloseReason::Kicked | CloseReason::Refused | CloseReason::Destroyed | CloseReason::TokenExpired
        );
        if is_by_application && !self.is_stopping() {
            let bytes = &mut self.resumption.bytes;
            self.resumption.closed.insert(id, (secret, policy.resume_ms), kept, close.last.as_ref(), bytes);
            self.resumption.undated.push(id);
            self.effects.signals.deadline = true;
        }
    }

    /// Looks whether the line of such a client is alive, and asks it.
    pub(super) fn check_line(&mut self, key: Key, now_ms: u64) {
        let Some(client) = self.table.get(key) else { return };
        if client.is_paused {
            client.silent_since_ms = now_ms;
        }
        let silent_since_ms = client.silent_since_ms;
        let Some(resumable) = &mut client.resumable else { return };
        let ping_ms = resumable.policy.ping_ms;
        resumable.kept.free_room();
        if resumable.is_detached() {
            return self.timers.insert(now_ms + ping_ms, key);
        }
        let dead_ms = silent_since_ms + ping_ms * DEAD_AFTER_HALVES / 2;
        if dead_ms <= now_ms {
            if self.detach(key) {
                return self.timers.insert(now_ms + ping_ms, key);
            }
            return self.close_silent(key, now_ms);
        }
        let ping_at_ms = |resumable: &Resumable| {
            (resumable.sent_ms + ping_ms).min(silent_since_ms.max(resumable.asked_ms) + ping_ms)
        };
        if ping_at_ms(resumable) <= now_ms {
            (resumable.sent_ms, resumable.asked_ms) = (now_ms, now_ms);
            let due_ms = ping_at_ms(resumable).min(dead_ms);
            if resumable.received > resumable.acknowledged {
                // Else the last messages before a pause would stay in doubt.
                self.acknowledge(key);
            }
            self.send_own_frame(key, control::ping());
            return self.timers.insert(due_ms, key);
        }
        let due_ms = ping_at_ms(resumable).min(dead_ms);
        self.timers.insert(due_ms, key);
    }

    /// A client has the messages up to this number. Returns whether it was ever sent as many.
    fn acknowledged(&mut self, key: Key, number: u64) -> bool {
        let Some(resumable) = self.table.get(key).and_then(|client| client.resumable.as_mut()) else {
            return true;
        };
        let before = resumable.kept.bytes();
        let acknowledged = resumable.kept.acknowledge(number);
        self.resumption.bytes = self.resumption.bytes - before + resumable.kept.bytes();
        acknowledged.is_ok()
    }
}

fn is_same(one: &[u8; 16], other: &[u8; 16]) -> bool {
    one.ct_eq(other).into()
}
