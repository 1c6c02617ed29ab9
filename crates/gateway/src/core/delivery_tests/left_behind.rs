//! Clients that former workers may have closed, as they may have taken the gateway for lost.

use gatewayworker_protocol::{CloseReason, Features};

use super::{Gateway, crash};
use crate::core::testing::told;
use crate::core::worker_link::{Gone, Peer};

#[test]
fn the_close_of_a_client_is_marked_when_the_gateway_was_unheard_after_its_worker_was_gone() {
    for how in [Gone::Ended, Gone::Silent, Gone::Stopped] {
        let mut gateway = Gateway::new();
        let first = gateway.worker("a", 1);
        let (taken, closed) = (gateway.connected(7, &first), gateway.connected(8, &first));
        let second = crash(&mut gateway, &first, how);
        let own = gateway.connect(9, &second);
        // Its close is under way already.
        gateway.close(closed, CloseReason::ClientLeft);
        gateway.shards[0].set_unheard(true);
        gateway.shards[0].set_unheard(false);
        told(&second);
        gateway.close(taken, CloseReason::ClientLeft);
        gateway.close(own, CloseReason::ClientLeft);
        assert_eq!(told(&second), ["close 7 again", "close 9"], "{how:?}");
        let third = crash(&mut gateway, &second, Gone::Ended);
        let events = ["close 7 again", "close 8 again", "connect 9 again", "close 9 again"];
        assert_eq!(
            told(&third).into_iter().filter(|told| !told.contains("adopt")).collect::<Vec<_>>(),
            events
        );
    }
}

#[test]
fn the_close_of_a_client_is_marked_when_its_worker_goes_while_the_gateway_is_unheard() {
    let mut gateway = Gateway::new();
    let first = gateway.worker("a", 1);
    let other = gateway.worker("b", 2);
    let (client, closed) = (gateway.connected(7, &first), gateway.connected(8, &first));
    let alive = gateway.connected(9, &other);
    gateway.shards[0].set_unheard(true);
    gateway.gone(&first, Gone::Ended);
    gateway.close(closed, CloseReason::ClientLeft);
    gateway.shards[0].set_unheard(false);
    told(&other);
    gateway.done(&other, 7, 1);
    gateway.close(client, CloseReason::ClientLeft);
    // This one's worker was not gone.
    gateway.close(alive, CloseReason::ClientLeft);
    assert_eq!(told(&other), ["close 7 again", "close 9"]);
}

#[test]
fn a_close_that_has_waited_for_a_worker_is_marked() {
    let mut gateway = Gateway::new();
    let first = gateway.worker("a", 1);
    let client = gateway.connected(7, &first);
    gateway.gone(&first, Gone::Silent);
    gateway.close(client, CloseReason::Shutdown);
    gateway.shards[0].set_unheard(true);
    let next = gateway.worker("b", 2);
    assert_eq!(told(&next), ["adopt 7", "close 7 again"]);
}

#[test]
fn a_close_is_not_marked_as_long_as_the_gateway_is_heard() {
    let mut gateway = Gateway::new();
    let first = gateway.worker("a", 1);
    let client = gateway.connected(7, &first);
    let second = crash(&mut gateway, &first, Gone::Ended);
    gateway.done(&second, 7, 1);
    gateway.close(client, CloseReason::ClientLeft);
    assert_eq!(told(&second), ["adopt 7", "close 7"]);
}

#[test]
fn a_worker_that_was_let_go_or_has_linked_again_leaves_no_client_in_its_books() {
    let mut gateway = Gateway::new();
    let drained = gateway.worker("a", 1);
    let moved = gateway.connected(7, &drained);
    gateway.drains(&drained);
    assert_eq!(told(&drained), ["drained"], "there is no other worker");
    gateway.gone(&drained, Gone::Stopped);
    let second = gateway.worker("b", 2);
    told(&second);
    let back = gateway.connected(8, &second);
    gateway.shards[0].set_unheard(true);
    gateway.gone(&second, Gone::Ended);
    let peer = Peer { features: Features::ALL, epoch: 3, process: second.process() };
    let again = gateway.workers.join("b", 1 << 20, peer);
    gateway.settle();
    gateway.close(back, CloseReason::ClientLeft);
    assert_eq!(told(&again).last().unwrap(), "close 8");
    // The first worker has dropped its books.
    gateway.close(moved, CloseReason::ClientLeft);
    assert_eq!(told(&again), ["close 7"]);
}

#[test]
fn a_worker_that_goes_before_it_is_told_to_forget_a_moved_client_has_it_in_its_books() {
    let mut gateway = Gateway::new();
    let draining = gateway.worker("a", 1);
    let client = gateway.connected(7, &draining);
    let other = gateway.worker("b", 2);
    gateway.drains(&draining);
    assert_eq!(told(&other), ["adopt 7"]);
    gateway.gone(&draining, Gone::Stopped);
    gateway.done(&other, 7, 1);
    gateway.shards[0].set_unheard(true);
    gateway.close(client, CloseReason::ClientLeft);
    assert_eq!(told(&other), ["close 7 again"]);
}

#[test]
fn a_lost_adopt_leaves_the_client_in_the_books_of_its_first_worker() {
    let mut gateway = Gateway::new();
    let draining = gateway.worker("a", 1);
    let client = gateway.connected(7, &draining);
    gateway.say(client, "1");
    let other = gateway.worker("b", 2);
    gateway.drains(&draining);
    gateway.gives_back(&draining, 7, 1);
    gateway.gone(&other, Gone::Replaced);
    gateway.gone(&draining, Gone::Stopped);
    let last = gateway.worker("c", 3);
    gateway.shards[0].set_unheard(true);
    told(&last);
    gateway.close(client, CloseReason::ClientLeft);
    assert_eq!(told(&last), ["close 7 again"]);
}
