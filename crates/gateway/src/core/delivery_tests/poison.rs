//! Events that end workers, and those that are not given twice.

use gatewayworker_protocol::CloseReason;

use super::{Gateway, crash};
use crate::core::delivery_settings::{DeliveryMode, DeliverySettings};
use crate::core::effects::Notice;
use crate::core::ports::Directory;
use crate::core::testing::{self, told};
use crate::core::worker_link::Gone;

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
fn the_end_of_a_last_try_is_no_look_at_all_clients() {
    // More than one input looks at.
    const CLIENTS: u32 = 10_050;
    let mut gateway = Gateway::with(DeliverySettings { max_deliveries: 2, ..DeliverySettings::default() });
    let mut worker = gateway.worker("a", 1);
    let suspects: Vec<_> = (1..=3).map(|id| gateway.connected(id, &worker)).collect();
    suspects.iter().for_each(|key| gateway.say(*key, "x"));
    worker = crash(&mut gateway, &worker, Gone::Ended);
    assert_eq!(told(&worker), ["adopt 1", "message 1 x again", "adopt 2", "adopt 3"]);
    for id in 4..=CLIENTS {
        testing::client(&mut gateway.shards[0], id, &worker, testing::policy());
    }
    for id in [1, 2] {
        gateway.shards[0].end_events(worker.epoch(), &[(id, 2)]);
        assert!(gateway.workers.is_changed.take(), "others wait for that");
        gateway.shards[0].workers_changed();
        assert_eq!(gateway.shards[0].next_deadline(), None, "no sweep");
        assert_eq!(told(&worker), [format!("message {} x again", id + 1)]);
    }
    gateway.shards[0].end_events(worker.epoch(), &[(3, 2)]);
    assert!(!gateway.workers.is_changed.take(), "nobody waits");
    gateway.settle();
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
