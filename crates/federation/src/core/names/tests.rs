//! The announcing workers of a cluster and two processes that hear them, on simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use bytes::Bytes;
use gatewayworker_client::ClusterName;
use gatewayworker_client::federation::NamesChange;
use gatewayworker_protocol::interest::{Name, NameFilter};

use super::super::slots::{Slot, Slots};
use super::*;
use gatewayworker_protocol::hash::hash;

const STEP_MS: u64 = 5;
const MAX_DELAY_MS: u64 = 50;

/// Changes are gathered for 20 ms, and the simulation looks every 5.
const WAY_MS: u64 = 20 + MAX_DELAY_MS + 3 * STEP_MS;

fn cluster() -> ClusterName {
    "a".parse().unwrap()
}

fn gateway(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new([10, 0, 0, 1].into(), port)
}

fn name(number: u64) -> Name {
    Name::uid(&number.to_be_bytes())
}

/// A gateway, which announces a name before it executes its first join.
struct Gateway {
    filter: NameFilter,
    members: BTreeMap<u64, u64>,
}

/// The gateways of the cluster, and what a worker that has just begun has not read.
#[derive(Default)]
struct Gateways {
    gateways: BTreeMap<SocketAddrV4, Gateway>,
    names: Vec<(SocketAddrV4, Vec<Name>)>,
    replaced: BTreeSet<SocketAddrV4>,
    is_untrusted: bool,
}

impl Gateways {
    fn with(ports: impl IntoIterator<Item = u16>) -> Self {
        let mut gateways = Self::default();
        ports.into_iter().for_each(|port| gateways.add(gateway(port)));
        gateways
    }

    fn add(&mut self, address: SocketAddrV4) {
        self.gateways.insert(address, Gateway { filter: NameFilter::new(0), members: BTreeMap::new() });
        self.replaced.insert(address);
    }

    fn join(&mut self, address: SocketAddrV4, number: u64, now_ms: u64) {
        let Some(gateway) = self.gateways.get_mut(&address) else { return };
        if !gateway.filter.may_have(name(number)) {
            gateway.filter.insert(name(number));
            self.names.push((address, vec![name(number)]));
        }
        gateway.members.entry(number).or_insert(now_ms);
    }

    fn leave(&mut self, address: SocketAddrV4, number: u64) {
        if let Some(gateway) = self.gateways.get_mut(&address) {
            gateway.members.remove(&number);
        }
    }

    fn remake(&mut self, address: SocketAddrV4) {
        let Some(gateway) = self.gateways.get_mut(&address) else { return };
        gateway.filter = NameFilter::new(0);
        gateway.members.keys().for_each(|number| gateway.filter.insert(name(*number)));
        self.replaced.insert(address);
    }

    /// Since when each name has had a member.
    fn members(&self) -> BTreeMap<u64, u64> {
        let mut members = BTreeMap::new();
        for (number, since_ms) in self.gateways.values().flat_map(|gateway| &gateway.members) {
            let earliest = members.entry(*number).or_insert(*since_ms);
            *earliest = (*earliest).min(*since_ms);
        }
        members
    }
}

impl NamesSource for Gateways {
    fn take(&mut self) -> NamesChange {
        let replaced = std::mem::take(&mut self.replaced);
        let filters = self.filters().into_iter().filter(|(address, _)| replaced.contains(address)).collect();
        NamesChange::new(self.gateways.keys().copied().collect(), !self.is_untrusted)
            .with_names(std::mem::take(&mut self.names))
            .with_filters(filters)
    }

    fn filters(&mut self) -> Vec<(SocketAddrV4, Bytes)> {
        self.gateways.iter().map(|(address, gateway)| (*address, gateway.filter.to_bytes())).collect()
    }
}

/// An announcing worker, as others hear it.
struct Worker {
    process: u64,
    announcer: Announcer,
    said: u64,
}

struct Hearer {
    known: KnownNames,
    /// When something comes, and what.
    queue: Vec<(u64, Said, NamesUpdate)>,
    last_ms: u64,
    kept: KeptCalls,
    /// What was sent to names that had a member, and has left the cluster out: when, and the call.
    missed: Vec<(u64, Bytes)>,
    sent: u64,
}

