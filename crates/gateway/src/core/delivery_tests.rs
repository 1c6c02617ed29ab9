//! What becomes of events, on shards in memory, with workers that acknowledge.

use std::sync::Arc;

use gatewayworker_protocol::{CloseReason, Features};

use super::client::Waits;
use super::delivery_settings::{DeliveryMode, DeliverySettings};
use super::effects::{Effect, Notice};
use super::events::Route;
use super::isolation::Isolated;
use super::ports::Directory;
use super::source::ClosesGivenUp;
use super::table::Key;
use super::testing::{self, MemoryDirectory, MemoryLink, MemoryPorts, told};
use super::worker_link::{Gone, Peer, WorkerLink};
use super::{Settings, Shard};

type Link = Arc<WorkerLink<MemoryLink>>;

/// One shard, or two, and the effects that nobody has looked at yet.
struct Gateway {
    shards: Vec<Shard<MemoryPorts>>,
    workers: MemoryDirectory,
    effects: Vec<Effect<MemoryPorts>>,
}

impl Gateway {
    fn new() -> Self {
        let (shard, workers) = testing::shard();
        Self { shards: vec![shard], workers, effects: Vec::new() }
    }

    fn with(settings: DeliverySettings) -> Self {
        let mut gateway = Self::new();
        let (shard, workers) = (&gateway.shards[0], gateway.workers.clone());
        let settings = Settings { delivery: settings, ..shard.settings.clone() };
        gateway.shards = vec![Shard::new(settings, workers)];
        gateway
    }

    fn of_two_shards() -> Self {
        let (shards, workers) = testing::two_shards();
        Self { shards: shards.into(), workers, effects: Vec::new() }
    }

    fn worker(&mut self, key: &str, epoch: u32) -> Link {
        let link = self.workers.join_paired(key, epoch);
        self.settle();
        link
    }

    fn php(&mut self, key: &str) -> Link {
        let link = self.workers.join(key, 1 << 20, Features::default());
        self.settle();
        link
    }

    fn settle(&mut self) {
        self.effects.extend(testing::settle(&mut self.shards, &self.workers));
    }

    fn shard(&mut self, id: u32) -> &mut Shard<MemoryPorts> {
        let shards = self.shards.len();
        &mut self.shards[id as usize % shards]
    }

    /// Inserts a client that does not speak WebSocket, so that nobody is asked to admit it.
    fn connect(&mut self, id: u32, link: &Link) -> Key {
        let shard = self.shard(id);
        let (key, _) = testing::client(shard, id, link, testing::policy());
        shard.tell_connected(key, None, 0);
        self.settle();
        key
    }

    /// A client whose ON_CONNECT is done.
    fn connected(&mut self, id: u32, link: &Link) -> Key {
        let key = self.connect(id, link);
        self.done(link, id, 1);
        assert_eq!(told(link), [format!("connect {id}")]);
        key
    }

    fn say(&mut self, key: Key, message: &str) {
        self.shard(key.connection_id()).tell_message(key, false, message.as_bytes()).unwrap();
        self.settle();
    }

    fn done(&mut self, link: &Link, id: u32, events: u32) {
        let epoch = link.epoch();
        self.shard(id).end_events(id, epoch, events);
        self.settle();
    }

    fn gives_back(&mut self, link: &Link, id: u32, events: u32) {
        let epoch = link.epoch();
        self.shard(id).take_back_events(id, epoch, events);
        self.settle();
    }

    fn gone(&mut self, link: &Link, how: Gone) {
        link.buffer.is_closed.set(true);
        self.workers.leave(link);
        self.shards.iter_mut().for_each(|shard| {
            shard.worker_gone(link, how);
        });
        self.settle();
    }

    fn drains(&mut self, link: &Link) {
        assert!(self.workers.drain(link, self.shards.len()));
        self.shards.iter_mut().for_each(|shard| shard.worker_drains(link));
        self.settle();
    }

    fn close(&mut self, key: Key, reason: CloseReason) {
        self.shard(key.connection_id()).close(key, reason, None);
        self.settle();
    }

    /// The reasons for which clients were closed.
    fn closed(&mut self) -> Vec<(u32, CloseReason)> {
        let closed = self.effects.extract_if(.., |effect| matches!(effect, Effect::Finish(_)));
        closed
            .map(|effect| match effect {
                Effect::Finish(finished) => (finished.id.connection_id(), finished.reason),
                _ => unreachable!("only those are taken out"),
            })
            .collect()
    }

