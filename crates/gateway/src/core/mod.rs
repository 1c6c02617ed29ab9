//! The core of a shard: its clients, what they belong to, what they are to be sent, and what
//! their workers are to be told. Plain data: no sockets, no tasks, no clock.
//!
//! Whoever owns a [`Shard`] gives it one input at a time, with the time where that matters, and
//! carries out the [`Effect`]s when the input is done. In the gateway that is `shard`, a thread
//! of tokio; in the simulation it is a loop. The cycle:
//!
//! 1. an input: [`insert`](Shard::insert) and [`tell_connected`](Shard::tell_connected),
//!    [`receive`](Shard::receive), [`resume`](Shard::resume), [`read_ended`](Shard::read_ended),
//!    [`execute`](Shard::execute), [`writable`](Shard::writable),
//!    [`workers_changed`](Shard::workers_changed), [`worker_drains`](Shard::worker_drains),
//!    [`worker_gone`](Shard::worker_gone), [`close_isolated`](Shard::close_isolated),
//!    [`set_unheard`](Shard::set_unheard), [`begin_trace`](Shard::begin_trace), [`end_trace`](Shard::end_trace),
//!    [`advance`](Shard::advance) when
//!    [`next_deadline`](Shard::next_deadline) has come, [`begin_stop`](Shard::begin_stop);
//! 2. [`take_signals`](Shard::take_signals), and [`next_effect`](Shard::next_effect) until there is
//!    none;
//! 3. where the signals said so, [`flush`](Shard::flush) at the end of the turn, until it says that
//!    nothing is left; each call is an input, with step 2 behind it.
//!
//! A message goes through `inbox` (frames), `events` (to the client's worker), `link` (a worker's
//! commands), `commands`, `send_queue` and `flush` (to the clients' sockets).
//!
//! - `ports`, `link_buffer`, `effects`: what the core asks of its surroundings, at once and later;
//! - `table`, `client`, `index`, `memberships`: who is connected, bound and a member;
//! - `delivery`, `event_log`, `moving`, `source`, `poison`, `suspects`: events that a worker has not
//!   finished, and clients that go to another worker;
//! - `isolation`, `isolation_timer`, `unheard_timer`: clients whose gateway was cut off, or taken for lost;
//! - `admission`: clients whose worker has not admitted them yet;
//! - `tokens`: clients that came with a token, until it expires;
//! - `heartbeat`, `silence`: pinging silent clients and closing them;
//! - `resumption`: clients that keep their connection over cuts;
//! - `rate_limits`, `token_bucket`: how fast a client may send;
//! - `membership_limits`, `keyed_limit`: how many groups and uids clients may have;
//! - `worker_table`, `worker_link`, `worker_reports`: the workers, shared by all shards;
//! - `commands`, `questions`: one file for each;
//! - `presence`: who is in a room, of all gateways together;
//! - `interest`: what subscribers are told about groups and uids;
//! - `inspect`: what an operator wants to know about clients and groups;
//! - `trace`, `sent_frames`: the frames of a client that an operator reads along;
//! - `close`: how a client ends, and at whose wish;
//! - `websocket`, `protocol`, `outgoing`, `deflated`, `outbox`: bytes;
//! - `stop_schedule`: when each client is closed as the gateway stops;
//! - `counters`, `gauges`: numbers for the metrics;
//! - `event_contexts`: what workers that ask are told beside each event.
//! - `event_spans`, `sampling`: which events are traced, for OpenTelemetry.