impl Hearer {
    fn new() -> Self {
        Self {
            known: KnownNames::default(),
            queue: Vec::new(),
            last_ms: 0,
            kept: KeptCalls::default(),
            missed: Vec::new(),
            sent: 0,
        }
    }
}

struct World {
    now_ms: u64,
    random: u64,
    gateways: Gateways,
    worker: Option<Worker>,
    processes: u64,
    hearers: Vec<Hearer>,
    wants: Vec<u64>,
    /// One of so many messages is lost.
    loss: Option<u64>,
    /// The most bytes of a message.
    max_len: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            now_ms: 100_000,
            random: seed,
            gateways: Gateways::with(1..=3),
            worker: None,
            processes: 0,
            hearers: vec![Hearer::new(), Hearer::new()],
            wants: Vec::new(),
            loss: None,
            max_len: MAX_PART,
        };
        world.start_worker();
        world
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random += 1;
        hash(&[&self.random.to_be_bytes()]) % below
    }

    fn start_worker(&mut self) {
        self.processes += 1;
        let mut announcer = Announcer::default();
        assert_eq!(announcer.set_announcing(true, self.now_ms), None);
        self.worker = Some(Worker { process: self.processes, announcer, said: 0 });
        // It links anew.
        self.gateways.names.clear();
        self.gateways.replaced = self.gateways.gateways.keys().copied().collect();
    }

    /// The worker stops, and says so.
    fn stop_worker(&mut self) {
        let Some(mut worker) = self.worker.take() else { return };
        let last = worker.announcer.set_announcing(false, self.now_ms);
        self.publish(&mut worker, Vec::from_iter(last));
    }

    fn publish(&mut self, worker: &mut Worker, updates: Vec<NamesUpdate>) {
        for update in updates {
            worker.said += 1;
            let said = Said { process: worker.process, number: worker.said, unix_ms: self.now_ms };
            for hearer in 0..self.hearers.len() {
                if self.loss.is_some_and(|loss| self.random(loss) == 0) {
                    continue;
                }
                let at_ms = self.now_ms + self.random(MAX_DELAY_MS);
                let hearer = &mut self.hearers[hearer];
                hearer.last_ms = hearer.last_ms.max(at_ms);
                hearer.queue.push((hearer.last_ms, said, update.clone()));
            }
        }
    }

    fn step(&mut self) {
        self.now_ms += STEP_MS;
        if let Some(mut worker) = self.worker.take() {
            let now_ms = self.now_ms;
            if self.wants.iter().any(|at_ms| *at_ms <= now_ms) {
                self.wants.retain(|at_ms| *at_ms > now_ms);
                worker.announcer.want();
            }
            if !self.gateways.names.is_empty() || !self.gateways.replaced.is_empty() {
                worker.announcer.note_change();
            }
            let updates = worker.announcer.advance(&mut self.gateways, self.max_len, now_ms);
            self.publish(&mut worker, updates);
            self.worker = Some(worker);
        }
        for hearer in &mut self.hearers {
            let (due, later) = hearer.queue.drain(..).partition(|(at_ms, ..)| *at_ms <= self.now_ms);
            hearer.queue = later;
            for (_, said, update) in due {
                match hearer.known.hear(&cluster(), said, update, true, self.now_ms) {
                    Heard::Taken { news, asks } => {
                        if asks {
                            self.wants.push(self.now_ms + MAX_DELAY_MS);
                        }
                        let Hearer { known, kept, missed, .. } = hearer;
                        let may_have =
                            |names: &[Name]| known.may_have_now(&cluster(), &news, names, self.now_ms);
                        let late = kept.take(Slot::of(&cluster()), &news, may_have, self.now_ms);
                        missed.retain(|(_, call)| !late.contains(call));
                    }
                    Heard::Replayed => panic!("nothing was said twice"),
                }
            }
        }
    }

    fn run(&mut self, ms: u64) {
        (0..ms / STEP_MS).for_each(|_| self.step());
    }

    fn may_have(&self, hearer: usize, number: u64) -> bool {
        self.hearers[hearer].known.may_have(&cluster(), &[name(number)], self.now_ms)
    }

    /// A name that has a member for longer is found by everybody.
    fn check(&self, window_ms: u64) {
        for (number, since_ms) in self.gateways.members() {
            for hearer in 0..self.hearers.len() {
                let for_ms = self.now_ms - since_ms;
                assert!(
                    for_ms <= window_ms || self.may_have(hearer, number),
                    "{number} has a member for {for_ms} ms, and process {hearer} leaves the cluster out"
                );
            }
        }
    }

    /// A process sends to a name.
    fn send(&mut self, hearer: usize, number: u64) {
        let has_member = self.gateways.members().contains_key(&number);
        let may_have = self.may_have(hearer, number);
        let (now_ms, hearer) = (self.now_ms, &mut self.hearers[hearer]);
        if !may_have {
            hearer.sent += 1;
            let call = Bytes::copy_from_slice(&hearer.sent.to_be_bytes());
            hearer.kept.keep(&[name(number)], call.clone(), Slots::of(&cluster()), now_ms);
            if has_member {
                hearer.missed.push((now_ms, call));
            }
        }
    }

    /// Something that happens in a cluster.
    fn happen(&mut self, is_rough: bool) {
        let (address, number) = (gateway(self.random(4) as u16), self.random(40));
        match self.random(if is_rough { 1_004 } else { 1_000 }) {
            0..300 => self.gateways.join(address, number, self.now_ms),
            300..500 => self.gateways.leave(address, number),
            500..505 => self.gateways.remake(address),
            505..507 => drop(self.gateways.gateways.remove(&address)),
            507..510 if !self.gateways.gateways.contains_key(&address) => self.gateways.add(address),
            510..512 => self.gateways.is_untrusted = !self.gateways.is_untrusted,
            512..513 => {
                self.stop_worker();
                self.start_worker();
            }
            1_000..1_002 => self.worker = None,
            1_002.. if self.worker.is_none() => self.start_worker(),
            _ => {}
        }
    }
}