    fn notices(&mut self) -> Vec<Notice> {
        let notices = self.effects.extract_if(.., |effect| matches!(effect, Effect::Log(_)));
        notices
            .filter_map(|effect| match effect {
                Effect::Log(notice) => Some(notice),
                _ => None,
            })
            .collect()
    }

    /// The clients whose readers go on.
    fn resumed(&mut self) -> Vec<u32> {
        let resumed = self.effects.extract_if(.., |effect| matches!(effect, Effect::Resume(_)));
        resumed
            .filter_map(|effect| match effect {
                Effect::Resume(key) => Some(key.connection_id()),
                _ => None,
            })
            .collect()
    }

    /// Whether the reader of a client has to wait.
    fn waits(&mut self, key: Key) -> bool {
        matches!(self.shard(key.connection_id()).route(key), Route::Wait)
    }
}

#[test]
fn an_event_is_unfinished_until_the_worker_says_done() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let key = gateway.connect(7, &worker);
    gateway.say(key, "hi");
    assert_eq!(told(&worker), ["connect 7", "message 7 hi"]);
    assert_eq!((worker.unfinished(), worker.unfinished_bytes()), (2, 28 + 30));
    gateway.done(&worker, 7, 1);
    assert_eq!(worker.unfinished(), 1);
    gateway.done(&worker, 7, 1);
    assert_eq!((worker.unfinished(), worker.unfinished_bytes()), (0, 0));
    assert!(gateway.shards[0].table.get(key).unwrap().log.is_none(), "nothing is kept");
}

#[test]
fn a_done_of_an_earlier_epoch_and_of_more_than_was_given_is_not_obeyed() {
    let mut gateway = Gateway::new();
    let before = gateway.worker("a", 1);
    let key = gateway.connected(7, &before);
    gateway.gone(&before, Gone::Replaced);
    let worker = gateway.worker("a", 2);
    gateway.say(key, "hi");
    gateway.done(&before, 7, 1);
    assert_eq!(worker.unfinished(), 2, "the ADOPT and the message");
    gateway.done(&worker, 7, 5);
    assert_eq!(worker.unfinished(), 0);
    assert!(matches!(gateway.notices()[..], [Notice::EventsMiscounted { events: 3, .. }]));
    gateway.done(&worker, 99, 1);
    assert!(gateway.notices().is_empty(), "a client that is gone");
}

#[test]
fn what_a_worker_left_unfinished_goes_to_another_in_order_and_marked() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let other = gateway.worker("b", 2);
    let key = gateway.connected(7, &worker);
    for message in ["1", "2", "3"] {
        gateway.say(key, message);
    }
    gateway.done(&worker, 7, 1);
    gateway.gone(&worker, Gone::Ended);
    gateway.say(key, "4");
    assert_eq!(told(&other), ["adopt 7", "message 7 2 again", "message 7 3 again", "message 7 4"]);
    assert_eq!((worker.unfinished(), other.unfinished()), (0, 4));
    assert_eq!(gateway.workers.counts().redelivered(), 2);
    // Told twice, it is as told once.
    gateway.gone(&worker, Gone::Ended);
    assert!(told(&other).is_empty());
}

#[test]
fn a_client_whose_connect_is_not_done_needs_no_adopt() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let other = gateway.worker("b", 2);
    gateway.connect(7, &worker);
    gateway.gone(&worker, Gone::Ended);
    assert_eq!(told(&other), ["connect 7 again"]);
}

#[test]
fn an_event_that_finds_no_worker_waits_for_one() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let key = gateway.connected(7, &worker);
    gateway.gone(&worker, Gone::Silent);
    gateway.say(key, "parsed already");
    assert!(gateway.waits(key));
    let next = gateway.worker("b", 2);
    assert_eq!(told(&next), ["adopt 7", "message 7 parsed already"]);
    assert_eq!(gateway.resumed(), [7]);
}

#[test]
fn a_link_that_fails_keeps_what_it_has_until_it_is_over() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let other = gateway.worker("b", 2);
    let (busy, quiet) = (gateway.connected(7, &worker), gateway.connected(8, &worker));
    gateway.say(busy, "1");
    worker.buffer.is_closed.set(true);
    gateway.say(busy, "2");
    gateway.say(quiet, "3");
    assert_eq!(told(&other), ["adopt 8", "message 8 3"], "only the quiet one moves");
    assert!(gateway.waits(busy));
    gateway.done(&worker, 7, 1);
    assert_eq!(told(&other), ["adopt 7", "message 7 2"], "what was read from it is obeyed");
    assert_eq!(gateway.resumed(), [7]);
}

