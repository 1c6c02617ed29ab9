//! Tests of what is reported and said: one by one, and then three gateways in any order of events.
//!
//! The walk knows who is really in which room. Reports and answers are delayed, lost, or outlive the gateway that sent
//! them; gateways die and come back; each learns of the list at a time of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use gatewayworker_protocol::presence::{
    MAX_CHANGES, MAX_REPORT_BYTES, PresenceAnswer, PresenceChange, PresenceReport,
};

use super::owner::{Owner, OwnerSettings};
use super::ranking::{list_id, owner_and_standby};
use super::reporter::Reporter;

const LINGER_MS: u64 = 2_000;
const LOST_AFTER_MS: u64 = 30_000;
const SETTLE_MS: u64 = 5_000;
const SETTINGS: OwnerSettings =
    OwnerSettings { linger_ms: LINGER_MS, lost_after_ms: LOST_AFTER_MS, settle_ms: SETTLE_MS };
const ROOMS: [&str; 3] = ["room-1", "room-2", "room-3"];
const UIDS: [&str; 4] = ["ann", "bob", "cat", "dan"];

fn address(index: usize) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300 + index as u16)
}

/// The random numbers of a walk.
struct Rng(u64);

impl Rng {
    /// Returns a number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

/// A process of a gateway.
struct Process {
    number: u64,
    reporter: Reporter,
    owner: Owner,
    /// The list that it has seen last.
    list: Vec<SocketAddrV4>,
    /// Its clients, each in one room.
    clients: Vec<(&'static str, &'static str)>,
}

/// Something on its way.
#[derive(Clone)]
enum Mail {
    List(Vec<SocketAddrV4>),
    Report(PresenceReport),
    Answer { from: SocketAddrV4, series: u64, answer: Option<PresenceAnswer> },
}

struct World {
    now_ms: u64,
    rng: Rng,
    gateways: Vec<Option<Process>>,
    /// When it arrives, a number that keeps things apart, for which gateway and which process of it.
    mail: BTreeMap<(u64, u64), (usize, Option<u64>, Mail)>,
    sent: u64,
    processes: u64,
    /// What the rooms have heard last of each uid, when a uid had no client any more, and when it had one again.
    heard: BTreeMap<(&'static str, &'static str), bool>,
    gone_ms: BTreeMap<(&'static str, &'static str), u64>,
    came_ms: BTreeMap<(&'static str, &'static str), u64>,
    loses_mail: bool,
    /// A gateway has died.
    died: bool,
    /// How often a room heard the same twice.
    repeated: u64,
    said: u64,
}

impl World {
    fn new(seed: u64, gateways: usize, loses_mail: bool) -> Self {
        let mut world = Self {
            now_ms: 1_000,
            rng: Rng(seed),
            gateways: (0..gateways).map(|_| None).collect(),
            mail: BTreeMap::new(),
            sent: 0,
            processes: 0,
            heard: BTreeMap::new(),
            gone_ms: BTreeMap::new(),
            came_ms: BTreeMap::new(),
            died: false,
            loses_mail,
            repeated: 0,
            said: 0,
        };
        (0..gateways).for_each(|index| world.start(index));
        world.run_for(20_000);
        world
    }

    fn start(&mut self, index: usize) {
        self.processes += 1;
        self.gateways[index] = Some(Process {
            number: self.processes,
            reporter: Reporter::new(address(index), LINGER_MS, self.processes * 1_000),
            owner: Owner::new(address(index), SETTINGS),
            list: Vec::new(),
            clients: Vec::new(),
        });
        self.publish();
    }

    fn kill(&mut self, index: usize) {
        let Some(process) = self.gateways[index].take() else { return };
        self.died = true;
        process.clients.iter().for_each(|client| self.note_gone(*client));
        self.publish();
    }

    /// Each gateway learns of the list when it does.
    fn publish(&mut self) {
        let list: Vec<_> = (0..self.gateways.len()).filter(|index| self.gateways[*index].is_some()).collect();
        let addresses: Vec<_> = list.iter().map(|index| address(*index)).collect();
        for index in list {
            let number = self.gateways[index].as_ref().map(|process| process.number);
            // In order: a register's lines overtake none.
            let after_ms = self
                .mail
                .iter()
                .filter(|(_, (to, of, mail))| (*to, *of) == (index, number) && matches!(mail, Mail::List(_)));
            let after_ms = after_ms.map(|((at_ms, _), _)| *at_ms).max().unwrap_or_default();
            let delay_ms = self.rng.below(200);
            self.post(after_ms.max(self.now_ms) + delay_ms, index, number, Mail::List(addresses.clone()));
        }
    }

