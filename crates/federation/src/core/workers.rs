//! [`Workers`]: which worker of the own cluster subscribes to which partition.
//!
//! Each worker decides for itself, by what it has heard of the others. A partition that nobody holds is for its owner, the worker with
//! the highest hash of worker and partition (rendezvous hashing). A worker that holds one keeps it until it stops: what is on its way to
//! a subscription that ends may be lost. One that stops gives it up when another holds it: the subscriptions are in one queue group, so
//! NATS gives a message to one of both.

use std::collections::BTreeMap;

use super::LISTEN_MS;
use super::inbound::MAX_AGE_MS;
use super::partitions::{Partition, Partitions};
use gatewayworker_protocol::hash::hash;

/// A worker that was not heard for so long is gone, in ms.
const GONE_MS: u64 = 3_000;

/// For so long the number of a worker is remembered, in ms: longer than something that was said may be old.
const REMEMBER_MS: u64 = 3 * MAX_AGE_MS;

/// A partition that nobody holds for so long is one that cannot be held, in ms: longer than a worker needs to find that another is gone.
const UNHELD_MS: u64 = 2 * GONE_MS;

/// How often a worker announces itself, in ms.
const HELLO_MS: u64 = 500;

/// What a worker says to those of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The partitions to which it is subscribed.
    pub(crate) holds: Partitions,
    /// It is about to stop, or reaches no gateway: others are to take its partitions.
    pub(crate) is_leaving: bool,
}

/// What to do with subscriptions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Subscribe to these.
    pub(crate) subscribe: Partitions,
    /// End these subscriptions.
    pub(crate) unsubscribe: Partitions,
    /// Announce this worker.
    pub(crate) hello: Option<Hello>,
}

/// The workers of the own cluster, as far as this one has heard of them.
#[derive(Debug)]
pub(crate) struct Workers {
    own: u64,
    others: BTreeMap<u64, Other>,
    holds: Partitions,
    is_leaving: bool,
    /// It is linked to a gateway of its cluster.
    reaches_gateways: bool,
    /// It takes no partition and gives up those that it has.
    holds_nothing: bool,
    /// The highest number of each worker, and when it was heard: a hello that is played again has one that is not higher.
    numbers: BTreeMap<u64, (u64, u64)>,
    /// Since when NATS is connected.
    connected_ms: Option<u64>,
    hello_due_ms: u64,
    /// Since when there are partitions that nobody holds.
    unheld_since_ms: Option<u64>,
}

#[derive(Debug)]
struct Other {
    heard_ms: u64,
    hello: Hello,
}

impl Workers {
    pub(crate) fn new(own: u64) -> Self {
        Self {
            own,
            others: BTreeMap::new(),
            holds: Partitions::default(),
            is_leaving: false,
            reaches_gateways: true,
            holds_nothing: false,
            numbers: BTreeMap::new(),
            connected_ms: None,
            hello_due_ms: 0,
            unheld_since_ms: None,
        }
    }

    /// Notes that NATS is connected, or is not any more. Who was silent meanwhile is not gone for that.
    pub(crate) fn set_connected(&mut self, is_connected: bool, now_ms: u64) {
        self.connected_ms = is_connected.then_some(now_ms);
        self.unheld_since_ms = None;
        self.hello_due_ms = now_ms;
        self.others.values_mut().for_each(|other| other.heard_ms = now_ms);
    }

    /// Notes what another worker has said, with the number that it has given to it. Returns whether it is new.
    pub(crate) fn hear(&mut self, worker: u64, number: u64, hello: Hello, now_ms: u64) -> bool {
        if worker == self.own {
            return true;
        }
        let (highest, heard_ms) = self.numbers.entry(worker).or_default();
        if number <= *highest {
            return false;
        }
        (*highest, *heard_ms) = (number, now_ms);
        let before = self.others.insert(worker, Other { heard_ms: now_ms, hello });
        if before.is_none() {
            // It shall know this one at once.
            self.hello_due_ms = now_ms;
        }
        true
    }

    /// Whether this worker is to hold nothing, as its clock is wrong.
    pub(crate) fn set_holds_nothing(&mut self, holds_nothing: bool) {
        self.holds_nothing = holds_nothing;
    }

    /// Notes whether this worker is linked to a gateway. One that is not leaves its partitions to others, if there are any: what it takes
    /// reaches nobody.
    pub(crate) fn set_reaches_gateways(&mut self, reaches_gateways: bool, now_ms: u64) {
        if self.reaches_gateways != reaches_gateways {
            self.reaches_gateways = reaches_gateways;
            self.hello_due_ms = now_ms;
        }
    }

    /// Notes that a subscription which [`advance`](Self::advance) has wanted was not made. It is wanted again.
    pub(crate) fn not_subscribed(&mut self, partition: Partition) {
        self.holds.remove(partition);
    }