#[test]
fn what_was_given_before_goes_to_a_php_worker_only_where_none_of_ours_is() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let php = gateway.php("0 first by its key");
    let ours = gateway.worker("b", 2);
    for id in 10..20 {
        gateway.connect(id, &ours);
    }
    told(&ours);
    let key = gateway.connected(7, &worker);
    gateway.say(key, "1");
    gateway.gone(&worker, Gone::Ended);
    assert_eq!(told(&ours), ["adopt 7", "message 7 1 again"], "it has more clients");
    gateway.gone(&ours, Gone::Ended);
    assert!(told(&php).contains(&"message 7 1".to_owned()), "the original knows no mark");
    gateway.say(key, "2");
    assert_eq!(told(&php), ["message 7 2"]);
}

#[test]
fn the_clients_of_a_worker_that_drains_move_when_they_are_quiet() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let (busy, quiet) = (gateway.connected(7, &worker), gateway.connected(8, &worker));
    gateway.say(busy, "1");
    told(&worker);
    let other = gateway.worker("b", 2);
    gateway.drains(&worker);
    assert_eq!(told(&other), ["adopt 8"]);
    assert!(gateway.waits(busy) && !gateway.waits(quiet));
    gateway.say(busy, "parsed already");
    gateway.done(&worker, 7, 1);
    assert_eq!(told(&other), ["adopt 7", "message 7 parsed already"]);
    assert_eq!(gateway.resumed(), [7]);
    assert!(told(&worker).is_empty() && !worker.buffer.is_closed.get(), "both ADOPTs are under way");
    gateway.done(&other, 8, 1);
    assert_eq!(told(&worker), ["forget 8"]);
    assert!(!worker.buffer.is_closed.get());
    gateway.done(&other, 7, 2);
    assert_eq!(told(&worker), ["forget 7"]);
    assert!(worker.buffer.is_closed.get(), "nothing keeps the link");
    assert_eq!((worker.clients(), other.clients()), (0, 2));
}

#[test]
fn returned_events_keep_their_order_and_are_neither_marked_nor_tries() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let key = gateway.connected(7, &worker);
    for message in ["1", "2", "3"] {
        gateway.say(key, message);
    }
    let other = gateway.worker("b", 2);
    gateway.drains(&worker);
    gateway.gives_back(&worker, 7, 2);
    assert!(told(&other).is_empty(), "the first is under way");
    gateway.done(&worker, 7, 1);
    assert_eq!(told(&other), ["adopt 7", "message 7 2", "message 7 3"]);
    gateway.gives_back(&worker, 7, 2);
    assert!(
        gateway.notices().is_empty() && other.unfinished() == 3,
        "its epoch is not the client's any more"
    );
}

#[test]
fn events_returned_before_the_drain_is_heard_of_wait_for_it() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let other = gateway.worker("b", 2);
    let key = gateway.connected(7, &worker);
    gateway.say(key, "1");
    told(&worker);
    gateway.gives_back(&worker, 7, 1);
    assert!(told(&worker).is_empty());
    gateway.drains(&worker);
    assert_eq!(told(&other), ["adopt 7", "message 7 1"]);
}

#[test]
fn a_returned_connect_moves_without_an_adopt_and_its_worker_forgets_it_at_once() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let other = gateway.worker("b", 2);
    gateway.connect(7, &worker);
    told(&worker);
    gateway.drains(&worker);
    gateway.gives_back(&worker, 7, 1);
    assert_eq!((told(&other), told(&worker)), (vec!["connect 7".to_owned()], vec!["forget 7".to_owned()]));
    assert!(worker.buffer.is_closed.get());
}

#[test]
fn a_worker_drains_alone_when_there_is_no_other() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let (busy, quiet) = (gateway.connected(7, &worker), gateway.connected(8, &worker));
    gateway.say(busy, "1");
    told(&worker);
    gateway.drains(&worker);
    assert!(!worker.buffer.is_closed.get() && gateway.waits(quiet));
    gateway.done(&worker, 7, 1);
    assert!(worker.buffer.is_closed.get());
    gateway.gone(&worker, Gone::Ended);
    let next = gateway.worker("b", 2);
    let mut adopted = told(&next);
    adopted.sort();
    assert_eq!(adopted, ["adopt 7", "adopt 8"]);
    assert_eq!(gateway.resumed(), [8]);
}