pub(crate) mod admission;
#[cfg(any(test, feature = "internals"))]
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod close;
pub(crate) mod commands;
pub(crate) mod counters;
mod deflated;
mod delivery;
pub(crate) mod delivery_counts;
pub(crate) mod delivery_settings;
#[cfg(test)]
mod delivery_tests;
pub(crate) mod effects;
mod event_contexts;
mod event_log;
pub(crate) mod event_spans;
pub(crate) mod events;
pub(crate) mod flush;
pub(crate) mod gauges;
pub(crate) mod heartbeat;
pub(crate) mod inbox;
mod index;
pub(crate) mod inspect;
pub(crate) mod interest;
pub(crate) mod isolation;
pub(crate) mod isolation_timer;
pub(crate) mod keyed_limit;
pub(crate) mod link;
pub(crate) mod link_buffer;
pub(crate) mod listener_policy;
pub(crate) mod liveness;
pub(crate) mod membership_limits;
mod memberships;
mod moving;
pub(crate) mod outbox;
pub(crate) mod outgoing;
pub(crate) mod pairing;
mod poison;
pub(crate) mod ports;
pub(crate) mod presence;
pub mod protocol;
pub(crate) mod questions;
pub(crate) mod rate_limits;
pub(crate) mod reading;
pub(crate) mod resumption;
mod sampling;
mod send_queue;
pub(crate) mod sent_frames;
mod shared_frames;
#[cfg(test)]
mod shared_frames_tests;
mod silence;
pub(crate) mod source;
mod stop;
mod stop_schedule;
mod suspects;
pub(crate) mod table;
#[cfg(test)]
mod table_tests;
#[cfg(any(test, feature = "internals"))]
pub mod testing;
pub(crate) mod token_bucket;
pub(crate) mod tokens;
pub(crate) mod trace;
pub(crate) mod unheard_timer;
pub(crate) mod websocket;
pub(crate) mod worker_link;
pub(crate) mod worker_reports;
pub(crate) mod worker_table;

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_protocol::close_code::{MESSAGE_TOO_BIG, POLICY_VIOLATION, TRY_AGAIN_LATER};
use gatewayworker_protocol::{ClientCloseFrame, CloseReason};
use tracing::debug;

use client::{Client, NewClient};
use close::{Close, CloseRecord, SentClose};
use counters::ShardCounters;
use delivery_settings::DeliverySettings;
use effects::{Effect, Effects, Ending, Finished, Signals};
use event_contexts::EventNumbers;
use event_log::FreeLogs;
use event_spans::EventSpans;
use gauges::PausedTime;
use heartbeat::TimerQueue;
use membership_limits::MembershipLimits;
use moving::Sweep;
use ports::{Ports, Transmit};
use presence::feed::PresenceFeed;
use resumption::Resumption;
use sent_frames::close_code;
use shared_frames::LastShared;
use source::Stubs;
use stop::StopPlan;
use table::{Key, Table};
use tokens::Tokens;
use trace::Traces;

use worker_link::WorkerLink;

/// The settings of a shard.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the gateway announces, and part of every client id.
    pub address: SocketAddrV4,
    /// Which of the gateway's shards it is, from 0,
    pub index: usize,
    /// of how many.
    pub shards: usize,
    /// How long a worker may take to admit a client.
    pub admission_timeout_ms: u64,
    /// The longest session, in bytes.
    pub max_session_bytes: usize,
    /// Bytes that may wait for the clients of this shard whose sockets are full.
    pub outbox_budget: usize,
    /// How exact the heartbeats' times are.
    pub heartbeat_tick: Duration,
    /// How many groups and uids clients may have.
    pub membership_limits: MembershipLimits,
    /// Who is told of presence rooms, where the gateway has them; all shards share it.
    pub presence: Option<Arc<PresenceFeed>>,
    /// How events are given to workers that acknowledge them.
    pub delivery: DeliverySettings,
    /// The shard's counters, which others read.
    pub counters: Arc<ShardCounters>,
}