#[test]
fn a_cluster_is_left_out_by_its_summary_and_not_before_one_is_there() {
    let mut world = World::new(1);
    world.gateways.join(gateway(1), 7, world.now_ms);
    world.step();
    assert!(world.may_have(0, 8), "nothing is known yet");
    world.run(1_000);
    assert!(world.may_have(0, 7));
    assert!(!world.may_have(0, 8));
    world.gateways.join(gateway(2), 8, world.now_ms);
    world.run(WAY_MS);
    assert!(world.may_have(0, 8) && world.may_have(1, 8));
}

#[test]
fn a_first_join_is_said_at_once_and_those_behind_it_together() {
    let mut world = World::new(1);
    world.run(1_000);
    let mut said = BTreeMap::new();
    for number in 0..100 {
        world.gateways.join(gateway(1), number, world.now_ms);
        world.step();
        for (_, _, update) in &world.hearers[0].queue {
            if let Step::Names(names) = &update.step {
                said.entry(update.number).or_insert((world.now_ms, names[0].1.len()));
            }
        }
    }
    let first = said.values().next().unwrap();
    assert_eq!(first.1, 1, "at once");
    assert!((20..=26).contains(&said.len()), "every 20 ms for half a second: {}", said.len());
}

#[test]
fn a_silent_cluster_and_one_that_is_not_complete_may_have_everything() {
    let mut world = World::new(1);
    world.run(1_000);
    assert!(!world.may_have(0, 1));
    world.gateways.is_untrusted = true;
    world.run(2 * WAY_MS + 100);
    assert!(world.may_have(0, 1), "a gateway does not say what it has");
    world.gateways.is_untrusted = false;
    world.run(2 * WAY_MS + 100);
    assert!(!world.may_have(0, 1), "everything else is still known");
    world.worker = None;
    world.run(FRESH_MS + 500);
    assert!(world.may_have(0, 1));
}

#[test]
fn a_worker_that_stops_is_not_trusted_any_more_as_soon_as_it_is_heard() {
    let mut world = World::new(1);
    world.run(1_000);
    world.stop_worker();
    world.run(MAX_DELAY_MS);
    assert!(world.may_have(0, 1));
}

