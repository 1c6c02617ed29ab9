//! [`Clusters`]: the other clusters, as far as this process has heard of them, and where their gateways are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use gatewayworker_client::ClusterName;
use gatewayworker_client::federation::{Destination, ListedGateway};
use gatewayworker_protocol::interest::Name;

use super::LISTEN_MS;
use super::gateway_table::GatewayTable;
use super::same_gateways::SameGateways;
use super::slots::{Slot, Slots};

/// A cluster that was not heard for so long, while NATS was there, is not one any more, in ms.
const FORGET_MS: u64 = 10 * 60 * 1_000;

/// A process listens so long before it knows that no other cluster has its slot, in ms: longer than a cluster is silent whose announcing
/// worker was killed.
const KNOW_MS: u64 = 10_000;

/// Who said that the own cluster has these gateways is believed for so long, in ms: longer than the time between two presences.
const OWN_MS: u64 = 3_000;

/// What a cluster says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// Its gateways.
    pub(crate) gateways: Vec<ListedGateway>,
    /// Its last worker is about to stop.
    pub(crate) is_leaving: bool,
}

/// The clusters that a process knows.
#[derive(Debug)]
pub(crate) struct Clusters {
    own: ClusterName,
    others: BTreeMap<ClusterName, Cluster>,
    /// Those of the own cluster, and when it last had them.
    own_gateways: BTreeMap<SocketAddrV4, u64>,
    gateways: GatewayTable,
    same_gateways: SameGateways,
    /// The highest number of each process, and when it was heard: what is played again has one that is not higher. Times of two clocks tell nothing.
    numbers: BTreeMap<u64, (u64, u64)>,
    /// What the processes that announce the own cluster say.
    own_presences: BTreeMap<u64, OwnPresence>,
    /// Clusters that have a gateway that the own cluster has now, or may have.
    overlapping: BTreeSet<ClusterName>,
    /// Those of them that were reported by [`hear`](Self::hear).
    reported: BTreeSet<ClusterName>,
    /// Since when NATS is connected without a break.
    connected_ms: Option<u64>,
    first_connected_ms: Option<u64>,
}

#[derive(Debug)]
struct Cluster {
    heard_ms: u64,
    gateways: Vec<ListedGateway>,
}

#[derive(Debug)]
struct OwnPresence {
    heard_ms: u64,
    gateways: Vec<ListedGateway>,
}

/// What became new by a presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing.
    Known,
    /// The cluster was not known.
    New,
    /// The process has said it, or something later, before.
    Replayed,
    /// The cluster has a gateway that the own cluster has, too, or may have.
    Overlaps,
}

impl Clusters {
    pub(crate) fn new(own: ClusterName) -> Self {
        Self {
            own,
            others: BTreeMap::new(),
            own_gateways: BTreeMap::new(),
            gateways: GatewayTable::default(),
            same_gateways: SameGateways::default(),
            numbers: BTreeMap::new(),
            own_presences: BTreeMap::new(),
            overlapping: BTreeSet::new(),
            reported: BTreeSet::new(),
            connected_ms: None,
            first_connected_ms: None,
        }
    }

    /// The slot of the own cluster.
    pub(crate) fn own_slot(&self) -> Slot {
        Slot::of(&self.own)
    }

    /// Notes that NATS is connected, or is not any more. Who is silent meanwhile is not forgotten for that.
    pub(crate) fn set_connected(&mut self, is_connected: bool, now_ms: u64) {
        self.connected_ms = is_connected.then_some(now_ms);
        self.first_connected_ms = self.first_connected_ms.or(self.connected_ms);
        self.others.values_mut().for_each(|cluster| cluster.heard_ms = now_ms);
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected_ms.is_some()
    }

    /// When all clusters that there are have been heard; `None` while NATS is not connected.
    pub(crate) fn all_heard_at_ms(&self) -> Option<u64> {
        // After a break the clusters of before are there. Only a process that knows none listens anew.
        let since = if self.others.is_empty() { self.connected_ms } else { self.first_connected_ms };
        self.connected_ms.and(since).map(|since_ms| since_ms + LISTEN_MS)
    }