/// A shard.
pub struct Shard<P: Ports> {
    settings: Settings,
    directory: P::Directory,
    table: Table<P>,
    /// Clients to flush that were sent something of their own,
    urgent: Vec<Key>,
    /// and those that were sent what many are sent: they can wait for a slice.
    bulk: VecDeque<Key>,
    /// New clients whose handshake is not answered yet: so many of them, the first ones, have waited for a turn.
    unanswered: VecDeque<Key>,
    waited: usize,
    /// What the next message for many is joined with, in outboxes that were not written meanwhile.
    last_shared: LastShared,
    /// Worker links to flush.
    links: Vec<Arc<WorkerLink<P::Buffer>>>,
    /// Clients that are closed at the end of the input.
    pending_close: Vec<(Key, CloseReason)>,
    /// Bytes in outboxes whose sockets are full.
    blocked_bytes: usize,
    timers: TimerQueue<Key>,
    /// Clients that wait to be admitted, with the time at which each is closed, the earliest
    /// first. One that waits no more is removed when all before it are.
    admissions: VecDeque<(u64, Key)>,
    /// What is known of clients that came with a token.
    tokens: Tokens,
    /// Clients that may come back after a cut.
    resumption: Resumption,
    stop: Option<StopPlan>,
    /// Closed clients whose ON_CLOSE is not done.
    stubs: Stubs<P::Buffer>,
    free_logs: FreeLogs<P::Buffer>,
    /// A look at all clients that is under way.
    sweep: Option<Sweep<P::Buffer>>,
    /// Some client, or stub, waits for a worker: a change of the directory begins a sweep.
    is_starved: bool,
    /// Clients and stubs whose next event is suspect and waits for its turn. Some may wait no more.
    waiting_suspects: VecDeque<u32>,
    /// Those are given now, in this input and in others.
    gives_suspects: bool,
    /// Bytes that were appended to links in this slice of what takes many inputs.
    appended: usize,
    /// Clients whose readers wait for room on their worker's link.
    wait_for_room: Vec<Key>,
    /// Clients that are closed as the gateway is isolated.
    isolated: VecDeque<Key>,
    /// The gateway is unheard, or was until just now.
    is_unheard: bool,
    /// The time of the last input that has one, in ms.
    now_ms: u64,
    paused: PausedTime,
    traces: Traces,
    event_spans: EventSpans,
    event_numbers: EventNumbers,
    effects: Effects<P>,
}

impl<P: Ports> Shard<P> {
    /// A shard without clients.
    pub fn new(settings: Settings, directory: P::Directory) -> Self {
        Self {
            timers: TimerQueue::new(settings.heartbeat_tick),
            table: Table::new(settings.membership_limits.clone()).with_presence(settings.presence.clone()),
            event_numbers: EventNumbers::of_shard(settings.index),
            settings,
            directory,
            urgent: Vec::new(),
            bulk: VecDeque::new(),
            unanswered: VecDeque::new(),
            waited: 0,
            last_shared: LastShared::default(),
            links: Vec::new(),
            pending_close: Vec::new(),
            blocked_bytes: 0,
            admissions: VecDeque::new(),
            tokens: Tokens::default(),
            resumption: Resumption::default(),
            stop: None,
            stubs: Stubs::default(),
            free_logs: FreeLogs::default(),
            sweep: None,
            is_starved: false,
            waiting_suspects: VecDeque::new(),
            gives_suspects: false,
            appended: 0,
            wait_for_room: Vec::new(),
            isolated: VecDeque::new(),
            is_unheard: false,
            now_ms: 0,
            paused: PausedTime::default(),
            traces: Traces::default(),
            event_spans: EventSpans::default(),
            effects: Effects::default(),
        }
    }