#[test]
fn names_that_are_gone_are_not_found_when_their_gateway_has_told_so_or_is_gone() {
    let mut world = World::new(1);
    world.gateways.join(gateway(1), 7, world.now_ms);
    world.gateways.join(gateway(2), 8, world.now_ms);
    world.run(1_000);
    world.gateways.leave(gateway(1), 7);
    world.gateways.remake(gateway(1));
    world.gateways.gateways.remove(&gateway(2));
    world.run(500);
    assert!(!world.may_have(0, 7) && !world.may_have(0, 8));
}

#[test]
fn a_filter_comes_in_as_many_parts_as_fit_a_message() {
    let mut world = World::new(1);
    world.max_len = 100;
    (0..300).for_each(|number| world.gateways.join(gateway(1), number, 0));
    world.run(1_000);
    assert!((0..300).all(|number| world.may_have(0, number)));
    assert!(!world.may_have(0, 300));
    // Changes, too.
    (300..600).for_each(|number| world.gateways.join(gateway(1), number, 0));
    world.run(500);
    assert!((0..600).all(|number| world.may_have(0, number)));
    assert!(!world.may_have(0, 600));
}

#[test]
fn everything_is_said_for_all_that_ask_within_a_second_and_to_nobody_else() {
    let mut world = World::new(1);
    world.run(3_000);
    let number = world.worker.as_ref().unwrap().said;
    world.run(10_000);
    let said = world.worker.as_ref().unwrap().said - number;
    assert!((19..=21).contains(&said), "it is there, twice a second: {said}");
    // Processes that have lost everything ask each second.
    for _ in 0..5 {
        world.hearers.iter_mut().for_each(|hearer| hearer.known.connection_changed());
        assert!(world.may_have(0, 1));
        world.run(2_000);
        assert!(!world.may_have(0, 1) && !world.may_have(1, 1));
    }
}

#[test]
fn what_has_left_a_cluster_out_goes_there_if_its_names_come_or_are_not_known_any_more() {
    type Turn = fn(&mut World);
    let turns: [(Turn, bool); 7] = [
        (|world| world.gateways.join(gateway(1), 7, 0), true),
        (|world| world.gateways.join(gateway(1), 8, 0), false),
        (|world| world.gateways.remake(gateway(1)), true),
        (|world| world.gateways.is_untrusted = true, true),
        (World::stop_worker, true),
        (
            |world| {
                world.stop_worker();
                world.hearers.iter_mut().for_each(|hearer| hearer.queue.clear());
                world.start_worker();
            },
            true,
        ),
        (|_| {}, false),
    ];
    for (case, (turn, is_late)) in turns.into_iter().enumerate() {
        let mut world = World::new(1);
        world.run(1_000);
        // A member of which nobody was told.
        world.gateways.gateways.get_mut(&gateway(1)).unwrap().members.insert(7, 0);
        world.send(0, 7);
        assert_eq!(world.hearers[0].missed.len(), 1, "{case}");
        turn(&mut world);
        world.run(KEPT_MS - STEP_MS);
        assert_eq!(world.hearers[0].missed.is_empty(), is_late, "{case}");
    }
}

#[test]
fn what_has_left_a_cluster_out_goes_there_if_its_names_are_in_the_filter_by_the_bits_of_another() {
    let mut world = World::new(1);
    (0..4_000).for_each(|number| world.gateways.join(gateway(1), number, 0));
    world.run(1_000);
    let before = &world.gateways.gateways[&gateway(1)].filter;
    let (new, other) = (4_000..8_000)
        .find_map(|new| {
            let mut after = before.clone();
            after.insert(name(new));
            let is_other =
                |other: &u64| *other != new && !before.may_have(name(*other)) && after.may_have(name(*other));
            Some((new, (8_000..9_000).find(is_other)?)).filter(|_| !before.may_have(name(new)))
        })
        .unwrap();
    // Its gateway has not told of it, as its filter had it already.
    world.gateways.gateways.get_mut(&gateway(1)).unwrap().members.insert(other, 0);
    world.send(0, other);
    assert_eq!(world.hearers[0].missed.len(), 1);
    world.gateways.join(gateway(1), new, 0);
    world.run(KEPT_MS - STEP_MS);
    assert!(world.hearers[0].missed.is_empty());
}