#[test]
fn a_worker_that_joins_while_another_drains_alone_takes_its_clients() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let key = gateway.connected(7, &worker);
    gateway.say(key, "1");
    told(&worker);
    gateway.drains(&worker);
    let next = gateway.worker("b", 2);
    gateway.done(&worker, 7, 1);
    assert_eq!(told(&next), ["adopt 7"]);
    assert!(!worker.buffer.is_closed.get());
    gateway.done(&next, 7, 1);
    assert!(worker.buffer.is_closed.get());
}

#[test]
fn a_draining_link_is_held_until_every_shard_has_moved_its_clients() {
    let mut gateway = Gateway::of_two_shards();
    let worker = gateway.worker("a", 1);
    let other = gateway.worker("b", 2);
    gateway.connected(3, &worker);
    assert!(gateway.workers.drain(&worker, 2));
    gateway.shards[0].worker_drains(&worker);
    assert!(!worker.buffer.is_closed.get(), "the other shard has not been told");
    gateway.shards[1].worker_drains(&worker);
    assert!(!worker.buffer.is_closed.get(), "it has a client there");
    assert_eq!(told(&other), ["adopt 3"]);
    gateway.done(&other, 3, 1);
    assert!(worker.buffer.is_closed.get());
    assert!(!gateway.workers.drain(&worker, 2), "the shards were told");
}

#[test]
fn an_adopt_that_is_lost_with_its_worker_is_said_to_the_next_and_the_first_still_hears_of_it() {
    let mut gateway = Gateway::new();
    let first = gateway.worker("a", 1);
    gateway.connected(7, &first);
    let second = gateway.worker("b", 2);
    gateway.drains(&first);
    assert_eq!(told(&second), ["adopt 7"]);
    gateway.gone(&second, Gone::Ended);
    assert!(told(&first).is_empty() && !first.buffer.is_closed.get());
    let third = gateway.worker("c", 3);
    assert_eq!(told(&third), ["adopt 7"]);
    gateway.done(&third, 7, 1);
    assert_eq!(told(&first), ["forget 7"]);
    assert!(first.buffer.is_closed.get());
}

#[test]
fn a_client_that_floods_its_worker_stops_itself() {
    let mut gateway = Gateway::with(DeliverySettings { window_events: 4, ..DeliverySettings::default() });
    let worker = gateway.worker("a", 1);
    let (key, other) = (gateway.connected(7, &worker), gateway.connected(8, &worker));
    for _ in 0..4 {
        assert!(!gateway.waits(key));
        gateway.say(key, "x");
    }
    assert!(gateway.waits(key) && !gateway.waits(other));
    gateway.done(&worker, 7, 1);
    assert!(gateway.resumed().is_empty(), "it goes on when half is done");
    gateway.done(&worker, 7, 1);
    assert_eq!(gateway.resumed(), [7]);
    let large = "x".repeat(2 << 20);
    gateway.say(other, &large);
    assert!(gateway.waits(other));
    gateway.done(&worker, 8, 1);
    assert_eq!(gateway.resumed(), [8]);
}

#[test]
fn a_link_with_many_unfinished_bytes_stops_its_clients_until_half_is_done() {
    let mut gateway = Gateway::of_two_shards();
    let peer = Peer { features: Features::ALL, epoch: 1, process: Some(1) };
    let worker = gateway.workers.join("a", 100, peer);
    let (one, two) = (gateway.connected(2, &worker), gateway.connected(3, &worker));
    gateway.say(one, &"x".repeat(30));
    gateway.say(one, &"x".repeat(30));
    assert!(gateway.waits(one) && gateway.waits(two), "a client of another shard, too");
    gateway.done(&worker, 2, 1);
    assert!(gateway.resumed().is_empty());
    gateway.done(&worker, 2, 1);
    assert_eq!(gateway.resumed(), [2, 3]);
    assert_eq!(gateway.shards[0].table.get(one).unwrap().waits, Waits::No);
}