    /// Notes that this worker is about to stop.
    pub(crate) fn leave(&mut self, now_ms: u64) {
        self.is_leaving = true;
        self.hello_due_ms = now_ms;
    }

    /// Whether nobody has to take anything over from this worker, which is leaving.
    pub(crate) fn has_left(&self) -> bool {
        self.holds == Partitions::default() || self.is_last()
    }

    /// Whether there is no other worker that stays.
    pub(crate) fn is_last(&self) -> bool {
        self.others.values().all(|other| other.hello.is_leaving)
    }

    /// Whether this worker holds a partition and no other does, so that it hears all of it.
    pub(crate) fn holds_alone(&self, partition: Partition) -> bool {
        self.holds.has(partition) && self.others.values().all(|other| !other.hello.holds.has(partition))
    }

    /// The partitions that this worker holds.
    pub(crate) fn holds(&self) -> Partitions {
        self.holds
    }

    /// How many partitions nobody holds, though there was time enough; 0 while this worker leaves.
    pub(crate) fn unheld(&self, now_ms: u64) -> usize {
        let is_long = self.unheld_since_ms.is_some_and(|since_ms| now_ms >= since_ms + UNHELD_MS);
        if is_long && !self.is_leaving { self.nobodys().count() } else { 0 }
    }

    /// When [`advance`](Self::advance) is due next.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.connected_ms?;
        let gone = self.others.values().map(|other| other.heard_ms + GONE_MS);
        gone.chain([self.hello_due_ms]).min()
    }

    /// Decides anew. Call it when its deadline has come, and when something was heard.
    pub(crate) fn advance(&mut self, now_ms: u64) -> Changes {
        let mut changes = Changes::default();
        let Some(connected_ms) = self.connected_ms else { return changes };
        self.others.retain(|_, other| now_ms < other.heard_ms + GONE_MS);
        self.numbers.retain(|_, (_, heard_ms)| now_ms < *heard_ms + REMEMBER_MS);
        let knows_others = now_ms >= connected_ms + LISTEN_MS;
        for partition in Partition::all() {
            let other = self.other_holder(partition);
            if !self.holds.has(partition) {
                if !self.holds_nothing
                    && knows_others
                    && other.is_none()
                    && self.owner(partition) == Some(self.own)
                {
                    self.holds.insert(partition);
                    changes.subscribe.insert(partition);
                }
            } else if self.holds_nothing
                || other.is_some_and(|other| {
                    self.stands_back() || rank(other, partition) > rank(self.own, partition)
                })
            {
                self.holds.remove(partition);
                changes.unsubscribe.insert(partition);
            }
        }
        let is_unheld = self.nobodys().next().is_some();
        self.unheld_since_ms = is_unheld.then(|| self.unheld_since_ms.unwrap_or(now_ms));
        let has_changed = changes != Changes::default();
        if has_changed || now_ms >= self.hello_due_ms {
            // Until it knows the others it looks soon again, as their time to be heard may end first.
            self.hello_due_ms = now_ms + HELLO_MS;
            changes.hello = Some(Hello { holds: self.holds, is_leaving: self.stands_back() });
        }
        changes
    }

    /// Whether others are to take what this worker holds.
    fn stands_back(&self) -> bool {
        self.is_leaving || !self.reaches_gateways
    }

    /// The partitions that neither this worker holds nor another one that stays.
    fn nobodys(&self) -> impl Iterator<Item = Partition> {
        Partition::all()
            .filter(|partition| !self.holds.has(*partition) && self.other_holder(*partition).is_none())
    }

    /// The worker that is to hold a partition which nobody holds; `None` if all are leaving.
    fn owner(&self, partition: Partition) -> Option<u64> {
        let staying = self.others.iter().filter(|(_, other)| !other.hello.is_leaving).map(|(id, _)| *id);
        let own = (!self.is_leaving && (self.reaches_gateways || self.is_last())).then_some(self.own);
        staying.chain(own).max_by_key(|worker| rank(*worker, partition))
    }

    /// Another worker that holds a partition and stays: the one that is to keep it, if there are several.
    fn other_holder(&self, partition: Partition) -> Option<u64> {
        let holds = |other: &Other| !other.hello.is_leaving && other.hello.holds.has(partition);
        let holders = self.others.iter().filter(|(_, other)| holds(other)).map(|(id, _)| *id);
        holders.max_by_key(|worker| rank(*worker, partition))
    }
}