#[test]
fn what_is_played_again_is_not_heard() {
    let mut known = KnownNames::default();
    let alive = |number| NamesUpdate { number, is_complete: true, step: Step::Alive };
    let taken = |asks| Heard::Taken { news: News::None, asks };
    let said = |process, number, unix_ms| Said { process, number, unix_ms };
    assert_eq!(known.hear(&cluster(), said(1, 5, 10), alive(1), true, 0), taken(true));
    assert_eq!(known.hear(&cluster(), said(1, 5, 10), alive(1), true, 0), Heard::Replayed);
    assert_eq!(known.hear(&cluster(), said(2, 1, 20), alive(1), true, 1), taken(false), "it has asked");
    assert_eq!(known.hear(&cluster(), said(1, 6, 15), alive(1), true, 1), Heard::Replayed);
    assert_eq!(known.hear(&cluster(), said(2, 2, 21), alive(1), true, 1_000), taken(true));
    assert_eq!(
        known.hear(&cluster(), said(2, 3, 22), alive(1), false, 9_000),
        taken(false),
        "it sends to no name"
    );
}

#[test]
fn another_announcing_worker_counts_for_itself() {
    let mut known = KnownNames::default();
    let part = FilterPart { gateway: gateway(1), len: 4096, offset: 0, bits: vec![0; 4096].into() };
    let said =
        [(1, Step::Snapshot { gateways: 1, part }, false), (1, Step::Alive, false), (2, Step::Alive, true)];
    for (number, (process, step, may_have)) in (1..).zip(said) {
        let update = NamesUpdate { number: 1, is_complete: true, step };
        known.hear(&cluster(), Said { process, number, unix_ms: 1 }, update, true, 0);
        assert_eq!(known.may_have(&cluster(), &[name(1)], 0), may_have);
    }
}

#[test]
fn a_filter_that_makes_no_sense_is_no_summary() {
    let part = |len, offset, bits: usize| FilterPart {
        gateway: gateway(1),
        len,
        offset,
        bits: vec![0; bits].into(),
    };
    for parts in [
        vec![part(4096, 0, 4097)],
        vec![part(4096, 64, 4096)],
        vec![part(4096, 0, 2048), part(4096, 0, 2048)],
        vec![part(4096, 0, 2048), part(8192, 2048, 2048)],
        vec![part(4096, 0, 0)],
        vec![part(u32::MAX, 0, 4096)],
        vec![part(100, 0, 100)],
    ] {
        let mut known = KnownNames::default();
        for (number, part) in (1..).zip(parts) {
            let step = Step::Snapshot { gateways: 1, part };
            let update = NamesUpdate { number: 1, is_complete: true, step };
            known.hear(&cluster(), Said { process: 1, number, unix_ms: 1 }, update, true, 0);
        }
        assert!(known.may_have(&cluster(), &[name(1)], 0));
    }
}

/// Joins, leaves, filters made anew, gateways and announcing workers that come and go; nothing is lost.
#[test]
fn a_name_is_found_by_all_within_the_way_of_a_change() {
    for seed in 0..5 {
        let mut world = World::new(seed * 1_000_000);
        let mut left_out = 0;
        for _ in 0..4_000 {
            world.happen(false);
            world.step();
            world.check(WAY_MS);
            let (hearer, number) = (world.random(2) as usize, world.random(40));
            world.send(hearer, number);
            let now_ms = world.now_ms;
            for hearer in &world.hearers {
                assert!(
                    hearer.missed.iter().all(|(at_ms, _)| now_ms <= at_ms + WAY_MS),
                    "a member gets it late"
                );
            }
            left_out += usize::from(!world.may_have(0, 1_000));
        }
        assert!(left_out > 400, "the summary is of use: {left_out} of 4000");
    }
}

/// The same, where messages are lost and announcing workers vanish without a word.
#[test]
fn a_name_is_found_by_all_while_a_summary_is_fresh_though_changes_are_lost() {
    for seed in 0..5 {
        let mut world = World::new(seed * 1_000_000 + 7);
        world.loss = Some(10);
        let mut left_out = 0;
        for _ in 0..4_000 {
            world.happen(true);
            world.step();
            world.check(FRESH_MS + WAY_MS);
            left_out += usize::from(!world.may_have(0, 1_000));
        }
        assert!(left_out > 50, "the summary is of use: {left_out} of 4000");
    }
}