#[test]
fn a_closed_client_leaves_a_stub_until_its_close_is_done() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let key = gateway.connected(7, &worker);
    gateway.say(key, "1");
    gateway.close(key, CloseReason::ClientLeft);
    assert_eq!(told(&worker), ["message 7 1", "close 7"]);
    let shard = &mut gateway.shards[0];
    let mut draws = [7, 8].into_iter();
    assert_eq!(shard.draw_connection_id(|| draws.next().unwrap()), 8);
    shard.set_session(7, b"written late");
    assert_eq!(shard.table().admitted_len(), 0);
    gateway.gone(&worker, Gone::Ended);
    let next = gateway.worker("b", 2);
    let sessions = next.buffer.written.borrow().windows(12).filter(|at| at == b"written late").count();
    assert_eq!(sessions, 3);
    assert_eq!(told(&next), ["adopt 7", "message 7 1 again", "close 7 again"]);
    gateway.done(&next, 7, 2);
    assert_eq!(gateway.shards[0].unfinished_closes(), 1);
    gateway.done(&next, 7, 1);
    assert_eq!(gateway.shards[0].unfinished_closes(), 0);
    assert!(gateway.shards[0].take_signals().closes_done);
}

#[test]
fn no_worker_hears_of_a_client_that_was_closed_before_its_connect_was_given() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    gateway.gone(&worker, Gone::Ended);
    let key = gateway.connect(7, &worker);
    gateway.close(key, CloseReason::ClientLeft);
    let next = gateway.worker("b", 2);
    assert!(told(&next).is_empty());
    assert_eq!(gateway.shards[0].unfinished_closes(), 0);
}

#[test]
fn what_a_refused_client_said_and_no_worker_has_is_dropped_but_its_close() {
    for (reason, said) in [(CloseReason::ClientLeft, 2), (CloseReason::Refused, 1)] {
        let mut gateway = Gateway::new();
        let worker = gateway.worker("a", 1);
        let key = gateway.connected(7, &worker);
        gateway.say(key, "given");
        worker.buffer.is_closed.set(true);
        gateway.say(key, "waits");
        gateway.close(key, reason);
        let next = crash(&mut gateway, &worker, Gone::Ended);
        let all = ["adopt 7", "message 7 given again", "message 7 waits", "close 7"];
        let dropped = if said == 1 { Some(2) } else { None };
        let expected = all.iter().enumerate().filter(|(n, _)| Some(*n) != dropped).map(|(_, told)| *told);
        assert_eq!(told(&next), expected.collect::<Vec<_>>());
    }
}

#[test]
fn closes_that_no_worker_is_there_for_are_bounded_and_counted() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let session = vec![b'x'; 1 << 20];
    for id in 1..=70 {
        gateway.connected(id, &worker);
        gateway.shards[0].set_session(id, &session);
    }
    gateway.gone(&worker, Gone::Ended);
    for key in gateway.shards[0].table.all().collect::<Vec<_>>() {
        gateway.close(key, CloseReason::ClientLeft);
    }
    assert_eq!(gateway.shards[0].unfinished_closes(), 63, "64 MiB, and what a stub takes itself");
    assert_eq!(gateway.workers.counts().closes_lost(), 7);
    let given_up = gateway.shards[0].give_up_closes();
    assert_eq!(given_up, ClosesGivenUp { lost: 63, unfinished: 0 });
    assert_eq!(gateway.workers.counts().closes_lost(), 70);
    gateway.shards[0].flush();
    gateway.shards[0].check_empty().unwrap();
}

#[test]
fn a_shard_has_stopped_when_its_closes_are_done() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    gateway.connected(7, &worker);
    gateway.shards[0].begin_stop(std::time::Duration::ZERO, 0);
    gateway.settle();
    assert!(gateway.shards[0].has_closed_all() && !gateway.shards[0].has_stopped());
    gateway.done(&worker, 7, 1);
    assert!(gateway.shards[0].has_stopped());
}

#[test]
fn a_client_that_waits_to_be_admitted_moves_to_another_worker_that_answers() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let _php = gateway.php("0");
    let other = gateway.worker("b", 2);
    let (key, _) = testing::client(&mut gateway.shards[0], 7, &worker, testing::policy());
    gateway.shards[0].tell_connected(key, Some(b"handshake"), 0);
    gateway.say(key, "early");
    gateway.gone(&worker, Gone::Ended);
    assert_eq!(told(&other), ["connect 7 again", "handshake 7 again", "message 7 early again"]);
    assert!(gateway.closed().is_empty() && gateway.shards[0].table.get(key).unwrap().is_pending());
    gateway.shards[0].admit(7);
    // Handled, and not acknowledged: it is asked once more, and stays admitted.
    gateway.gone(&other, Gone::Ended);
    assert!(!gateway.shards[0].table.get(key).unwrap().is_pending());
}

