//! What workers are told of cuts and of clients that come back.

use super::super::super::link_buffer::LinkBuffer;
use super::super::super::worker_link::{Gone, Peer};
use super::*;

/// Its worker goes. The next one, if any, lists these features.
fn replace_worker(site: &mut Site, next: Option<Features>) {
    site.worker.buffer.finish();
    site.workers.leave(&site.worker);
    site.shard.worker_gone(&site.worker, Gone::Silent);
    site.settle();
    if let Some(features) = next {
        let peer = Peer { features, epoch: 9, process: Some(9) };
        site.worker = site.workers.join("next", 1 << 20, peer);
        site.settle();
    }
}

#[test]
fn a_worker_that_lists_it_is_told_of_cuts_in_order_with_messages() {
    let mut site = Site::with(|workers| workers.join_paired("worker", 1));
    site.send_text("before");
    site.shard.read_ended(site.key);
    site.shard.read_ended(site.key);
    assert!(matches!(site.come_back(), Attached::Yes(_)));
    site.send_text("behind");
    let told = ["connect 1", "message 1 before", "detached 1", "resumed 1 handshake", "message 1 behind"];
    assert_eq!(testing::told(&site.worker), told);
}

#[test]
fn a_client_whose_old_line_seemed_alive_is_told_to_have_come_back_and_nothing_else() {
    let mut site = Site::with(|workers| workers.join_paired("worker", 1));
    assert!(matches!(site.come_back(), Attached::Yes(_)));
    assert_eq!(testing::told(&site.worker), ["connect 1", "resumed 1 handshake"]);
}

#[test]
fn a_client_that_does_not_get_its_own_back_is_no_event() {
    let mut site = Site::with(|workers| workers.join_paired("worker", 1));
    site.client.got = vec!["never".to_owned()];
    assert!(matches!(site.come_back(), Attached::Ended(..)));
    site.client.got.clear();
    site.client.attempt = 0;
    site.shard.read_ended(site.key);
    site.settle();
    site.shard.advance(60_000);
    assert!(matches!(site.come_back(), Attached::Lost(..)));
    assert_eq!(testing::told(&site.worker), ["connect 1", "detached 1", "close 1"]);
}

#[test]
fn while_nobody_takes_events_the_last_cut_or_return_behind_a_message_replaces_those_before() {
    let mut site = Site::with(|workers| workers.join_paired("worker", 1));
    site.shard.read_ended(site.key);
    assert_eq!(testing::told(&site.worker), ["connect 1", "detached 1"]);
    replace_worker(&mut site, None);
    for _ in 0..1000 {
        assert!(matches!(site.come_back(), Attached::Yes(_)));
        site.shard.read_ended(site.key);
    }
    assert!(matches!(site.come_back(), Attached::Yes(_)));
    let log = site.shard.table.get(site.key).unwrap().log.as_ref().unwrap();
    assert_eq!(
        log.len(),
        3,
        "the connect and the cut that the first worker may have begun, and the last return"
    );
    let worker = Peer { features: testing::OURS, epoch: 9, process: Some(9) };
    site.worker = site.workers.join("next", 1 << 20, worker);
    site.settle();
    let told = ["connect 1 again", "detached 1 again", "resumed 1 handshake"];
    assert_eq!(testing::told(&site.worker), told);
    site.shard.check().unwrap();
}

#[test]
fn an_event_of_a_cut_that_is_given_to_a_worker_that_does_not_list_it_is_left_out() {
    let mut site = Site::with(|workers| workers.join_paired("worker", 1));
    site.shard.read_ended(site.key);
    assert!(matches!(site.come_back(), Attached::Yes(_)));
    site.send_text("hi");
    let features = Features { detached_events: false, ..testing::OURS };
    replace_worker(&mut site, Some(features));
    site.shard.read_ended(site.key);
    assert_eq!(testing::told(&site.worker), ["connect 1 again", "message 1 hi again"]);
    site.shard.check().unwrap();
}

#[test]
fn a_client_that_is_closed_while_it_is_away_is_told_as_closed() {
    let mut site = Site::with(|workers| workers.join_paired("worker", 1));
    site.shard.read_ended(site.key);
    site.execute(Command::Kick { connection_id: 1, message: None });
    assert!(matches!(site.come_back(), Attached::Ended(..)));
    assert_eq!(testing::told(&site.worker), ["connect 1", "detached 1", "close 1"]);
}
