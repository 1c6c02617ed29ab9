//! Interest in the gateway: the core's [`Interest`] behind a lock, the writers of interest links, and joins that wait.
//!
//! The tasks of links call it: one whose peer has said joins [announces](announce) their names and waits until they
//! [are known](announced), as the task of a client with a token does; an interest link's task subscribes and passes
//! reports on. What is told to a subscriber is pushed under the lock, so that it stands on the link in the order in which
//! it was decided.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatewayworker_net::LinkWriter;
use gatewayworker_protocol::Command;
use gatewayworker_protocol::interest::{InterestReport, Name, NameFilter};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::core::interest::{
    Effect, HoldId, Interest, InterestCounts, InterestSettings, LinkOver, SubscriberId,
};
use crate::gateway_state::GatewayState;
use crate::shard::{Core, ShardMessage};

/// How often the shards are asked how many names there are, to see whether the filter is made anew.
const LOOK_EVERY_MS: u64 = 2_000;

/// How many groups or uids of a shard are put into a new filter in one step.
const SLICE: usize = 10_000;

/// The announced names, and the links of subscribers.
#[derive(Debug)]
pub(crate) struct Interests {
    started: Instant,
    state: Mutex<State>,
    /// Bumped when names are settled.
    settled: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    core: Interest,
    links: BTreeMap<SubscriberId, Arc<LinkWriter>>,
    looked_ms: u64,
}

impl Interests {
    /// Announces nothing yet.
    pub(crate) fn new(settings: InterestSettings) -> Self {
        let core = Interest::new(settings, 0);
        let state = Mutex::new(State { core, links: BTreeMap::new(), looked_ms: 0 });
        Self { started: Instant::now(), state, settled: watch::Sender::new(0) }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every step of the core is complete when a panic could poison the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the core, and carries out what it wants done.
    fn update<T>(&self, step: impl FnOnce(&mut State, u64) -> T) -> T {
        let (result, is_settled) = {
            let mut state = self.lock();
            // Under the lock, so that the core's time never goes back.
            let now_ms = self.now_ms();
            let result = step(&mut state, now_ms);
            (result, state.carry_out(now_ms))
        };
        if is_settled {
            self.settled.send_modify(|version| *version += 1);
        }
        result
    }

    /// Holds the names of joins that are to be executed, and announces those that are new.
    fn hold(self: &Arc<Self>, names: Vec<Name>) -> Hold {
        let (id, is_settled) = self.update(|state, now_ms| {
            let id = state.core.hold(names, now_ms);
            (id, state.core.is_settled(id))
        });
        Hold { interests: self.clone(), id, waits_since: (!is_settled).then(Instant::now) }
    }

    /// Returns what there is and what has happened.
    pub(crate) fn counts(&self) -> InterestCounts {
        self.lock().core.counts()
    }

    /// Takes a subscriber, and tells it everything on its link.
    pub(crate) fn subscribe(self: &Arc<Self>, writer: Arc<LinkWriter>) -> Subscription {
        let id = self.update(|state, now_ms| {
            let id = state.core.subscribe(now_ms);
            state.links.insert(id, writer);
            id
        });
        Subscription { interests: self.clone(), id, how: LinkOver::Broken }
    }

    /// Whether it is time to [`look`] how many names the shards have.
    fn is_look_due(&self) -> bool {
        let (mut state, now_ms) = (self.lock(), self.now_ms());
        let is_due = state.looked_ms + LOOK_EVERY_MS <= now_ms && state.core.wants_remake(0, now_ms);
        if is_due {
            state.looked_ms = now_ms;
        }
        is_due
    }
}

impl State {
    /// Returns whether names are settled.
    fn carry_out(&mut self, now_ms: u64) -> bool {
        let mut is_settled = false;
        while let Some(effect) = self.core.next_effect() {
            match effect {
                Effect::Settled => is_settled = true,
                Effect::Tell(id, update) => {
                    let Some(writer) = self.links.get(&id) else { continue };
                    // A filter has to fit behind the one before it, whatever the limit is.
                    let limit = writer.limit().max(2 * NameFilter::MAX_BYTES);
                    if writer.push_within(limit, |out| Command::Interest(update).encode(out)).is_ok() {
                        writer.flush_soon();
                        continue;
                    }
                    // It reads too slowly, or its link is over.
                    writer.close(io::ErrorKind::TimedOut);
                    self.links.remove(&id);
                    self.core.unsubscribe(id, LinkOver::Broken, now_ms);
                }
            }
        }
        is_settled
    }
}

/// Joins that are not executed yet. They are when it is dropped, or on their way to their shards.
#[derive(Debug)]
pub(crate) struct Hold {
    interests: Arc<Interests>,
    id: HoldId,
    /// `None` where they were settled from the beginning: mostly all names are known.
    waits_since: Option<Instant>,
}

impl Hold {
    /// Waits until the joins may be executed: a lease at most. Returns how long that took, if it did not at once.
    ///
    /// Cancel safe.
    async fn settled(&self) -> Option<Duration> {
        let waits_since = self.waits_since?;
        let mut settled = self.interests.settled.subscribe();
        loop {
            settled.mark_unchanged();
            let (is_settled, deadline) = self.interests.update(|state, now_ms| {
                state.core.advance(now_ms);
                (state.core.is_settled(self.id), state.core.next_deadline())
            });
            if is_settled {
                return Some(waits_since.elapsed());
            }
            let deadline = deadline.map(|at_ms| self.interests.started + Duration::from_millis(at_ms));
            tokio::select! {
                _ = settled.changed() => {}
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.interests.lock().core.release(self.id);
    }
}

/// The place of an interest link among the subscribers, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Subscription {
    interests: Arc<Interests>,
    id: SubscriberId,
    how: LinkOver,
}

impl Subscription {
    /// Takes what the subscriber says.
    pub(crate) fn receive(&self, report: InterestReport) {
        self.interests.update(|state, now_ms| state.core.receive(self.id, report, now_ms));
    }