    fn post(&mut self, at_ms: u64, to: usize, process: Option<u64>, mail: Mail) {
        self.sent += 1;
        self.mail.insert((at_ms, self.sent), (to, process, mail));
    }

    fn is_present(&self, client: (&str, &str)) -> bool {
        self.gateways.iter().flatten().any(|process| process.clients.contains(&client))
    }

    fn note_gone(&mut self, client: (&'static str, &'static str)) {
        if !self.is_present(client) {
            self.gone_ms.insert(client, self.now_ms);
        }
    }

    fn enter(&mut self, index: usize, room: &'static str, uid: &'static str) {
        if !self.is_present((room, uid)) {
            self.came_ms.insert((room, uid), self.now_ms);
        }
        if let Some(process) = &mut self.gateways[index] {
            process.clients.push((room, uid));
            process.reporter.enter(room, uid, "{}".into());
        }
    }

    fn exit(&mut self, index: usize, at: usize) {
        let Some(process) = &mut self.gateways[index] else { return };
        if at < process.clients.len() {
            let client = process.clients.swap_remove(at);
            process.reporter.exit(client.0, client.1);
            self.note_gone(client);
        }
    }

    /// Goes on until this time, from one thing that happens to the next.
    fn run_for(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        loop {
            self.work();
            let mail = self.mail.keys().next().map(|(at_ms, _)| *at_ms);
            let deadlines = self
                .gateways
                .iter()
                .flatten()
                .flat_map(|process| [process.reporter.next_deadline(), process.owner.next_deadline()]);
            let next_ms = deadlines.flatten().chain(mail).min().unwrap_or(end_ms).max(self.now_ms + 1);
            if next_ms > end_ms {
                self.now_ms = end_ms;
                return;
            }
            self.now_ms = next_ms;
            while let Some(((at_ms, number), (to, process, mail))) = self.mail.pop_first() {
                if at_ms > self.now_ms {
                    self.mail.insert((at_ms, number), (to, process, mail));
                    break;
                }
                self.deliver(to, process, mail);
            }
        }
    }

    /// Each gateway does what is due.
    fn work(&mut self) {
        for index in 0..self.gateways.len() {
            let now_ms = self.now_ms;
            let Some(process) = &mut self.gateways[index] else { continue };
            process.owner.advance(now_ms);
            process.reporter.advance(now_ms);
            let said: Vec<_> = std::iter::from_fn(|| process.owner.next_said()).collect();
            let reports: Vec<_> = std::iter::from_fn(|| process.reporter.next_report(now_ms)).collect();
            let number = process.number;
            for said in said {
                self.hear(&said.room, &said.uid, said.is_join);
            }
            for (to, report) in reports {
                let to = usize::from(to.port() - 2300);
                let (series, is_lost) = (report.series, self.loses_mail && self.rng.below(20) == 0);
                // Whether a lost report is applied or not, its sender does not know.
                if !is_lost || self.rng.below(2) == 0 {
                    let delay_ms = self.rng.below(if is_lost { 3_000 } else { 100 });
                    self.post(now_ms + delay_ms, to, None, Mail::Report(report));
                }
                if is_lost || self.gateways[to].is_none() {
                    let answer = Mail::Answer { from: address(to), series, answer: None };
                    self.post(now_ms + 1_000, index, Some(number), answer);
                }
            }
        }
    }

    fn deliver(&mut self, to: usize, process: Option<u64>, mail: Mail) {
        let now_ms = self.now_ms;
        let Some(gateway) = &mut self.gateways[to] else {
            // The sender's link breaks.
            if let Mail::Report(report) = mail {
                let sender = usize::from(report.from.port() - 2300);
                let answer = Mail::Answer { from: address(to), series: report.series, answer: None };
                self.post(now_ms + 10, sender, None, answer);
            }
            return;
        };
        if process.is_some_and(|number| number != gateway.number) {
            return;
        }
        match mail {
            Mail::List(list) => {
                gateway.reporter.set_list(&list);
                gateway.owner.set_list(&list, now_ms);
                gateway.list = list;
            }
            Mail::Report(report) => {
                let (from, series) = (report.from, report.series);
                let answer = Some(gateway.owner.receive(report, now_ms));
                let delay_ms = self.rng.below(100);
                let answer = Mail::Answer { from: address(to), series, answer };
                self.post(now_ms + delay_ms, usize::from(from.port() - 2300), None, answer);
            }
            Mail::Answer { from, series, answer } => gateway.reporter.answered(from, series, answer, now_ms),
        }
    }

