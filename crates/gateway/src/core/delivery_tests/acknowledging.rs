//! Events that a worker has finished, has not, or cannot be given.

use gatewayworker_protocol::Features;

use super::Gateway;
use crate::core::client::Waits;
use crate::core::delivery_settings::DeliverySettings;
use crate::core::effects::Notice;
use crate::core::ports::Directory;
use crate::core::testing::told;
use crate::core::worker_link::{Gone, Peer};

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