/// The order of workers for a partition.
fn rank(worker: u64, partition: Partition) -> (u64, u64) {
    (hash(&[b"owner", &worker.to_be_bytes(), &[partition.number()]]), worker)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers that hear each other at once, until nothing changes.
    struct Cluster {
        workers: BTreeMap<u64, Workers>,
        now_ms: u64,
    }

    impl Cluster {
        fn of(ids: impl IntoIterator<Item = u64>) -> Self {
            let mut cluster = Self { workers: BTreeMap::new(), now_ms: 1_000 };
            ids.into_iter().for_each(|id| cluster.add(id));
            cluster.run(2 * LISTEN_MS);
            cluster
        }

        fn add(&mut self, id: u64) {
            let mut worker = Workers::new(id);
            worker.set_connected(true, self.now_ms);
            self.workers.insert(id, worker);
        }

        fn run(&mut self, ms: u64) {
            for _ in 0..ms / 100 {
                self.step();
            }
        }

        fn step(&mut self) {
            self.now_ms += 100;
            let ids: Vec<u64> = self.workers.keys().copied().collect();
            for id in ids {
                let changes = self.workers.get_mut(&id).unwrap().advance(self.now_ms);
                if let Some(hello) = changes.hello {
                    for worker in self.workers.values_mut() {
                        worker.hear(id, self.now_ms, hello, self.now_ms);
                    }
                }
            }
        }

        fn holders(&self, partition: Partition) -> Vec<u64> {
            self.workers
                .iter()
                .filter(|(_, worker)| worker.holds().has(partition))
                .map(|(id, _)| *id)
                .collect()
        }

        fn each_is_held_once(&self) -> bool {
            Partition::all().all(|partition| self.holders(partition).len() == 1)
        }

        fn each_is_held(&self) -> bool {
            Partition::all().all(|partition| !self.holders(partition).is_empty())
        }
    }

    #[test]
    fn each_partition_has_one_holder_and_workers_share_them() {
        for count in 1..9 {
            let cluster = Cluster::of(1..=count);
            assert!(cluster.each_is_held_once(), "{count}");
            let busy =
                cluster.workers.values().filter(|worker| worker.holds() != Partitions::default()).count();
            assert!(busy > count as usize / 2, "{busy} of {count}");
        }
    }

    #[test]
    fn a_worker_that_comes_takes_nothing_until_another_leaves() {
        let mut cluster = Cluster::of(1..=2);
        cluster.add(9);
        cluster.run(5_000);
        assert_eq!(cluster.workers[&9].holds(), Partitions::default());
        for leaving in [1, 2] {
            let now_ms = cluster.now_ms;
            cluster.workers.get_mut(&leaving).unwrap().leave(now_ms);
            while !cluster.workers[&leaving].has_left() {
                assert!(cluster.each_is_held());
                cluster.step();
            }
            cluster.workers.remove(&leaving);
        }
        assert!(Partition::all().all(|partition| cluster.holders(partition) == [9]));
    }

    #[test]
    fn partitions_that_nobody_can_hold_are_counted_after_a_while() {
        let mut cluster = Cluster::of(1..=2);
        let unheld = |cluster: &Cluster| cluster.workers[&2].unheld(cluster.now_ms);
        assert_eq!(unheld(&cluster), 0);
        cluster.workers.remove(&1);
        cluster.run(UNHELD_MS + GONE_MS);
        assert_eq!(unheld(&cluster), 0, "it has taken what the other had");
        cluster.workers.get_mut(&2).unwrap().set_holds_nothing(true);
        cluster.run(UNHELD_MS / 2);
        assert_eq!(unheld(&cluster), 0);
        cluster.run(UNHELD_MS);
        assert_eq!(unheld(&cluster), usize::from(Partition::COUNT));
        cluster.workers.get_mut(&2).unwrap().set_holds_nothing(false);
        cluster.run(100);
        assert_eq!(unheld(&cluster), 0);
    }

    #[test]
    fn of_two_workers_that_hold_a_partition_one_gives_it_up() {
        // Each comes while it cannot hear the other.
        let mut cluster = Cluster::of([1]);
        let alone = std::mem::take(&mut cluster.workers);
        cluster.add(2);
        cluster.run(2 * LISTEN_MS);
        cluster.workers.extend(alone);
        assert!(Partition::all().all(|partition| cluster.holders(partition).len() == 2));
        cluster.run(1_000);
        assert!(cluster.each_is_held_once());
    }

    #[test]
    fn a_worker_that_leaves_stays_until_others_have_its_partitions() {
        let mut cluster = Cluster::of(1..=3);
        let now_ms = cluster.now_ms;
        cluster.workers.get_mut(&2).unwrap().leave(now_ms);
        while !cluster.workers[&2].has_left() {
            assert!(cluster.each_is_held());
            cluster.step();
        }
        assert!(cluster.now_ms < now_ms + 1_000);
        cluster.workers.remove(&2);
        assert!(cluster.each_is_held());
    }

    #[test]
    fn a_subscription_that_was_not_made_is_wanted_again() {
        let mut worker = Workers::new(1);
        worker.set_connected(true, 0);
        assert!(worker.advance(LISTEN_MS).subscribe.has(Partition::FIRST));
        worker.not_subscribed(Partition::FIRST);
        assert!(!worker.holds().has(Partition::FIRST));
        let again = worker.next_deadline().unwrap();
        let changes = worker.advance(again);
        assert_eq!(changes.subscribe.iter().collect::<Vec<_>>(), [Partition::FIRST]);
    }

    #[test]
    fn what_a_worker_has_said_is_not_heard_again_though_it_is_gone() {
        let mut worker = Workers::new(1);
        worker.set_connected(true, 0);
        let hello = Hello { holds: Partitions::from_bits(1), is_leaving: false };
        assert!(worker.hear(2, 5, hello, 0));
        assert!(!worker.hear(2, 5, hello, 1));
        assert!(!worker.hear(2, 4, hello, 1));
        worker.advance(GONE_MS);
        assert!(!worker.hear(2, 5, hello, GONE_MS));
        assert!(worker.hear(2, 6, hello, GONE_MS));
        worker.advance(GONE_MS + REMEMBER_MS);
        assert!(worker.numbers.is_empty());
    }

    #[test]
    fn a_worker_whose_clock_is_wrong_gives_up_what_it_holds_until_it_is_right() {
        let mut worker = Workers::new(1);
        worker.set_connected(true, 0);
        worker.advance(LISTEN_MS);
        worker.set_holds_nothing(true);
        assert_eq!(worker.advance(LISTEN_MS).unsubscribe.iter().count(), Partition::all().count());
        assert_eq!(worker.advance(2 * LISTEN_MS).subscribe, Partitions::default());
        worker.set_holds_nothing(false);
        assert_eq!(worker.advance(3 * LISTEN_MS).subscribe.iter().count(), Partition::all().count());
    }

    #[test]
    fn a_worker_that_reaches_no_gateway_leaves_its_partitions_to_others_until_it_does() {
        let mut cluster = Cluster::of([1, 2]);
        let held = |cluster: &Cluster, id: u64| cluster.workers[&id].holds().iter().count();
        assert!(held(&cluster, 1) > 0 && held(&cluster, 2) > 0);
        let now_ms = cluster.now_ms;
        cluster.workers.get_mut(&1).unwrap().set_reaches_gateways(false, now_ms);
        cluster.run(1_000);
        assert_eq!((held(&cluster, 1), held(&cluster, 2)), (0, 16));
        // What becomes nobody's is the other's, whoever has the higher rank; without another it takes what there is.
        cluster.workers.remove(&2);
        cluster.run(2 * GONE_MS);
        assert_eq!(held(&cluster, 1), 16);
        let now_ms = cluster.now_ms;
        cluster.workers.get_mut(&1).unwrap().set_reaches_gateways(true, now_ms);
        cluster.add(3);
        cluster.run(2 * LISTEN_MS);
        assert_eq!((held(&cluster, 1), held(&cluster, 3)), (16, 0), "it keeps what it holds");
    }

    #[test]
    fn the_last_worker_waits_for_nobody() {
        let mut cluster = Cluster::of([1]);
        let worker = cluster.workers.get_mut(&1).unwrap();
        assert!(worker.is_last());
        worker.leave(cluster.now_ms);
        assert!(worker.has_left());
    }

    #[test]
    fn the_partitions_of_a_worker_that_is_gone_are_taken_in_three_seconds() {
        let mut cluster = Cluster::of(1..=3);
        cluster.workers.remove(&2);
        cluster.run(GONE_MS + 600);
        assert!(cluster.each_is_held_once());
    }

    #[test]
    fn nothing_is_decided_while_nats_is_away_and_nobody_is_gone_for_that() {
        let mut cluster = Cluster::of(1..=2);
        let held = cluster.workers[&1].holds();
        let worker = cluster.workers.get_mut(&1).unwrap();
        worker.set_connected(false, cluster.now_ms);
        assert_eq!(worker.next_deadline(), None);
        assert_eq!(worker.advance(cluster.now_ms + 60_000), Changes::default());
        worker.set_connected(true, cluster.now_ms + 60_000);
        assert_eq!(worker.advance(cluster.now_ms + 61_000).subscribe, Partitions::default());
        assert_eq!(worker.holds(), held);
    }

    #[test]
    fn a_partition_that_two_hold_is_held_alone_by_neither() {
        let mut worker = Workers::new(1);
        worker.set_connected(true, 0);
        worker.advance(LISTEN_MS);
        assert!(Partition::all().all(|partition| worker.holds_alone(partition)));
        worker.hear(2, 1, Hello { holds: Partitions::from_bits(1), is_leaving: false }, LISTEN_MS);
        assert!(!worker.holds_alone(Partition::FIRST));
    }
}
