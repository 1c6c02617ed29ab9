//! Interest: what this gateway tells subscribers about its groups and uids, and when a join may be executed.
//!
//! One [`Interest`] for all shards. A link that has read joins says [`hold`](Interest::hold) with their names and
//! executes them when [`is_settled`](Interest::is_settled) says so; then it says [`release`](Interest::release).
//! In between the names are announced to all [`Subscribers`], and applied by each that is leased. So
//! whenever a name has a member, every trusted view has the name: the rules and the proof are in
//! `docs/decisions/0011-interest.md`.
//!
//! Plain data. After each call the owner carries the [`Effect`]s out, and calls [`advance`](Interest::advance) when
//! [`next_deadline`](Interest::next_deadline) has come. Times are of a clock that only goes forward.
//!
//! - `subscribers`: who is told, what each has applied, and until when it is waited for,
//! - `waiting`: names that are announced and not applied by everybody,
//! - `remake`: the filter that replaces the one with too many names that are gone.

mod remake;
mod subscribers;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{BTreeMap, VecDeque};

use gatewayworker_protocol::interest::{InterestReport, InterestUpdate, Name, NameFilter};

use remake::Remake;
use subscribers::Subscribers;
use waiting::{Batch, Waiting};

pub use subscribers::{LinkOver, SubscriberId};

/// The times of it, in ms.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct InterestSettings {
    /// How long a subscriber may trust its view without saying RENEW again: the longest time that a join waits for it.
    pub lease_ms: u32,
    /// A subscriber for which a join has waited so long,
    pub slow_after_ms: u64,
    /// gets no lease for so long.
    pub refuse_ms: u64,
    /// How long names are gathered before the next announcement.
    pub gather_ms: u64,
    /// How often the filter is made anew at most, while it is not full.
    pub remake_ms: u64,
}

impl InterestSettings {
    /// The settings where a link that is silent for so long counts as dead. A link whose joins wait is not read,
    /// so that a lease is a third of that at most.
    pub fn within(link_timeout_ms: u64) -> Self {
        let default = Self::default();
        let lease_ms = u32::try_from(link_timeout_ms / 3).unwrap_or(u32::MAX).clamp(1, default.lease_ms);
        Self { lease_ms, slow_after_ms: u64::from(lease_ms) / 12, ..default }
    }
}

impl Default for InterestSettings {
    fn default() -> Self {
        Self { lease_ms: 3_000, slow_after_ms: 250, refuse_ms: 30_000, gather_ms: 2, remake_ms: 60_000 }
    }
}

/// What the owner has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell a subscriber.
    Tell(SubscriberId, InterestUpdate),
    /// Names are settled: holds may be.
    Settled,
}

/// What there is and what has happened, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterestCounts {
    /// Subscribers whose links stand.
    pub subscribers: usize,
    /// Names in the filter, also those that are gone since it was made.
    pub names: usize,
    /// The bytes of the filter.
    pub filter_bytes: usize,
    /// Names that were announced, each time.
    pub announced: u64,
    /// Leases that ran out while a join waited for the subscriber.
    pub leases_lost: u64,
}

/// Joins that are looked up and not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldId(u64);

/// The announced names, and the subscribers.
#[derive(Debug)]
pub struct Interest {
    settings: InterestSettings,
    /// The bits that every trusted view has at least. While a filter made anew is on its way, this is the older one.
    filter: NameFilter,
    /// How many names were put into it.
    inserted: usize,
    remake: Remake,
    made_ms: u64,
    waiting: Waiting,
    subscribers: Subscribers,
    holds: BTreeMap<HoldId, Vec<Name>>,
    last_hold: u64,
    effects: VecDeque<Effect>,
    announced: u64,
    leases_lost: u64,
}

impl Interest {
    /// Announces nothing yet, to nobody.
    pub fn new(settings: InterestSettings, now_ms: u64) -> Self {
        Self {
            settings,
            filter: NameFilter::new(0),
            inserted: 0,
            remake: Remake::No,
            made_ms: now_ms,
            waiting: Waiting::default(),
            subscribers: Subscribers::default(),
            holds: BTreeMap::new(),
            last_hold: 0,
            effects: VecDeque::new(),
            announced: 0,
            leases_lost: 0,
        }
    }

    /// Holds the names of joins that are to be executed next, and announces those that are not. The joins
    /// are not executed before they [are settled](Self::is_settled).
    pub fn hold(&mut self, names: Vec<Name>, now_ms: u64) -> HoldId {
        for name in &names {
            // Also one that is announced: the new filter has to have it when the join is executed.
            self.remake.insert(*name);
            if !self.filter_has(*name) {
                self.waiting.add(*name);
            }
        }
        self.last_hold += 1;
        let id = HoldId(self.last_hold);
        self.holds.insert(id, names);
        self.advance(now_ms);
        id
    }

    /// Whether every trusted view has the names of a hold, so that its joins may be executed. Ask again after
    /// [`Effect::Settled`].
    pub fn is_settled(&self, hold: HoldId) -> bool {
        let mut names = self.holds.get(&hold).into_iter().flatten();
        names.all(|name| self.filter_has(*name) && !self.waiting.has(*name))
    }

