//! A worker's event link, as every shard sees it.
//!
//! All shards and the link's own task share it, so its state and its counters are atomic. Frames go
//! into its [`LinkBuffer`]; the shard that appended them flushes it at the end of its turn.
//!
//! A link whose worker acknowledges events goes from open over draining and closing to over, and
//! counts the events that the worker has not finished. Any other link is open or over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use gatewayworker_protocol::report::Report;
use gatewayworker_protocol::{Command, Features, PingBody};

use super::link_buffer::LinkBuffer;
use super::worker_reports::{KeptReport, LastReport};

/// A worker's side of an event link, as its hello and its pairing name it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peer {
    /// What the worker can do. One of the original's lists nothing.
    pub features: Features,
    /// The epoch of the pairing; 0 for a link that is not paired. Events are acknowledged in a whole
    /// pair only.
    pub epoch: u32,
    /// The id of the worker's process, where it has named one.
    pub process: Option<u64>,
}

impl From<Features> for Peer {
    /// A peer without a pairing.
    fn from(features: Features) -> Self {
        Self { features, ..Self::default() }
    }
}

/// Why a link with acknowledged events is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// One of the worker's links ended: the worker may have crashed.
    Ended,
    /// Nothing was heard of the worker within `link_timeout`.
    Silent,
    /// The same process has paired again.
    Replaced,
    /// The worker had said that it stops, and ended before it had finished all.
    Stopped,
}

impl Gone {
    /// Returns what the end of a link says about a worker of which it is known whether it has said that it
    /// stops: the end of such a worker is no crash.
    pub fn of_worker(self, has_said_stop: bool) -> Self {
        match self {
            Self::Ended if has_said_stop => Self::Stopped,
            how => how,
        }
    }
}

/// What became of the events that a worker had when it went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TakenBack {
    /// How many are given again.
    pub again: usize,
    /// How many are dropped: with `delivery = "at-most-once"` all but closes.
    pub dropped: usize,
}

impl std::ops::AddAssign for TakenBack {
    fn add_assign(&mut self, other: Self) {
        self.again += other.again;
        self.dropped += other.dropped;
    }
}

/// What may happen on a link. It only goes on to a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum State {
    /// Events go to it.
    Open,
    /// The worker stops: it finishes what it has, and its clients move.
    Draining,
    /// It takes no events. What has been read from it is still obeyed.
    Closing,
    /// Nothing of it is obeyed any more.
    Over,
}

/// A worker's event link.
#[derive(Debug)]
pub struct WorkerLink<B> {
    key: Arc<str>,
    /// Where frames for the worker go.
    pub buffer: B,
    /// What the worker has said that it can do; one of the original's says nothing.
    pub features: Features,
    epoch: u32,
    process: Option<u64>,
    acknowledges: bool,
    /// A [`State`].
    state: AtomicU8,
    /// The worker has said that it stops, or another process has its place.
    has_said_stop: AtomicBool,
    /// The worker drains, and nothing keeps the link: it ends.
    is_finished: AtomicBool,
    /// That the worker may go was appended to its link: it drops its books when it reads that.
    was_let_go: AtomicBool,
    /// Clients that go to the worker with this key: shared with the links that
    /// had the key before, so that the count stays true when a link comes back.
    clients: Arc<AtomicUsize>,
    /// Unfinished events in units of [`EVENT`], and their bytes below that: one atomic for both.
    unfinished: AtomicU64,
    /// How many unfinished bytes make the link full.
    unfinished_limit: u64,
    /// Somebody waits until the link has room.
    is_room_wanted: AtomicBool,
    /// What keeps a draining link open beside unfinished events: shards that have not moved their
    /// quiet clients yet, and moved clients whose ADOPT is not done.
    adopting: AtomicUsize,
    last_report: LastReport,
}

/// One event in `unfinished`: 28 bits count events, 36 bits count their bytes.
const EVENT: u64 = 1 << 36;