    fn hear(&mut self, room: &str, uid: &str, is_join: bool) {
        let room = *ROOMS.iter().find(|name| **name == room).unwrap();
        let uid = *UIDS.iter().find(|name| **name == uid).unwrap();
        self.said += 1;
        if !is_join && !self.died && !self.loses_mail {
            let gone_ms = self.gone_ms.get(&(room, uid)).copied().unwrap_or_default();
            assert!(gone_ms + LINGER_MS <= self.now_ms, "{uid} left {room} too soon");
            // A client that came a moment ago may not be reported yet.
            let came_ms = self.came_ms.get(&(room, uid)).copied().unwrap_or_default();
            let is_back = self.is_present((room, uid)) && came_ms + 500 < self.now_ms;
            assert!(!is_back, "{uid} left {room} and is there");
        }
        if self.heard.insert((room, uid), is_join).unwrap_or(false) == is_join {
            self.repeated += 1;
        }
    }

    /// Waits until everything is known everywhere, and compares it with the truth.
    fn check(&mut self) {
        self.check_owners();
        for room in ROOMS {
            for uid in UIDS {
                let heard = self.heard.get(&(room, uid)).copied().unwrap_or(false);
                assert_eq!(heard, self.is_present((room, uid)), "what {room} has heard of {uid}");
            }
        }
    }