    /// Notes what a process has said of its cluster, with the number that it has given to it.
    pub(crate) fn hear(
        &mut self,
        cluster: ClusterName,
        process: u64,
        number: u64,
        presence: Presence,
        now_ms: u64,
    ) -> Heard {
        if cluster == self.own {
            self.own_presences.retain(|_, said| now_ms < said.heard_ms + OWN_MS);
            let said = OwnPresence { heard_ms: now_ms, gateways: presence.gateways.clone() };
            self.own_presences.insert(process, said);
            // Those that stop are remembered for a while: a client that was there is nobody else's.
            let before = self.own_gateways.len();
            self.own_gateways.extend(presence.gateways.into_iter().map(|gateway| (gateway.address, now_ms)));
            if self.own_gateways.len() > before {
                self.find_gateways(now_ms);
            } else {
                self.find_overlaps(now_ms);
            }
            return Heard::Known;
        }
        let (highest, heard_ms) = self.numbers.entry(process).or_default();
        if number <= *highest {
            return Heard::Replayed;
        }
        (*highest, *heard_ms) = (number, now_ms);
        if presence.is_leaving {
            self.others.remove(&cluster);
            self.find_gateways(now_ms);
            return Heard::Known;
        }
        let report = |clusters: &mut Self, otherwise| {
            let is_overlap = clusters.overlaps(&cluster) && clusters.reported.insert(cluster.clone());
            if is_overlap { Heard::Overlaps } else { otherwise }
        };
        if let Some(known) = self.others.get_mut(&cluster)
            && known.gateways == presence.gateways
        {
            // As ever: nothing is to be found anew.
            known.heard_ms = now_ms;
            return report(self, Heard::Known);
        }
        let heard = Cluster { heard_ms: now_ms, gateways: presence.gateways };
        let before = self.others.insert(cluster.clone(), heard);
        self.find_gateways(now_ms);
        report(self, if before.is_none() { Heard::New } else { Heard::Known })
    }

    /// Whether a cluster has a gateway that the own cluster has now: it is the own cluster by another name. Or it may be, as one of them does not
    /// say which gateway it has. Nothing is obeyed that it says, as its clients would get it twice, and it is not asked.
    pub(crate) fn overlaps(&self, cluster: &ClusterName) -> bool {
        self.overlapping.contains(cluster)
    }

    /// The clusters of [`overlaps`](Self::overlaps).
    pub(crate) fn overlapping(&self) -> impl Iterator<Item = &ClusterName> {
        self.overlapping.iter()
    }

    /// Whether two clusters have the name of the own one: two processes announce it at the same time, with gateways of which none is in both.
    pub(crate) fn own_name_is_used_twice(&self, now_ms: u64) -> bool {
        let fresh = self.own_presences.values();
        let fresh: Vec<_> =
            fresh.filter(|said| now_ms < said.heard_ms + OWN_MS && !said.gateways.is_empty()).collect();
        fresh.iter().enumerate().any(|(place, one)| {
            let is_same = |one: &ListedGateway, other: &ListedGateway| {
                one.address == other.address && !one.differs_from(*other)
            };
            let differs = |two: &&OwnPresence| {
                one.gateways.iter().all(|one| !two.gateways.iter().any(|other| is_same(one, other)))
            };
            fresh[place + 1..].iter().any(differs)
        })
    }

    /// Forgets clusters that were silent for long. Returns them.
    pub(crate) fn forget(&mut self, now_ms: u64) -> Vec<ClusterName> {
        if self.connected_ms.is_none() {
            return Vec::new();
        }
        self.numbers.retain(|_, (_, heard_ms)| now_ms < *heard_ms + FORGET_MS);
        self.own_gateways.retain(|_, seen_ms| now_ms < *seen_ms + FORGET_MS);
        let silent = self.others.iter().filter(|(_, cluster)| now_ms >= cluster.heard_ms + FORGET_MS);
        let silent: Vec<_> = silent.map(|(name, _)| name.clone()).collect();
        silent.iter().for_each(|name| drop(self.others.remove(name)));
        self.gateways.note_time(now_ms);
        self.gateways.forget(now_ms.saturating_sub(FORGET_MS));
        if !silent.is_empty() {
            self.find_gateways(now_ms);
        }
        silent
    }

    fn find_gateways(&mut self, now_ms: u64) {
        let others = self.others.iter().map(|(name, cluster)| (name, &cluster.gateways[..]));
        self.gateways.set(others, (&self.own, self.own_gateways.keys().copied()), now_ms);
        self.find_overlaps(now_ms);
    }