    /// Notes that the subscriber has ended its side.
    pub(crate) fn ended_by_peer(mut self) {
        self.how = LinkOver::ByPeer;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (id, how) = (self.id, self.how);
        self.interests.update(|state, now_ms| {
            state.links.remove(&id);
            state.core.unsubscribe(id, how, now_ms);
        });
    }
}

/// Holds the names of joins that are to be executed, and announces those that are new. On a shard's thread, which looks
/// how many names there are when that is due.
pub(crate) fn announce(shared: &Arc<GatewayState>, names: Vec<Name>) -> Hold {
    let hold = shared.interests.hold(names);
    if shared.interests.is_look_due() {
        let shared = shared.clone();
        tokio::task::spawn_local(async move { look(&shared).await });
    }
    hold
}

/// Waits until joins may be executed, or the gateway stops: nobody sends to clients that are all closed.
///
/// Cancel safe.
pub(crate) async fn announced(shared: &GatewayState, hold: &Hold) {
    tokio::select! {
        waited = hold.settled() => {
            if let (Some(waited), Some(timings)) = (waited, &shared.timings) {
                timings.joins.observe_us(waited.as_micros() as u64);
            }
        }
        () = shared.stopping.cancelled() => {}
    }
}

/// Looks how many names there are, and makes the filter anew if it should be.
async fn look(shared: &GatewayState) {
    let interests = &shared.interests;
    let mut live = 0;
    for shard in 0..shared.shards.len() {
        let count = |core: &Core| core.table().uids_len() + core.table().groups_len();
        let Some(names) = ask(shared, shard, count).await else { return };
        live += names;
    }
    let begins = interests.update(|state, now_ms| {
        let begins = state.core.wants_remake(live, now_ms);
        if begins {
            state.core.begin_remake(live);
        }
        begins
    });
    if !begins {
        return;
    }
    for shard in 0..shared.shards.len() {
        let mut from = 0;
        loop {
            let names = move |core: &Core| core.table().names(from, SLICE);
            let Some((names, is_last)) = ask(shared, shard, names).await else { return };
            interests.update(|state, _| state.core.remake_with(names));
            if is_last {
                break;
            }
            from += SLICE;
        }
    }
    interests.update(|state, now_ms| state.core.finish_remake(now_ms));
}

/// Calls `ask` with the core of a shard, behind all that was handed to the shard before. `None` where it has ended.
async fn ask<T: Send + 'static>(
    shared: &GatewayState,
    shard: usize,
    ask: impl FnOnce(&Core) -> T + Send + 'static,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    let message = ShardMessage::Ask(Box::new(move |core| drop(reply.send(ask(core)))));
    let _ = shared.shards[shard].send(message).await;
    answer.await.ok()
}