impl<B: LinkBuffer> WorkerLink<B> {
    pub(super) fn new(key: Arc<str>, buffer: B, peer: Peer, clients: Arc<AtomicUsize>) -> Self {
        let Peer { features, epoch, process } = peer;
        Self {
            key,
            // Overshoots of the limit still fit into the bits.
            unfinished_limit: (buffer.limit() as u64).min(EVENT / 2),
            buffer,
            features,
            epoch,
            process,
            acknowledges: features.acknowledged_events && epoch != 0,
            state: AtomicU8::new(State::Open as u8),
            has_said_stop: AtomicBool::new(false),
            is_finished: AtomicBool::new(false),
            was_let_go: AtomicBool::new(false),
            clients,
            unfinished: AtomicU64::new(0),
            is_room_wanted: AtomicBool::new(false),
            adopting: AtomicUsize::new(0),
            last_report: LastReport::default(),
        }
    }

    fn is(&self, state: State) -> bool {
        self.state.load(Ordering::SeqCst) == state as u8
    }

    /// Whether events go to the link.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) == State::Open as u8
    }

    /// Whether the worker drains: it finishes what it has, and its clients move.
    pub fn is_draining(&self) -> bool {
        self.is(State::Draining)
    }

    /// Whether nothing of the link is obeyed any more.
    pub fn is_over(&self) -> bool {
        self.is(State::Over)
    }

    fn advance(&self, to: State) -> bool {
        self.state.fetch_max(to as u8, Ordering::SeqCst) < to as u8
    }

    /// The worker stops. With acknowledged events the link becomes draining, and it stays open until
    /// each of `shards` shards has been told ([`Shard::worker_drains`](super::Shard::worker_drains)).
    /// Returns whether they are to be told: `false` where they were, or the link does not drain.
    pub(super) fn set_draining(&self, shards: usize) -> bool {
        self.set_said_stop();
        if !self.acknowledges {
            return false;
        }
        self.adopting.fetch_add(shards, Ordering::SeqCst);
        let is_first = self.advance(State::Draining);
        if !is_first {
            self.adopting.fetch_sub(shards, Ordering::SeqCst);
            // A shard may have taken the last of the others away meanwhile.
            self.finish_if_drained();
        }
        is_first
    }

    /// The worker has said that it stops. One whose link is closing does not drain any more, but its end is no
    /// crash.
    pub fn set_said_stop(&self) {
        self.has_said_stop.store(true, Ordering::Release);
    }

    /// Whether the worker has said that it stops, or another process has its place. Stays so when the link is
    /// over.
    pub fn has_said_stop(&self) -> bool {
        self.has_said_stop.load(Ordering::Acquire)
    }

    /// Takes no more events. What was read from the link is still obeyed.
    pub(super) fn set_closing(&self) {
        self.advance(State::Closing);
    }

    /// Nothing of the link is obeyed from now on.
    pub(super) fn set_over(&self) {
        self.advance(State::Over);
    }

    /// Whether the worker may still say what becomes of a client that it was told of. One that does not
    /// acknowledge events may when its only link has ended as it stops.
    pub fn may_answer(&self) -> bool {
        !self.is_over() || (!self.acknowledges && self.has_said_stop())
    }

    /// Whether the worker can take another client: less urgent than an event of a client that
    /// it has.
    pub(super) fn has_room(&self) -> bool {
        self.is_open() && !self.is_full()
    }

    /// Whether no more is read from the link's clients for now: with acknowledged events there are
    /// as many unfinished bytes as the buffer may hold, without them the buffer is full.
    #[inline]
    pub fn is_full(&self) -> bool {
        if self.acknowledges {
            self.unfinished.load(Ordering::Relaxed) % EVENT >= self.unfinished_limit
        } else {
            self.buffer.is_full()
        }
    }

    /// Asks for a change of the directory when half of the unfinished bytes of a full link are
    /// finished. Returns whether the link is still full.
    pub fn want_room(&self) -> bool {
        self.is_room_wanted.store(true, Ordering::SeqCst);
        // In one order with the wish, or the one who makes room might see neither.
        if self.acknowledges {
            return self.unfinished.load(Ordering::SeqCst) % EVENT >= self.unfinished_limit;
        }
        self.is_full()
    }

    /// Whether the worker says when it has finished an event.
    #[inline]
    pub fn acknowledges(&self) -> bool {
        self.acknowledges
    }

    /// The epoch of the pairing; 0 where the link is not paired.
    #[inline]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The id of the worker's process, where it has named one.
    pub fn process(&self) -> Option<u64> {
        self.process
    }

    /// How many events the worker has not finished.
    pub fn unfinished(&self) -> usize {
        (self.unfinished.load(Ordering::SeqCst) / EVENT) as usize
    }

    /// The bytes of the events that the worker has not finished.
    pub fn unfinished_bytes(&self) -> usize {
        (self.unfinished.load(Ordering::SeqCst) % EVENT) as usize
    }

    /// What keeps a draining link open beside unfinished events: shards that have not been told, and
    /// moved clients whose ADOPT is not done.
    pub fn adopting(&self) -> usize {
        self.adopting.load(Ordering::SeqCst)
    }

    /// Counts an event, before it is appended.
    #[inline]
    pub(super) fn begin_event(&self, bytes: usize) {
        self.unfinished.fetch_add(EVENT + bytes as u64, Ordering::SeqCst);
    }

    /// Counts events as finished. Returns whether somebody waits for the room that this has made.
    #[inline]
    pub(super) fn end_events(&self, events: usize, bytes: usize) -> bool {
        let ended = events as u64 * EVENT + bytes as u64;
        let before = self.unfinished.fetch_sub(ended, Ordering::SeqCst);
        let after = before - ended;
        if after < EVENT {
            self.finish_if_drained();
        }
        let half = self.unfinished_limit / 2;
        before % EVENT > half
            && after % EVENT <= half
            && self.is_room_wanted.load(Ordering::SeqCst)
            && self.is_room_wanted.swap(false, Ordering::SeqCst)
    }

    /// A client has moved away: the link stays until [`release`](Self::release).
    pub(super) fn hold(&self) {
        self.adopting.fetch_add(1, Ordering::SeqCst);
    }

    /// The ADOPT of a moved client is done, or a shard has moved its quiet clients.
    pub(super) fn release(&self) {
        self.adopting.fetch_sub(1, Ordering::SeqCst);
        self.finish_if_drained();
    }

    /// Lets the worker of a draining link go when nothing keeps it, and ends the link behind that. Its clients
    /// are other workers' by now, or nobody's where there is no other: this gateway keeps those until one
    /// comes.
    fn finish_if_drained(&self) {
        // Whoever takes the last of either counter away finds the other at 0. Two may: the first one says it.
        if self.is_let_go() && !self.is_finished.swap(true, Ordering::AcqRel) {
            let drained = Command::Ping(PingBody::Drained.encode());
            // The worker of a link that has failed does not hear of it, and keeps its books.
            if self.buffer.append(|out| drained.encode(out)).is_ok() {
                self.was_let_go.store(true, Ordering::Release);
            }
            self.buffer.finish();
        }
    }

    /// Whether the worker drains, and nothing keeps the link: the worker is told that it may go, unless its link
    /// has failed.
    pub fn is_let_go(&self) -> bool {
        self.is(State::Draining) && self.unfinished() == 0 && self.adopting() == 0
    }

    /// Whether the worker was told that it may go: that was appended to its link. Stays so when the link is over.
    pub fn was_let_go(&self) -> bool {
        self.was_let_go.load(Ordering::Acquire)
    }

    /// The worker's name and id, with its address before them.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// How many clients go to this worker.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// A client goes to this worker from now on.
    pub fn bind(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
    }

    /// A client goes to this worker no more.
    pub fn unbind(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }

    /// Keeps what the worker has reported about itself, in the place of its report before.
    pub fn keep_report(&self, report: Report, now_ms: u64) {
        self.last_report.keep(report, now_ms);
    }

    /// What the worker has last reported about itself.
    pub fn last_report(&self) -> Option<Arc<KeptReport>> {
        self.last_report.get()
    }
}