    fn find_overlaps(&mut self, now_ms: u64) {
        let own: Vec<_> =
            self.own_presences.values().flat_map(|said| said.gateways.iter().copied()).collect();
        let same = &mut self.same_gateways;
        let overlapping =
            self.others.iter().filter(|(name, cluster)| same.check(name, &cluster.gateways, &own, now_ms));
        self.overlapping = overlapping.map(|(name, _)| name.clone()).collect();
        self.reported.retain(|cluster| self.overlapping.contains(cluster));
    }

    /// The other clusters, in the order of their names.
    pub(crate) fn others(&self) -> impl Iterator<Item = &ClusterName> {
        self.others.keys()
    }

    /// Whether it is the own cluster or another one that is known.
    pub(crate) fn is_cluster(&self, cluster: &ClusterName) -> bool {
        *cluster == self.own || self.others.contains_key(cluster)
    }

    /// The other cluster that has the gateway with this address or alias, and the gateway's address; `None` if that may be one of the own
    /// cluster, if several clusters have gateways with this address, or if the cluster [overlaps](Self::overlaps).
    pub(crate) fn find_gateway(&self, gateway: SocketAddrV4) -> Option<(ClusterName, SocketAddrV4)> {
        let found = match self.gateways.by_alias(gateway) {
            Some(found) => Some(found.clone()),
            None => {
                let cluster = self.gateways.by_address(gateway);
                let cluster = cluster.filter(|_| !self.own_gateways.contains_key(&gateway));
                cluster.map(|cluster| (cluster.clone(), gateway))
            }
        };
        // It would drop what this cluster says.
        found.filter(|(cluster, _)| !self.overlaps(cluster))
    }

    /// The alias of a gateway of a cluster, or of the own one for `None`, unless another known gateway has it.
    pub(crate) fn alias(&self, cluster: Option<&ClusterName>, gateway: SocketAddrV4) -> Option<SocketAddrV4> {
        self.gateways.alias(cluster.unwrap_or(&self.own), gateway)
    }

    /// The address that the ids of a gateway's clients have here: its own, or its alias if others have it or had it not long ago. `None` if
    /// the gateway is, or may be, one that is known by another cluster's name. It may be if the handle has a gateway with this address of
    /// which the own cluster has not said which it is.
    pub(crate) fn address_in_ids(
        &self,
        cluster: &ClusterName,
        gateway: SocketAddrV4,
        is_own: bool,
    ) -> Option<SocketAddrV4> {
        if self.overlaps(cluster) || self.gateways.is_same(cluster, gateway) {
            return None;
        }
        let is_announced = self.own_gateways.contains_key(&gateway);
        if is_own && !is_announced {
            return None;
        }
        if is_announced || self.gateways.is_shared(cluster, gateway) {
            self.gateways.alias(cluster, gateway)
        } else {
            Some(gateway)
        }
    }

    /// Gateways of which several have the same alias: they have no qualified ids.
    pub(crate) fn alias_collisions(&self) -> impl Iterator<Item = &[(ClusterName, SocketAddrV4)]> {
        self.gateways.collisions()
    }

    /// The slots that a message goes to. A slot is left out only if it is known that nobody there is meant.
    pub(crate) fn slots(&self, to: Destination<'_>, now_ms: u64) -> Slots {
        match to {
            Destination::One(cluster) => Slots::of(cluster),
            Destination::All | Destination::Names(_) => {
                let own = Slot::of(&self.own);
                if self.knows_all(now_ms) && !self.others.keys().any(|other| Slot::of(other) == own) {
                    Slots::ALL.without(own)
                } else {
                    Slots::ALL
                }
            }
        }
    }

    /// The slots that a message for the clients of names goes to, by what is known of each cluster. Where no cluster is known, there is none as
    /// soon as all are known.
    pub(crate) fn slots_with(
        &self,
        names: &[Name],
        may_have: impl Fn(&ClusterName, &[Name]) -> bool,
        now_ms: u64,
    ) -> Slots {
        let unknown =
            if self.knows_all(now_ms) { Slots::NONE } else { Slots::ALL.without_all(self.known_slots()) };
        let concerned = self.others.keys().filter(|cluster| may_have(cluster, names));
        concerned.fold(unknown, |slots, cluster| slots.with(Slot::of(cluster)))
    }

    /// Whether each cluster that there is has been heard, so that a slot without one is empty.
    fn knows_all(&self, now_ms: u64) -> bool {
        self.connected_ms.is_some_and(|connected_ms| now_ms >= connected_ms + KNOW_MS)
    }