#[test]
fn a_client_that_waits_to_be_admitted_is_admitted_where_only_a_php_worker_is() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let (key, _) = testing::client(&mut gateway.shards[0], 7, &worker, testing::policy());
    gateway.shards[0].tell_connected(key, Some(b"handshake"), 0);
    gateway.gone(&worker, Gone::Ended);
    assert!(gateway.shards[0].table.get(key).unwrap().is_pending());
    let php = gateway.php("p");
    assert_eq!(told(&php), ["connect 7", "handshake 7"]);
    assert!(!gateway.shards[0].table.get(key).unwrap().is_pending());
}

#[test]
fn a_client_that_comes_while_no_worker_is_there_is_closed_in_time() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    gateway.gone(&worker, Gone::Ended);
    let (key, _) = testing::client(&mut gateway.shards[0], 7, &worker, testing::policy());
    gateway.shards[0].tell_connected(key, Some(b"handshake"), 0);
    assert_eq!(gateway.shards[0].next_deadline(), Some(30_000));
    gateway.shards[0].advance(30_000);
    gateway.settle();
    assert_eq!(gateway.closed(), [(7, CloseReason::NotAdmitted)]);
    assert_eq!(gateway.shards[0].unfinished_closes(), 0, "no worker has heard of it");
}

/// Ends the worker of a client and pairs another, and returns that.
fn crash(gateway: &mut Gateway, link: &Link, how: Gone) -> Link {
    let next = gateway.workers.join_paired("next", link.epoch() + 1);
    gateway.gone(link, how);
    next
}

#[test]
fn an_event_that_ends_one_worker_after_another_is_dropped_and_its_client_closed() {
    let mut gateway = Gateway::new();
    let mut worker = gateway.worker("a", 1);
    let key = gateway.connected(7, &worker);
    let innocent = gateway.connected(8, &worker);
    gateway.say(key, "poison");
    gateway.say(key, "behind it");
    gateway.say(innocent, "fine");
    for crashes in 1..=5 {
        worker = crash(&mut gateway, &worker, Gone::Ended);
        let given = told(&worker);
        assert_eq!(given.contains(&"message 7 poison again".to_owned()), crashes < 5, "{crashes}: {given:?}");
        if crashes == 1 {
            assert_eq!(given.last().unwrap(), "message 8 fine again");
            gateway.done(&worker, 8, 2);
        }
    }
    assert_eq!(gateway.closed(), [(7, CloseReason::Undeliverable)]);
    assert!(matches!(gateway.notices()[..], [Notice::Undeliverable { command: "ON_MESSAGE", tries: 5, .. }]));
    assert_eq!(gateway.workers.counts().undeliverable(), 1);
    gateway.done(&worker, 7, 3);
    assert!(gateway.shards[0].table.get(innocent).is_some());
    assert_eq!(gateway.shards[0].unfinished_closes(), 0);
}

#[test]
fn a_close_that_ends_workers_is_dropped_and_nothing_is_left_of_its_client() {
    let mut gateway = Gateway::new();
    let mut worker = gateway.worker("a", 1);
    let key = gateway.connected(7, &worker);
    gateway.close(key, CloseReason::ClientLeft);
    for _ in 0..5 {
        worker = crash(&mut gateway, &worker, Gone::Ended);
    }
    assert_eq!(gateway.shards[0].unfinished_closes(), 0);
    assert_eq!(worker.unfinished(), 0);
}

#[test]
fn a_worker_that_falls_silent_or_pairs_again_casts_no_suspicion() {
    let mut gateway = Gateway::new();
    let mut worker = gateway.worker("a", 1);
    let key = gateway.connected(7, &worker);
    gateway.say(key, "slow");
    for how in [Gone::Silent, Gone::Replaced].repeat(10) {
        worker = crash(&mut gateway, &worker, how);
    }
    assert_eq!(told(&worker), ["adopt 7", "message 7 slow again"]);
    assert!(gateway.closed().is_empty());
}

