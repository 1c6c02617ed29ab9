//! Clients that go from one worker to another.

use super::Gateway;
use crate::core::testing::{self, told};
use crate::core::worker_link::Gone;

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
    assert_eq!(told(&worker), ["forget 7", "drained"]);
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
    assert_eq!(told(&other), ["connect 7"]);
    assert_eq!(told(&worker), ["forget 7", "drained"]);
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
    assert_eq!(told(&worker), ["drained"], "it does not wait for a worker that may never come");
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
    let third = gateway.worker("c", 3);
    gateway.gone(&second, Gone::Ended);
    assert!(told(&first).is_empty() && !first.buffer.is_closed.get());
    assert_eq!(told(&third), ["adopt 7"]);
    gateway.done(&third, 7, 1);
    assert_eq!(told(&first), ["forget 7", "drained"]);
    assert!(first.buffer.is_closed.get());
}

#[test]
fn a_drain_does_not_wait_for_an_adopt_that_is_lost_when_no_other_worker_is_left() {
    let mut gateway = Gateway::new();
    let first = gateway.worker("a", 1);
    let (quiet, busy) = (gateway.connected(7, &first), gateway.connected(8, &first));
    gateway.say(busy, "1");
    told(&first);
    let second = gateway.worker("b", 2);
    gateway.drains(&first);
    gateway.say(quiet, "2");
    assert_eq!(told(&second), ["adopt 7", "message 7 2"]);
    gateway.gone(&second, Gone::Ended);
    assert_eq!(first.adopting(), 0);
    assert!(!first.buffer.is_closed.get(), "an event is unfinished");
    gateway.done(&first, 8, 1);
    assert!(first.buffer.is_closed.get());
    assert_eq!(told(&first), ["drained"], "the gateway keeps the client until a worker comes");
    gateway.gone(&first, Gone::Stopped);
    let third = gateway.worker("c", 3);
    let mut adopted = told(&third);
    adopted.sort();
    assert_eq!(adopted, ["adopt 7", "adopt 8", "message 7 2 again"]);
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

#[test]
fn a_sweep_comes_to_the_last_client_though_workers_drain_all_the_time() {
    // More than one input looks at.
    const CLIENTS: u32 = 10_050;
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    for id in 1..=CLIENTS {
        testing::client(&mut gateway.shards[0], id, &worker, testing::policy());
    }
    let other = gateway.worker("b", 2);
    let mut draining = vec![worker];
    for epoch in 3..7 {
        let last = draining.last().unwrap();
        assert!(gateway.workers.drain(last, 1));
        gateway.shards[0].worker_drains(last);
        draining.push(gateway.workers.join_paired("quiet", epoch));
    }
    assert_eq!(other.clients(), CLIENTS as usize);
    assert!(draining[1].buffer.is_closed.get(), "a whole sweep has begun and ended since it drains");
}

#[test]
fn a_worker_that_drains_during_a_sweep_is_held_until_the_next_has_ended() {
    let mut gateway = Gateway::new();
    let (early, worker) = (gateway.worker("a", 1), gateway.worker("b", 2));
    // More than the other worker will have, so that none of its clients goes here.
    for id in 1..=40 {
        gateway.connected(id, &early);
    }
    let session = vec![b'x'; 100_000];
    for id in 41..=60 {
        gateway.connected(id, &worker);
        gateway.shards[0].set_session(id, &session);
    }
    let other = gateway.worker("c", 3);
    for draining in [&worker, &early] {
        assert!(gateway.workers.drain(draining, 1));
        gateway.shards[0].worker_drains(draining);
    }
    assert_eq!((worker.clients(), early.clients()), (0, 40), "the sweep had passed them");
    assert!(!early.buffer.is_closed.get());
    gateway.settle();
    assert_eq!(other.clients(), 60);
    for id in 1..=40 {
        assert!(!early.buffer.is_closed.get());
        gateway.done(&other, id, 1);
    }
    assert!(early.buffer.is_closed.get());
}