    /// The same for what the owners know, whatever the rooms have heard.
    fn check_owners(&mut self) {
        self.loses_mail = false;
        self.run_for(LOST_AFTER_MS + 3 * SETTLE_MS + 2 * LINGER_MS);
        let mut present = BTreeSet::new();
        let mut owned = BTreeSet::new();
        for process in self.gateways.iter().flatten() {
            present.extend(process.reporter.clients().into_keys());
            owned.extend(process.owner.owned());
            let own = process.list.iter().find(|gateway| process.owner.is_of(**gateway));
            for (room, uid) in process.owner.owned() {
                let owner = owner_and_standby(&room, &process.list)[0];
                assert_eq!(owner.as_ref(), own, "{room} with {uid}");
            }
        }
        assert_eq!(owned, present);
    }
}

/// A walk of so many steps.
fn walk(seed: u64, steps: u64, gateways_die: bool, loses_mail: bool) -> World {
    let mut world = World::new(seed, 3, loses_mail);
    // One at a time: what two know dies with both of them.
    let mut calm_until_ms = 0;
    for _ in 0..steps {
        let index = world.rng.below(3) as usize;
        match world.rng.below(20) {
            0 if gateways_die && calm_until_ms <= world.now_ms => {
                if (0..3).all(|other| world.gateways[other].is_some()) {
                    world.kill(index);
                } else {
                    let dead = (0..3).find(|other| world.gateways[*other].is_none());
                    dead.into_iter().for_each(|dead| world.start(dead));
                }
                calm_until_ms = world.now_ms + LOST_AFTER_MS + SETTLE_MS + LINGER_MS + 10_000;
            }
            1..=9 => {
                let (room, uid) = (world.rng.one_of(&ROOMS), world.rng.one_of(&UIDS));
                world.enter(index, room, uid);
            }
            _ => {
                let at = world.rng.below(6) as usize;
                world.exit(index, at);
            }
        }
        let pause_ms = world.rng.below(1_500);
        world.run_for(pause_ms);
    }
    world
}

#[test]
fn rooms_hear_join_and_leave_in_turns_while_gateways_stay() {
    let mut said = 0;
    for seed in 0..60 {
        let mut world = walk(seed, 150, false, false);
        world.check();
        assert_eq!(world.repeated, 0, "with the seed {seed}");
        said += world.said;
    }
    assert!(said > 1_000, "the walk says too little to show anything: {said}");
}

#[test]
fn after_lost_reports_the_owners_know_the_truth() {
    for seed in 0..60 {
        walk(seed, 150, false, true).check();
    }
}

#[test]
fn after_deaths_the_owners_know_the_truth_and_the_rooms_have_heard_it() {
    for seed in 0..60 {
        walk(seed, 400, true, false).check();
    }
}

/// What is said then may lack a join or a leave: the report that was lost, and its gateway.
#[test]
fn after_deaths_and_lost_reports_the_owners_know_the_truth() {
    for seed in 100..160 {
        walk(seed, 400, true, true).check_owners();
    }
}

/// One gateway alone with what is in its rooms: carries its reports to its own owner until the owner has said so many
/// joins. Returns when, in ms after the list.
fn joins_said_after_ms(reporter: &mut Reporter, owner: &mut Owner, joins: u64) -> u64 {
    reporter.set_list(&[address(0)]);
    owner.set_list(&[address(0)], 0);
    let mut now_ms = 0;
    while now_ms <= 2 * SETTLE_MS {
        if let Some((to, report)) = reporter.next_report(now_ms) {
            let (series, answer) = (report.series, owner.receive(report, now_ms));
            reporter.answered(to, series, Some(answer), now_ms);
        }
        if owner.counts().joins == joins {
            break;
        }
        now_ms += 1;
    }
    now_ms
}

#[test]
fn more_uids_than_a_report_names_are_settled_at_the_end_of_the_series() {
    let many = (MAX_CHANGES + 1, 0);
    let long = (200, MAX_REPORT_BYTES / 100);
    for (uids, data_bytes) in [many, long] {
        let mut reporter = Reporter::new(address(0), LINGER_MS, 0);
        let mut owner = Owner::new(address(0), SETTINGS);
        let data = format!("{{\"name\":\"{}\"}}", "n".repeat(data_bytes));
        (0..uids).for_each(|uid| reporter.enter("room-1", &format!("uid-{uid}"), data.as_str().into()));
        let said_ms = joins_said_after_ms(&mut reporter, &mut owner, uids as u64);
        assert!(said_ms < SETTLE_MS, "{uids} uids with {data_bytes} bytes each: after {said_ms} ms");
    }
}

#[test]
fn a_uid_that_comes_back_and_leaves_again_is_remembered_for_the_whole_time() {
    let mut reporter = Reporter::new(address(0), LINGER_MS, 0);
    let mut owner = Owner::new(address(0), SETTINGS);
    reporter.enter("room-1", "ann", "{}".into());
    let said_ms = joins_said_after_ms(&mut reporter, &mut owner, 1);
    let mut report = |reporter: &mut Reporter, now_ms| {
        while let Some((to, report)) = reporter.next_report(now_ms) {
            let (series, answer) = (report.series, owner.receive(report, now_ms));
            reporter.answered(to, series, Some(answer), now_ms);
        }
    };
    let left_ms = said_ms + 1_000;
    reporter.exit("room-1", "ann");
    report(&mut reporter, left_ms);
    assert_eq!(reporter.next_deadline(), Some(left_ms + LINGER_MS));
    reporter.enter("room-1", "ann", "{}".into());
    report(&mut reporter, left_ms + 1_000);
    reporter.exit("room-1", "ann");
    report(&mut reporter, left_ms + 1_500);
    assert_eq!(reporter.next_deadline(), Some(left_ms + 1_500 + LINGER_MS));
}

#[test]
fn a_report_of_an_older_series_changes_nothing() {
    let report = |series, data: Option<&str>| PresenceReport {
        from: address(0),
        list: list_id(&[address(0)]),
        series,
        begins: true,
        is_complete: true,
        changes: vec![PresenceChange {
            room: "room-1".into(),
            uid: "ann".into(),
            data: data.map(String::from),
            is_known: false,
        }],
    };
    let mut owner = Owner::new(address(0), SETTINGS);
    owner.set_list(&[address(0)], 0);
    assert_eq!(owner.receive(report(2, Some("{}")), 1), PresenceAnswer::Applied);
    assert_eq!(owner.receive(report(1, None), 2), PresenceAnswer::UnknownSeries);
    owner.advance(2 + LINGER_MS);
    assert_eq!(owner.owned().len(), 1);
    assert_eq!(owner.counts().leaves, 0);
}

#[test]
fn a_process_whose_clock_went_back_finds_a_higher_series() {
    const YEAR_US: u64 = 365 * 24 * 3_600 * 1_000_000;
    let mut owner = Owner::new(address(0), SETTINGS);
    let mut before = Reporter::new(address(0), LINGER_MS, 2 * YEAR_US);
    before.enter("room-1", "ann", "{}".into());
    joins_said_after_ms(&mut before, &mut owner, 1);
    let mut after = Reporter::new(address(0), LINGER_MS, YEAR_US);
    after.enter("room-1", "bob", "{}".into());
    let said_ms = joins_said_after_ms(&mut after, &mut owner, 2);
    assert!(said_ms < 2 * SETTLE_MS, "after {said_ms} ms");
}