#[test]
fn the_last_try_is_made_without_another_suspect_beside_it() {
    let mut gateway = Gateway::of_two_shards();
    gateway.shards.iter_mut().for_each(|shard| shard.settings.delivery.max_deliveries = 2);
    let mut worker = gateway.worker("a", 1);
    let (one, two) = (gateway.connected(2, &worker), gateway.connected(3, &worker));
    gateway.say(one, "x");
    gateway.say(two, "y");
    worker = crash(&mut gateway, &worker, Gone::Ended);
    assert_eq!(told(&worker), ["adopt 2", "message 2 x again", "adopt 3"], "the other one waits");
    assert!(gateway.waits(two));
    gateway.done(&worker, 3, 1);
    gateway.done(&worker, 2, 2);
    assert_eq!(told(&worker), ["message 3 y again"]);
    assert_eq!(gateway.resumed(), [3]);
    crash(&mut gateway, &worker, Gone::Ended);
    assert_eq!(gateway.closed(), [(3, CloseReason::Undeliverable)]);
}

#[test]
fn at_most_once_gives_no_event_twice_but_closes() {
    let mode = DeliveryMode::AtMostOnce;
    let mut gateway = Gateway::with(DeliverySettings { mode, ..DeliverySettings::default() });
    let worker = gateway.worker("a", 1);
    let (stays, leaves) = (gateway.connected(7, &worker), gateway.connected(8, &worker));
    gateway.say(stays, "lost");
    gateway.say(leaves, "lost, too");
    gateway.close(leaves, CloseReason::ClientLeft);
    worker.buffer.is_closed.set(true);
    gateway.say(stays, "not given");
    let next = crash(&mut gateway, &worker, Gone::Ended);
    assert_eq!(told(&next), ["adopt 7", "message 7 not given", "adopt 8", "close 8 again"]);
    assert_eq!(gateway.workers.counts().dropped(), 2);
}

#[test]
fn clients_whose_close_has_run_elsewhere_are_closed_without_a_word_to_a_worker() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let (there, closed) = (gateway.connected(7, &worker), gateway.connected(8, &worker));
    gateway.say(there, "1");
    gateway.close(closed, CloseReason::ClientLeft);
    told(&worker);
    gateway.effects.clear();
    for id in [7, 8, 9] {
        gateway.shards[0].close_lost(id);
    }
    gateway.settle();
    assert_eq!(told(&worker), ["forget 7", "forget 8"]);
    assert_eq!(gateway.closed(), [(7, CloseReason::GatewayLost)]);
    assert_eq!((worker.unfinished(), worker.clients()), (0, 0));
    gateway.done(&worker, 7, 1);
    gateway.shards[0].flush();
    gateway.shards[0].check_empty().unwrap();
}

#[test]
fn an_isolated_gateway_closes_first_the_clients_that_it_took_over_after_silence() {
    let mut gateway = Gateway::new();
    let silent = gateway.worker("a", 1);
    gateway.connected(7, &silent);
    let worker = crash(&mut gateway, &silent, Gone::Silent);
    told(&worker);
    gateway.done(&worker, 7, 1);
    gateway.connected(8, &worker);
    gateway.gone(&worker, Gone::Ended);
    gateway.shards[0].close_isolated(Isolated::TakenOver);
    gateway.settle();
    assert_eq!(gateway.closed(), [(7, CloseReason::Isolated)]);
    gateway.shards[0].close_isolated(Isolated::All);
    gateway.settle();
    assert_eq!(gateway.closed(), [(8, CloseReason::Isolated)]);
    assert_eq!(gateway.shards[0].unfinished_closes(), 2);
}

#[test]
fn a_crowd_moves_in_slices_and_no_input_fills_a_link() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let session = vec![b'x'; 100_000];
    for id in 1..=50 {
        gateway.connected(id, &worker);
        gateway.shards[0].set_session(id, &session);
    }
    let other = gateway.workers.join_paired("b", 2);
    gateway.workers.leave(&worker);
    gateway.shards[0].worker_gone(&worker, Gone::Ended);
    let mut most = 0;
    while !other.buffer.written.borrow().is_empty() {
        most = most.max(other.buffer.written.borrow().len());
        told(&other);
        gateway.shards[0].advance(0);
    }
    assert!((1 << 20..1_200_000).contains(&most), "{most} bytes");
    assert_eq!(other.clients(), 50);
    assert!(gateway.shards[0].next_deadline().is_none());
}
