//! Clients that nobody has admitted yet, while workers come and go.

use gatewayworker_protocol::CloseReason;

use super::Gateway;
use crate::core::testing::{self, told};
use crate::core::worker_link::Gone;

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