    /// Takes a client in, and then its first events are to be
    /// [told](Self::tell_connected).
    pub fn insert(&mut self, new: NewClient<P>, now_ms: u64) -> Key {
        self.set_now(now_ms);
        new.worker.bind();
        let is_unanswered = !new.response.is_empty();
        let key = self.table.insert(new);
        if is_unanswered {
            self.unanswered.push_back(key);
            self.effects.signals.flush = true;
        }
        if let Some(client) = self.table.get(key) {
            client.silent_since_ms = now_ms;
            self.settings.counters.listener(client.policy().index).opened.add(1);
            client.connected_s = (now_ms / 1000) as u32;
            if let Some(due_ms) = client.first_check_ms(now_ms) {
                self.effects.signals.deadline |= self.timers.next_ms().is_none_or(|next_ms| due_ms < next_ms);
                self.timers.insert(due_ms, key);
            }
        }
        key
    }

    /// Draws a connection id that nobody has. It says which shard has the client: that is its
    /// remainder by the number of shards.
    ///
    /// It is drawn at random, as pages post theirs to be bound: a counted one would let anybody
    /// guess another's.
    pub fn draw_connection_id(&self, mut draw: impl FnMut() -> u32) -> u32 {
        let Settings { index, shards, .. } = self.settings;
        loop {
            let drawn = u64::from(draw()) / shards as u64 * shards as u64 + index as u64;
            match u32::try_from(drawn) {
                Ok(id) if id != 0 && !self.is_id_taken(id) => return id,
                _ => {}
            }
        }
    }

    fn is_id_taken(&self, id: u32) -> bool {
        self.table.contains(id) || self.stubs.by_id.contains_key(&id) || self.resumption.has_closed(id)
    }

    /// A client's connection, for the shell's own use.
    pub fn connection(&mut self, key: Key) -> Option<&mut P::Connection> {
        self.table.get(key).map(|client| &mut client.connection)
    }

    /// A client's connection, to look at.
    pub fn connection_of(&self, key: Key) -> Option<&P::Connection> {
        self.table.look(key).map(|client| &client.connection)
    }

    /// The table of clients: questions are answered from it.
    pub fn table(&self) -> &Table<P> {
        &self.table
    }

    /// Ends a client: takes it out of everything, tells its worker, and closes the connection,
    /// after `last` where there is something to say.
    pub fn close(&mut self, key: Key, reason: CloseReason, last: Option<Bytes>) {
        self.close_with(key, Close::new(reason, last));
    }

    /// Ends a client that has sent a close frame; `answer` is the close frame that answers it.
    fn close_by_client(
        &mut self,
        key: Key,
        reason: CloseReason,
        frame: Option<&ClientCloseFrame>,
        answer: Bytes,
    ) {
        let sent = SentClose::Yes(frame);
        self.close_with(key, Close { sent, ..Close::new(reason, Some(answer)) });
    }

    fn close_with(&mut self, key: Key, close: Close<'_>) {
        let uid = self.uid_of(key);
        let context = self.context_for_worker(key);
        let Some(mut client) = self.table.remove(key) else { return };
        let id = client.id(self.settings.address);
        self.settings.counters.listener(client.policy().index).closed.add(1);
        if client.is_paused {
            self.paused.note(false, self.now_ms);
        }
        if client.has_token {
            self.tokens.forget(client.connection_id);
        }
        if let Some(resumable) = client.resumable.take() {
            self.forget_resumable(client.connection_id, *resumable, &close);
        }
        let reason = close.reason;
        debug!(client = %id, %reason, "a client is gone");
        self.tell_closed(&mut client, reason, close.client_frame(), context);
        client.worker.unbind();
        self.finish(*client, uid, close);
    }

    fn uid_of(&self, key: Key) -> Option<Bytes> {
        self.table.client(key.connection_id()).and_then(|client| self.table.uid_of(client))
    }

