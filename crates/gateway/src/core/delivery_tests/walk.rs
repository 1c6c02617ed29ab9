//! Random walks: workers that join, drain, crash and fall silent under clients that come, speak and leave.
//!
//! The workers are a model: each has a queue of the events that it was given and a book of its clients.
//! It is checked that each client's events are handled in their order and at least once, that whatever
//! is handled twice is marked, that no two workers have events of one client, that a worker hears of a
//! client before its events, and that nothing is left in any book at the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use gatewayworker_protocol::frame::FLAG_REDELIVERED;
use gatewayworker_protocol::{
    CloseReason, Command, EventContext, FLAG_EVENT_CONTEXT, FLAG_TRACE_CONTEXT, Features, Frame,
    TraceContext, code,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::core::effects::{Effect, Notice};
use crate::core::event_spans::SpanSettings;
use crate::core::events::Route;
use crate::core::ports::Directory;
use crate::core::table::Key;
use crate::core::testing::{self, MemoryDirectory, MemoryLink, MemoryPorts};
use crate::core::worker_link::{Gone, Peer, WorkerLink};
use crate::core::{Settings, Shard};

/// An event as a worker has it.
#[derive(Debug, Clone)]
struct Given {
    id: u32,
    cmd: u8,
    is_marked: bool,
    body: Vec<u8>,
}

/// What tells an event from others: its client, its command, and its body.
type EventKey = (u32, u8, Vec<u8>);

/// A worker.
#[derive(Debug)]
struct Worker {
    link: Arc<WorkerLink<MemoryLink>>,
    queue: VecDeque<Given>,
    /// Handled, and DONE is not said.
    handled: Vec<u32>,
    book: BTreeSet<u32>,
    is_draining: bool,
    /// The gateway has let it go.
    is_drained: bool,
    /// Its link has failed.
    has_failed: bool,
}

/// What the application has seen of a client.
#[derive(Debug, Default)]
struct Seen {
    is_connected: bool,
    messages: u32,
    closes: u32,
}

struct Walk {
    shards: [Shard<MemoryPorts>; 2],
    workers: MemoryDirectory,
    alive: Vec<Worker>,
    clients: BTreeMap<u32, (Key, u32)>,
    /// How many messages of clients that left were accepted; `None` where what waits may be dropped.
    left: BTreeMap<u32, Option<u32>>,
    seen: BTreeMap<u32, Seen>,
    /// Clients of which an event was dropped, as it ended one worker after another.
    undeliverable: BTreeSet<u32>,
    /// The events that came with a number, by their numbers,
    numbered: BTreeMap<u64, EventKey>,
    /// and their numbers.
    numbers: BTreeMap<EventKey, u64>,
    rng: SmallRng,
    next_id: u32,
    next_epoch: u32,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let (shards, workers) = testing::two_shards();
        let shards = shards.map(|shard| {
            let mut settings = Settings { ..shard.settings.clone() };
            settings.delivery.max_deliveries = if seed.is_multiple_of(2) { u8::MAX } else { 2 };
            settings.delivery.window_events = 6;
            let sample = [0.0, 0.5, 1.0][(seed % 3) as usize];
            Shard::new(settings, workers.clone()).with_spans(SpanSettings { sample, seed })
        });
        Self {
            shards,
            workers,
            alive: Vec::new(),
            clients: BTreeMap::new(),
            left: BTreeMap::new(),
            seen: BTreeMap::new(),
            undeliverable: BTreeSet::new(),
            numbered: BTreeMap::new(),
            numbers: BTreeMap::new(),
            rng: SmallRng::seed_from_u64(seed),
            next_id: 1,
            next_epoch: 1,
        }
    }

    fn shard(&mut self, id: u32) -> &mut Shard<MemoryPorts> {
        &mut self.shards[id as usize % 2]
    }

    fn any_client(&mut self) -> Option<u32> {
        let at = self.rng.random_range(0..self.clients.len().max(1));
        self.clients.keys().nth(at).copied()
    }

    fn any_worker(&mut self) -> Option<usize> {
        let len = self.alive.len();
        (len > 0).then(|| self.rng.random_range(0..len))
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..8 => self.connect(),
            8..35 => self.say(),
            35..60 => self.handle(),
            60..75 => self.tell_done(),
            75..80 => self.leave(),
            80..86 => self.join(),
            86..90 => self.drain(),
            90..94 => self.fail(),
            94..98 => self.end(),
            _ => self.write_session(),
        }
        self.settle();
    }

    fn connect(&mut self) {
        let Some(link) = Directory::choose(&self.workers, None, false) else { return };
        let id = self.next_id;
        self.next_id += 1;
        let handshake = self.rng.random_bool(0.5).then_some(&b"handshake"[..]);
        let (key, _) = testing::client(self.shard(id), id, &link, testing::policy());
        self.shard(id).tell_connected(key, handshake, 0);
        self.clients.insert(id, (key, 0));
    }

    fn say(&mut self) {
        let Some(id) = self.any_client() else { return };
        let (key, said) = self.clients[&id];
        // One that is parsed already when its client has to wait is taken, too.
        let is_parsed = self.rng.random_bool(0.1);
        if matches!(self.shard(id).route(key), Route::Open) || is_parsed {
            self.shard(id).tell_message(key, false, &said.to_be_bytes()).unwrap();
            self.clients.insert(id, (key, said + 1));
        }
    }

    fn leave(&mut self) {
        let Some(id) = self.any_client() else { return };
        let Some((key, said)) = self.clients.remove(&id) else { return };
        let is_refused = self.rng.random_bool(0.3);
        let reason = if is_refused { CloseReason::Refused } else { CloseReason::ClientLeft };
        self.left.insert(id, (!is_refused).then_some(said));
        self.shard(id).close(key, reason, None);
    }

    fn write_session(&mut self) {
        let Some(id) = self.any_client() else { return };
        let session = vec![b's'; self.rng.random_range(0..40)];
        self.shard(id).set_session(id, &session);
    }

    fn join(&mut self) {
        if self.alive.len() >= 4 {
            return;
        }
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        let key = format!("worker {}", self.rng.random_range(0..6));
        if self.alive.iter().any(|worker| **worker.link.key() == *key) {
            return;
        }
        let features = Features {
            trace_context: self.rng.random_bool(0.7),
            event_context: self.rng.random_bool(0.5),
            ..Features::ALL
        };
        let peer = Peer { features, epoch, process: Some(epoch.into()) };
        let link = self.workers.join(&key, 400, peer);
        self.alive.push(Worker {
            link,
            queue: VecDeque::new(),
            handled: Vec::new(),
            book: BTreeSet::new(),
            is_draining: false,
            is_drained: false,
            has_failed: false,
        });
    }

    /// A worker says that it drains, and returns what it has not begun: in any order of the two.
    fn drain(&mut self) {
        let Some(at) = self.any_worker() else { return };
        let worker = &mut self.alive[at];
        if std::mem::replace(&mut worker.is_draining, true) {
            return;
        }
        let link = worker.link.clone();
        self.read(at);
        let is_heard_first = self.rng.random_bool(0.5);
        if is_heard_first {
            self.hear_drain(&link);
        }
        self.give_back(at);
        if !is_heard_first {
            self.settle();
            self.hear_drain(&link);
        }
    }

    fn hear_drain(&mut self, link: &Arc<WorkerLink<MemoryLink>>) {
        if self.workers.drain(link, 2) {
            let first = usize::from(self.rng.random_bool(0.5));
            self.shards[first].worker_drains(link);
            self.shards[1 - first].worker_drains(link);
        }
    }

    fn give_back(&mut self, at: usize) {
        let epoch = self.alive[at].link.epoch();
        for given in std::mem::take(&mut self.alive[at].queue) {
            match given.cmd {
                // It is not begun: it is noted.
                code::ADOPT => self.alive[at].handled.push(given.id),
                _ => {
                    let is_begun = self.rng.random_bool(0.2);
                    self.shard(given.id).take_back_events(given.id, epoch, 1, is_begun);
                }
            }
        }
        self.tell_done_of(at);
    }

    /// A link fails, and nobody has noticed: the next frame finds that out.
    fn fail(&mut self) {
        if let Some(at) = self.any_worker() {
            self.read(at);
            self.alive[at].link.buffer.is_closed.set(true);
            self.alive[at].has_failed = true;
        }
    }

    fn end(&mut self) {
        if let Some(at) = self.any_worker() {
            let how = [Gone::Ended, Gone::Silent, Gone::Replaced][self.rng.random_range(0..3)];
            if self.rng.random_bool(0.3) {
                // What it has said before is read out.
                self.tell_done_of(at);
            }
            self.remove(at, how);
        }
    }

    fn remove(&mut self, at: usize, how: Gone) {
        let worker = self.alive.remove(at);
        self.workers.leave(&worker.link);
        for shard in &mut self.shards {
            shard.worker_gone(&worker.link, how);
        }
        if self.rng.random_bool(0.1) {
            self.shards[0].worker_gone(&worker.link, how);
        }
    }

    /// Reads what a worker was sent into its queue.
    fn read(&mut self, at: usize) {
        let mut written = std::mem::take(&mut *self.alive[at].link.buffer.written.borrow_mut());
        while let Some(mut frame) = Frame::parse(&mut written, usize::MAX).unwrap() {
            if frame.flag & FLAG_TRACE_CONTEXT != 0 {
                TraceContext::take(&mut frame.body).unwrap();
            }
            let asks = self.alive[at].link.features.event_context;
            let is_event = !matches!(frame.cmd, code::FORGET | code::PING | code::ADOPT);
            assert_eq!(frame.flag & FLAG_EVENT_CONTEXT != 0, asks && is_event, "{frame:?}");
            if asks && is_event {
                let context = EventContext::take(&mut frame.body).unwrap();
                let event = (frame.connection_id, frame.cmd, frame.body.to_vec());
                let numbered = self.numbered.entry(context.number).or_insert_with(|| event.clone());
                assert_eq!(*numbered, event, "two events have the same number");
                assert_eq!(*self.numbers.entry(event).or_insert(context.number), context.number);
            }
            let worker = &mut self.alive[at];
            let id = frame.connection_id;
            match frame.cmd {
                code::FORGET => {
                    let Ok(Command::Forget(ids)) = Command::decode(frame) else { panic!("it is one") };
                    for id in ids {
                        worker.book.remove(&id);
                    }
                    continue;
                }
                code::PING => {
                    assert!(worker.queue.is_empty() && worker.handled.is_empty(), "{worker:?} is let go");
                    worker.is_drained = true;
                    continue;
                }
                code::ON_CONNECT | code::ADOPT => {
                    worker.book.insert(id);
                }
                _ => {}
            }
            let key = worker.link.key().clone();
            assert!(worker.book.contains(&id), "{key} has not heard of client {id}: {frame:?}");
            let has = |other: &Worker| {
                other.queue.iter().any(|given| given.id == id) || other.handled.contains(&id)
            };
            let is_marked = frame.flag & FLAG_REDELIVERED != 0;
            worker.queue.push_back(Given { id, cmd: frame.cmd, is_marked, body: frame.body.to_vec() });
            let others = self.alive.iter().enumerate().filter(|(other, _)| *other != at);
            let both: Vec<_> = others.filter(|(_, other)| has(other)).map(|(_, w)| w.link.key()).collect();
            assert!(both.is_empty(), "client {id} has events at {key} and {both:?}");
        }
    }

    /// A worker handles the first event of some client.
    fn handle(&mut self) {
        if let Some(at) = self.any_worker() {
            self.handle_one(at);
        }
    }

    fn handle_one(&mut self, at: usize) -> bool {
        self.read(at);
        let len = self.alive[at].queue.len();
        if len == 0 {
            return false;
        }
        let id = self.alive[at].queue[self.rng.random_range(0..len)].id;
        let first = self.alive[at].queue.iter().position(|given| given.id == id).unwrap();
        let given = self.alive[at].queue.remove(first).unwrap();
        self.alive[at].handled.push(id);
        let seen = self.seen.entry(id).or_default();
        match given.cmd {
            code::ADOPT => {}
            code::ON_CONNECT => {
                assert!(!seen.is_connected || given.is_marked, "client {id} connects twice");
                seen.is_connected = true;
            }
            code::ON_WEBSOCKET_CONNECT => {
                assert!(seen.is_connected);
                self.shard(id).admit(id);
            }
            code::ON_MESSAGE => {
                let n = u32::from_be_bytes(given.body[..].try_into().unwrap());
                assert!(seen.is_connected && n <= seen.messages, "client {id}: {n} behind {seen:?}");
                assert!(n == seen.messages || given.is_marked, "client {id}: {n} again without a mark");
                seen.messages = seen.messages.max(n + 1);
            }
            code::ON_CLOSE => {
                assert!(seen.closes == 0 || given.is_marked, "client {id} closes twice");
                seen.closes += 1;
                self.alive[at].book.remove(&id);
            }
            other => panic!("{other}"),
        }
        true
    }

    fn tell_done(&mut self) {
        if let Some(at) = self.any_worker() {
            self.tell_done_of(at);
        }
    }

    fn tell_done_of(&mut self, at: usize) {
        let epoch = self.alive[at].link.epoch();
        for id in std::mem::take(&mut self.alive[at].handled) {
            self.shard(id).end_events(epoch, &[(id, 1)]);
        }
    }

    fn settle(&mut self) {
        loop {
            for effect in testing::settle(&mut self.shards, &self.workers) {
                self.note(&effect);
            }
            let mut at = 0;
            let mut has_changed = false;
            while at < self.alive.len() {
                let worker = &self.alive[at];
                let is_ended = worker.link.is_draining() && worker.link.buffer.is_closed.get();
                if is_ended && worker.link.unfinished() == 0 && worker.link.adopting() == 0 {
                    // The gateway has closed a drained link: nothing is left there.
                    self.read(at);
                    let worker = &self.alive[at];
                    assert!(worker.queue.is_empty() && worker.handled.is_empty(), "{worker:?}");
                    assert!(worker.is_drained || worker.has_failed, "{worker:?} is not let go");
                    self.remove(at, Gone::Ended);
                    has_changed = true;
                } else {
                    if worker.is_draining {
                        // It begins nothing, and returns what was on its way.
                        self.read(at);
                        has_changed |= !self.alive[at].queue.is_empty();
                        self.give_back(at);
                    }
                    at += 1;
                }
            }
            if !has_changed {
                break;
            }
        }
        self.check_counters();
    }

    fn note(&mut self, effect: &Effect<MemoryPorts>) {
        match effect {
            Effect::Log(Notice::Undeliverable { client, .. }) => {
                self.undeliverable.insert(client.connection_id());
            }
            Effect::Finish(finished) if finished.reason == CloseReason::Undeliverable => {
                let id = finished.id.connection_id();
                self.clients.remove(&id);
                self.left.insert(id, None);
            }
            Effect::Log(notice) => panic!("{notice:?}"),
            _ => {}
        }
    }

    /// The counters of each link are the sums over both shards.
    fn check_counters(&self) {
        let parts: Vec<_> = self.shards.iter().flat_map(Shard::unfinished).collect();
        for worker in &self.alive {
            let of_it = parts.iter().filter(|part| Arc::ptr_eq(&part.link, &worker.link));
            let sums = of_it.fold((0, 0, 0), |sums, part| {
                (sums.0 + part.events, sums.1 + part.bytes, sums.2 + part.held)
            });
            let link = &worker.link;
            assert_eq!(sums, (link.unfinished(), link.unfinished_bytes(), link.adopting()), "{}", link.key());
        }
    }

    /// Lets everything come to its end, with one more worker, and checks that nothing is left.
    fn finish(mut self) {
        while !self.alive.is_empty() {
            self.remove(0, Gone::Silent);
            self.settle();
        }
        self.join();
        self.settle();
        while self.handle_one(0) {
            self.tell_done_of(0);
            self.settle();
        }
        for (id, (_, said)) in &self.clients {
            assert_eq!(self.seen[id].messages, *said, "client {id}");
        }
        assert_eq!(self.alive[0].book, self.clients.keys().copied().collect(), "the books");
        while !self.clients.is_empty() {
            self.leave();
        }
        self.settle();
        while self.handle_one(0) {
            self.tell_done_of(0);
            self.settle();
        }
        for (id, said) in &self.left {
            // It left before its ON_CONNECT was given.
            let Some(seen) = self.seen.get(id) else { continue };
            let is_undeliverable = self.undeliverable.contains(id);
            assert!(seen.closes > 0 || is_undeliverable, "client {id}: {seen:?}");
            // A connect that a worker was given, which then went, may have run: what a refused client
            // leaves is its close.
            let is_whole = said.filter(|_| !is_undeliverable);
            assert!(seen.is_connected || is_whole.is_none(), "client {id}: {seen:?}");
            assert!(is_whole.is_none_or(|said| seen.messages == said), "client {id}: {seen:?} of {said:?}");
        }
        assert!(self.alive[0].book.is_empty(), "{:?}", self.alive[0].book);
        for shard in &mut self.shards {
            while shard.flush() {}
            while shard.next_effect().is_some() {}
            // Admissions and their deadlines.
            shard.advance(1_000_000);
            shard.check_empty().unwrap();
        }
        assert_eq!((self.alive[0].link.unfinished(), self.workers.suspects()), (0, 0));
    }
}

fn walk(seed: u64) {
    let mut walk = Walk::new(seed);
    for _ in 0..300 {
        walk.step();
    }
    walk.finish();
}

#[test]
fn nothing_is_lost_reordered_or_left_over_whatever_workers_do() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(200);
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| walk(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}
