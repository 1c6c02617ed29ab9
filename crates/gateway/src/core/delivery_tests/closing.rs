//! Clients that are closed.

use gatewayworker_protocol::{CloseReason, Features, MAX_FRAME_LEN};

use super::{Gateway, crash};
use crate::core::effects::Notice;
use crate::core::isolation::Isolated;
use crate::core::ports::Directory;
use crate::core::source::ClosesGivenUp;
use crate::core::table::Key;
use crate::core::testing::told;
use crate::core::worker_link::{Gone, Peer};

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
fn a_worker_forgets_a_client_that_was_closed_after_its_connect_was_given_back() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let key = gateway.connect(7, &worker);
    let busy = gateway.connect(8, &worker);
    gateway.drains(&worker);
    gateway.gives_back(&worker, 7, 1);
    told(&worker);
    gateway.close(key, CloseReason::ClientLeft);
    assert_eq!(told(&worker), ["forget 7"]);
    // So it is when that the worker drains has not been read yet.
    let next = gateway.worker("b", 2);
    let key = gateway.connect(9, &next);
    told(&next);
    gateway.gives_back(&next, 9, 1);
    gateway.close(key, CloseReason::ClientLeft);
    assert_eq!(told(&next), ["forget 9"]);
    gateway.close(busy, CloseReason::ClientLeft);
}

#[test]
fn what_a_refused_client_has_said_is_dropped_but_its_close() {
    for (reason, is_dropped) in [(CloseReason::ClientLeft, false), (CloseReason::Refused, true)] {
        let mut gateway = Gateway::new();
        let worker = gateway.worker("a", 1);
        let key = gateway.connected(7, &worker);
        gateway.say(key, "given");
        worker.buffer.is_closed.set(true);
        gateway.say(key, "waits");
        gateway.close(key, reason);
        let next = crash(&mut gateway, &worker, Gone::Ended);
        let all = ["adopt 7", "message 7 given again", "message 7 waits", "close 7"];
        let is_told = |told: &&str| !is_dropped || !told.starts_with("message");
        assert_eq!(told(&next), all.into_iter().filter(is_told).collect::<Vec<_>>());
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

/// A worker that takes no large frames, and a client whose session is too long for others.
fn with_a_session_too_long(gateway: &mut Gateway, worker: &super::Link) -> (super::Link, Key) {
    gateway.shards[0].settings.max_session_bytes = usize::MAX;
    let key = gateway.connected(7, worker);
    gateway.shards[0].set_session(7, &vec![b'x'; MAX_FRAME_LEN]);
    let features = Features { large_frames: false, ..Features::ALL };
    let peer = Peer { features, epoch: 2, process: Some(2) };
    (gateway.workers.join("small frames", 1 << 30, peer), key)
}

#[test]
fn a_close_that_is_too_long_for_its_worker_is_counted_and_said() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let (other, key) = with_a_session_too_long(&mut gateway, &worker);
    gateway.close(key, CloseReason::ClientLeft);
    told(&worker);
    gateway.gone(&worker, Gone::Silent);
    assert!(told(&other).is_empty());
    assert_eq!(gateway.shards[0].unfinished_closes(), 0);
    assert_eq!(gateway.workers.counts().closes_lost(), 1);
    assert!(matches!(gateway.notices()[..], [Notice::CloseTooLarge { limit: MAX_FRAME_LEN, .. }]));
}

#[test]
fn a_client_that_is_too_long_for_another_worker_is_closed_and_keeps_no_drain_waiting() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker("a", 1);
    let (other, _) = with_a_session_too_long(&mut gateway, &worker);
    gateway.drains(&worker);
    assert_eq!(gateway.closed(), [(7, CloseReason::TooLarge)]);
    assert!(told(&other).is_empty());
    assert_eq!(told(&worker), ["forget 7", "drained"]);
    assert_eq!(gateway.shards[0].unfinished_closes(), 0);
    assert_eq!(gateway.workers.counts().closes_lost(), 1);
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