    /// Has the connection of a client ended that is out of the table, and was bound to this uid.
    fn finish(&mut self, client: Client<P>, uid: Option<Bytes>, close: Close<'_>) {
        if client.queue.is_traced() {
            self.trace_closed(&client, &close);
        }
        let policy = client.policy();
        let record = CloseRecord {
            uid,
            port: policy.port,
            connected_ms: u64::from(client.connected_s) * 1000,
            code: close.last.as_ref().and_then(|last| close_code(policy, last)),
            frame: close.client_frame().cloned(),
            closer: close.closer(),
        };
        let Close { reason, last, detail, sent, .. } = close;
        let has_left = reason == CloseReason::ClientLeft;
        let answers_close = matches!(sent, SentClose::No);
        let ending = Ending {
            has_left,
            at_once: match reason {
                CloseReason::Destroyed => true,
                CloseReason::TimedOut => last.is_none(),
                _ => false,
            },
            // A client that has sent a close frame does not answer ours.
            with_close_frame: last.is_some() && !has_left && answers_close && client.policy().is_websocket(),
        };
        let (id, address) = (client.id(self.settings.address), client.address);
        let mut outbox = client.queue.close(&mut self.blocked_bytes);
        if reason == CloseReason::SlowConsumer {
            // The answer to its handshake may wait here.
            client.connection.flush(&mut outbox);
            // It would not read the rest that soon, and is to hear why it is closed.
            outbox.drop_unsent(client.connection.committed());
        }
        if let Some(last) = last {
            outbox.push(last);
        }
        let finished =
            Finished { connection: client.connection, outbox, id, address, reason, ending, detail, record };
        self.effects.list.push_back(Effect::Finish(Box::new(finished)));
    }

    /// Closes the clients that something in this input has decided to close.
    #[inline]
    fn close_pending(&mut self) {
        // Mostly there is none, and this is at the end of each input.
        if !self.pending_close.is_empty() {
            self.close_all_pending();
        }
    }

    fn close_all_pending(&mut self) {
        for (key, reason) in std::mem::take(&mut self.pending_close) {
            let Some(client) = self.table.get(key) else { continue };
            let code = match reason {
                CloseReason::TooLarge => MESSAGE_TOO_BIG,
                // It shall come back, when it reads again.
                CloseReason::SlowConsumer if client.resumable.is_some() => TRY_AGAIN_LATER,
                _ => POLICY_VIOLATION,
            };
            let last = client.policy().close_frame(code, reason.as_str());
            self.close(key, reason, last);
        }
    }

    /// Takes the next effect.
    pub fn next_effect(&mut self) -> Option<Effect<P>> {
        self.effects.list.pop_front()
    }

    /// Takes the signals; asked again, there are none.
    pub fn take_signals(&mut self) -> Signals {
        std::mem::take(&mut self.effects.signals)
    }

    /// When [`advance`](Self::advance) has something to do, in ms.
    pub fn next_deadline(&self) -> Option<u64> {
        let admission = self.admissions.front().map(|(until_ms, _)| *until_ms);
        let stop = self.stop.as_ref().and_then(StopPlan::next_ms);
        let is_at_once = self.sweep.is_some() || self.gives_suspects || !self.isolated.is_empty();
        let at_once = is_at_once.then_some(0);
        let resumption = self.resumption.next_ms();
        [self.timers.next_ms(), admission, self.tokens.next_ms(), resumption, stop, at_once]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due: pings and closes silent clients, closes those that were not admitted
    /// in time, and, while the gateway stops, those whose turn it is; goes on with what takes many
    /// inputs.
    pub fn advance(&mut self, now_ms: u64) {
        self.set_now(now_ms);
        self.ping_silent(now_ms);
        self.close_late(now_ms);
        self.close_expired(now_ms);
        self.close_detached(now_ms);
        self.advance_stop(now_ms);
        self.advance_isolation();
        self.give_suspects();
        self.advance_sweep();
        self.close_pending();
    }

    /// A worker was linked, or its link has ended or has room: what waits for that may be given.
    pub fn workers_changed(&mut self) {
        self.close_orphans();
        self.wake_for_room();
        self.gives_suspects = true;
        self.give_suspects();
        if self.is_starved {
            self.begin_sweep();
            self.advance_sweep();
        }
        self.close_pending();
    }
}