    /// Ends a hold: its joins are executed, or on their way to their shards in front of all that is asked later.
    pub fn release(&mut self, hold: HoldId) {
        self.holds.remove(&hold);
    }

    /// Whether the name's bits are in every trusted view, whether it is a name itself or a false positive.
    fn filter_has(&self, name: Name) -> bool {
        self.filter.may_have(name) && self.remake.sent().is_none_or(|next| next.may_have(name))
    }

    /// Takes a new subscriber, and tells it everything.
    pub fn subscribe(&mut self, now_ms: u64) -> SubscriberId {
        self.advance(now_ms);
        let id = self.subscribers.add();
        let mut filter = self.remake.sent().unwrap_or(&self.filter).clone();
        self.waiting.sent_names().for_each(|name| filter.insert(name));
        self.tell_filter(&filter, [id]);
        id
    }

    fn tell_filter(&mut self, filter: &NameFilter, to: impl IntoIterator<Item = SubscriberId>) {
        let bytes = filter.to_bytes();
        for id in to {
            let pieces = InterestUpdate::filter(self.waiting.sent(), &bytes);
            self.effects.extend(pieces.map(|piece| Effect::Tell(id, piece)));
        }
    }

    /// Takes what a subscriber says.
    pub fn receive(&mut self, from: SubscriberId, report: InterestReport, now_ms: u64) {
        match report {
            InterestReport::Applied(version) => {
                self.subscribers.applied(from, version.min(self.waiting.sent()));
            }
            InterestReport::Renew(renewed_at_ms) => {
                self.subscribers.renew(from, renewed_at_ms, self.waiting.sent(), now_ms);
            }
        }
        let lease_ms = self.settings.lease_ms;
        if let Some(renewed_at_ms) = self.subscribers.take_renewed(from, lease_ms.into()) {
            let grant = InterestUpdate::Grant { renewed_at_ms, lease_ms };
            self.effects.push_back(Effect::Tell(from, grant));
        }
        self.advance(now_ms);
    }

    /// Forgets a subscriber whose link is over. Joins go on waiting for it while it may trust its view.
    pub fn unsubscribe(&mut self, id: SubscriberId, how: LinkOver, now_ms: u64) {
        self.subscribers.link_over(id, how);
        self.advance(now_ms);
    }

    /// Sends what is due, and waits no longer for those whose lease is over.
    pub fn advance(&mut self, now_ms: u64) {
        let slow_ms = self.settings.slow_after_ms;
        let oldest = self.waiting.oldest().filter(|(_, sent_ms)| sent_ms + slow_ms <= now_ms);
        let oldest = oldest.map(|(version, _)| version);
        self.leases_lost += self.subscribers.expire(now_ms, oldest);
        if self.send_due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            self.send(now_ms);
        }
        self.settle();
        if let Some((version, sent_ms)) = self.waiting.oldest()
            && sent_ms + self.settings.slow_after_ms <= now_ms
        {
            self.subscribers.refuse_behind(version, now_ms + self.settings.refuse_ms);
        }
    }

    /// When [`advance`](Self::advance) is due, if anything waits.
    pub fn next_deadline(&self) -> Option<u64> {
        let oldest = self.waiting.oldest();
        let given_up = oldest.and_then(|(version, _)| self.subscribers.first_expiry_behind(version));
        let slow = oldest
            .filter(|(version, _)| self.subscribers.has_unrefused_behind(*version))
            .map(|(_, sent_ms)| sent_ms + self.settings.slow_after_ms);
        [self.send_due_ms(), given_up, slow].into_iter().flatten().min()
    }

    /// Takes what the owner has to do next.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Returns what there is and what has happened.
    pub fn counts(&self) -> InterestCounts {
        InterestCounts {
            subscribers: self.subscribers.linked().count(),
            names: self.inserted,
            filter_bytes: self.filter.len(),
            announced: self.announced,
            leases_lost: self.leases_lost,
        }
    }

    fn send_due_ms(&self) -> Option<u64> {
        // Where nobody is waited for, gathering would only make joins late.
        let gather_ms = if self.subscribers.is_any_leased() { self.settings.gather_ms } else { 0 };
        self.waiting.unsent_since().map(|last_ms| last_ms + gather_ms)
    }

    /// Announces the names that are not yet.
    fn send(&mut self, now_ms: u64) {
        for (version, names) in self.waiting.send(now_ms) {
            self.announced += names.len() as u64;
            for id in self.subscribers.linked() {
                let update = InterestUpdate::Names { version, names: names.clone() };
                self.effects.push_back(Effect::Tell(id, update));
            }
        }
    }

    /// Takes what is applied by all that are leased.
    fn settle(&mut self) {
        let applied = self.subscribers.applied_by_leased().unwrap_or(u64::MAX);
        while let Some(batch) = self.waiting.pop_applied(applied) {
            match batch {
                Batch::Names(names) => {
                    self.inserted += names.len();
                    names.into_iter().for_each(|name| self.filter.insert(name));
                }
                Batch::Filter => {
                    if let Some((filter, inserted)) = self.remake.take_sent() {
                        (self.filter, self.inserted) = (filter, inserted);
                    }
                }
            }
            self.effects.push_back(Effect::Settled);
        }
    }
}