    /// The slots in which there is a cluster.
    pub(crate) fn known_slots(&self) -> Slots {
        self.others.keys().fold(Slots::NONE, |slots, name| slots.with(Slot::of(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ClusterName {
        name.parse().unwrap()
    }

    fn gateway(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([10, 0, 0, 1].into(), port)
    }

    /// Gateways that do not say which they are.
    fn has(ports: &[u16]) -> Presence {
        let listed = |port: &u16| ListedGateway { address: gateway(*port), instance: None };
        Presence { gateways: ports.iter().map(listed).collect(), is_leaving: false }
    }

    fn found(clusters: &Clusters, port: u16) -> Option<ClusterName> {
        clusters.find_gateway(gateway(port)).map(|(cluster, address)| {
            assert_eq!(address, gateway(port));
            cluster
        })
    }

    /// A number for what a process says next.
    fn next() -> u64 {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    fn connected() -> Clusters {
        let mut clusters = Clusters::new(name("own"));
        clusters.set_connected(true, 0);
        clusters
    }

    #[test]
    fn a_gateway_is_found_at_the_cluster_that_says_so_but_never_one_of_the_own_cluster() {
        let mut clusters = connected();
        assert_eq!(clusters.hear(name("a"), 1, next(), has(&[1, 2]), 0), Heard::New);
        clusters.hear(name("b"), 1, next(), has(&[2, 3]), 0);
        clusters.hear(name("own"), 1, next(), has(&[3]), 0);
        // It is remembered when it has stopped.
        clusters.hear(name("own"), 1, next(), has(&[4]), 0);
        let a = Some(name("a"));
        assert_eq!([1, 2, 3, 4, 5].map(|port| found(&clusters, port)), [a.clone(), a, None, None, None]);
        // In the end the address may be another cluster's.
        clusters.hear(name("b"), 1, next(), has(&[2, 3]), FORGET_MS);
        clusters.forget(FORGET_MS);
        assert_eq!(found(&clusters, 3), Some(name("b")));
    }

    #[test]
    fn a_process_that_knows_nothing_reaches_everybody() {
        let clusters = connected();
        assert_eq!(clusters.slots(Destination::All, 0), Slots::ALL);
        assert_eq!(clusters.slots(Destination::Names(&[]), KNOW_MS - 1), Slots::ALL);
    }

    #[test]
    fn the_own_slot_is_left_out_unless_another_cluster_has_it() {
        let mut clusters = connected();
        let own = Slot::of(&name("own"));
        assert_eq!(clusters.slots(Destination::All, KNOW_MS), Slots::ALL.without(own));
        let neighbour = (0..).map(|n| name(&format!("n{n}"))).find(|name| Slot::of(name) == own).unwrap();
        clusters.hear(neighbour, 1, next(), has(&[]), KNOW_MS);
        assert_eq!(clusters.slots(Destination::All, KNOW_MS), Slots::ALL);
    }

    #[test]
    fn a_slot_is_left_out_if_no_cluster_in_it_may_have_the_names() {
        let mut clusters = connected();
        let (a, b) = (name("a"), name("b"));
        assert_ne!(Slot::of(&a), Slot::of(&b));
        let neighbour = (0..).map(|n| name(&format!("n{n}"))).find(|name| Slot::of(name) == Slot::of(&a));
        let neighbour = neighbour.unwrap();
        for cluster in [&a, &b, &neighbour] {
            clusters.hear(cluster.clone(), 1, next(), has(&[]), 0);
        }
        let names = [Name::group(b"room")];
        let slots = |has: &[&ClusterName], now_ms| {
            let may_have = |cluster: &ClusterName, asked: &[Name]| {
                assert_eq!(asked, names);
                has.contains(&cluster)
            };
            clusters.slots_with(&names, may_have, now_ms)
        };
        assert_eq!(slots(&[], KNOW_MS), Slots::NONE);
        assert_eq!(slots(&[&b], KNOW_MS), Slots::of(&b));
        assert_eq!(slots(&[&neighbour], KNOW_MS), Slots::of(&a));
        let empty = Slots::ALL.without(Slot::of(&a)).without(Slot::of(&b));
        assert_eq!(slots(&[], KNOW_MS - 1), empty, "others may come yet");
        assert_eq!(slots(&[&a], KNOW_MS - 1), empty.with(Slot::of(&a)));
    }

    #[test]
    fn a_silent_cluster_is_forgotten_after_a_while_and_not_while_nats_is_away() {
        let mut clusters = connected();
        clusters.hear(name("a"), 1, next(), has(&[1]), 0);
        clusters.set_connected(false, 1_000);
        assert!(clusters.forget(2 * FORGET_MS).is_empty());
        clusters.set_connected(true, 2 * FORGET_MS);
        assert!(clusters.forget(3 * FORGET_MS - 1).is_empty());
        assert_eq!(clusters.others().count(), 1);
        assert_eq!(clusters.forget(3 * FORGET_MS), [name("a")]);
        assert_eq!(found(&clusters, 1), None);
    }

    #[test]
    fn a_cluster_that_leaves_is_forgotten_at_once() {
        let mut clusters = connected();
        clusters.hear(name("a"), 1, next(), has(&[1]), 0);
        clusters.hear(name("a"), 1, next(), Presence { is_leaving: true, ..has(&[1]) }, 1);
        assert_eq!((clusters.others().count(), found(&clusters, 1)), (0, None));
    }

    #[test]
    fn a_cluster_with_a_gateway_of_the_own_cluster_overlaps_while_both_have_it() {
        let mut clusters = connected();
        clusters.hear(name("own"), 1, next(), has(&[1, 2]), 0);
        assert_eq!(clusters.hear(name("renamed"), 2, next(), has(&[1, 2, 9]), 0), Heard::Overlaps);
        assert_eq!(clusters.hear(name("renamed"), 2, next(), has(&[1, 2, 9]), 1), Heard::Known, "once");
        assert!(clusters.overlaps(&name("renamed")));
        assert_eq!(clusters.find_gateway(gateway(9)), None, "it would drop what is said to its clients");
        assert_eq!(clusters.hear(name("a"), 3, next(), has(&[3]), 0), Heard::New);
        clusters.hear(name("own"), 1, next(), has(&[1, 2, 3]), 0);
        assert_eq!(
            clusters.hear(name("a"), 3, next(), has(&[3]), 1),
            Heard::Overlaps,
            "the own cluster was heard later"
        );
        clusters.hear(name("own"), 1, next(), has(&[1, 2]), 0);
        assert_eq!(clusters.overlapping().collect::<Vec<_>>(), [&name("renamed")]);
        // A gateway may move to another cluster.
        clusters.hear(name("own"), 1, next(), has(&[1]), 1);
        clusters.hear(name("renamed"), 2, next(), has(&[2]), 1);
        assert_eq!(clusters.overlapping().count(), 0);
    }

    #[test]
    fn two_clusters_of_one_name_are_found_and_a_change_of_the_announcing_worker_is_none() {
        let mut clusters = connected();
        clusters.hear(name("own"), 1, next(), has(&[1, 2]), 0);
        clusters.hear(name("own"), 2, next(), has(&[2, 3]), 0);
        assert!(!clusters.own_name_is_used_twice(0));
        clusters.hear(name("own"), 3, next(), has(&[7]), 1);
        assert!(clusters.own_name_is_used_twice(1));
        assert!(!clusters.own_name_is_used_twice(OWN_MS));
    }

    #[test]
    fn a_presence_that_is_played_again_is_not_heard() {
        let mut clusters = connected();
        clusters.hear(name("a"), 1, 10, has(&[1]), 0);
        let leaving = || Presence { is_leaving: true, ..has(&[1]) };
        clusters.hear(name("a"), 1, 20, leaving(), 1);
        assert_eq!(clusters.hear(name("a"), 1, 10, has(&[1]), 2), Heard::Replayed);
        assert_eq!(clusters.others().count(), 0);
        assert_eq!(clusters.hear(name("a"), 2, 5, has(&[1]), 3), Heard::New, "it counts for itself");
        assert_eq!(clusters.hear(name("a"), 1, 20, leaving(), 4), Heard::Replayed);
        assert_eq!(clusters.others().count(), 1);
    }

    #[test]
    fn who_knows_clusters_asks_them_at_once_after_a_break() {
        let mut clusters = connected();
        assert_eq!(clusters.all_heard_at_ms(), Some(LISTEN_MS));
        clusters.set_connected(true, 5_000);
        assert_eq!(clusters.all_heard_at_ms(), Some(5_000 + LISTEN_MS));
        clusters.hear(name("a"), 1, next(), has(&[1]), 5_000);
        assert_eq!(clusters.all_heard_at_ms(), Some(LISTEN_MS));
        clusters.set_connected(false, 6_000);
        assert_eq!(clusters.all_heard_at_ms(), None);
    }
}
