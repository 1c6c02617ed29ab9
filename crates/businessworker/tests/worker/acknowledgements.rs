//! What a worker says of events to a gateway that acknowledges them.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use gatewayworker_businessworker::CloseReason;
use gatewayworker_protocol::{Command, EventCounts, FLAG_REDELIVERED, PingBody};

use crate::fake::FakeGateway;
use crate::support::{Worker, done, pair, to_one, told};

#[tokio::test]
async fn an_event_is_done_behind_what_its_handler_said_and_the_session_that_it_changed() {
    let mut worker = Worker::paired(|_| ()).await;
    worker.fake.set_session(1, "");
    worker.say(1, "echo hi").await;
    assert_eq!(worker.told().await, to_one(1, "echo hi"));
    assert_eq!(worker.told().await, done(1, &[(1, 1)]));
    worker.say(1, "count").await;
    assert!(matches!(worker.told().await, Command::SetSession { .. }));
    assert_eq!(worker.told().await, done(1, &[(1, 1)]));
}

#[tokio::test]
async fn events_that_end_in_one_turn_are_told_together() {
    let mut worker = Worker::paired(|_| ()).await;
    let fake = &worker.fake;
    fake.events([1, 1, 1, 2].map(|client| fake.message(client, "hi"))).await;
    let mut counts = Vec::new();
    while counts.iter().map(|(_, events)| events).sum::<u32>() < 4 {
        let Command::Done { counts: EventCounts(more), .. } = worker.told().await else { panic!("no DONE") };
        counts.extend(more);
    }
    assert!(counts.len() <= 3, "{counts:?}");
}

#[tokio::test]
async fn an_event_whose_handler_waits_is_not_done_and_those_of_other_clients_are() {
    let mut worker = Worker::paired(|_| ()).await;
    worker.say(1, "wait").await;
    assert_eq!(worker.sees().await, "waiting 1");
    worker.say(2, "hi").await;
    assert_eq!(worker.told().await, done(1, &[(2, 1)]));
    worker.gate.notify_one();
    assert_eq!(worker.told().await, done(1, &[(1, 1)]));
}

#[tokio::test]
async fn a_handler_that_fails_or_panics_is_done() {
    let mut worker = Worker::paired(|_| ()).await;
    for text in ["fail", "panic"] {
        worker.say(1, text).await;
        assert_eq!(worker.told().await, done(1, &[(1, 1)]));
    }
}

#[tokio::test]
async fn a_gateway_that_does_not_acknowledge_events_is_told_nothing_of_them() {
    let mut worker = Worker::start(|_| ()).await;
    for text in ["echo one", "echo two"] {
        worker.say(1, text).await;
        assert_eq!(worker.told().await, to_one(1, text));
    }
}

#[tokio::test]
async fn an_event_is_done_when_what_its_handler_said_to_other_gateways_is_written() {
    let other = FakeGateway::start().await;
    let mut worker = Worker::start_with(&[other.address], |_| ()).await;
    worker.pair(7, 1).await;
    other.freeze();
    // More than sockets hold.
    worker.say(1, "all 9000000").await;
    assert_eq!(worker.sees().await, "sent to all");
    assert!(matches!(worker.told().await, Command::SendToAll { .. }));
    worker.say(2, "echo hi").await;
    assert_eq!(worker.told().await, to_one(2, "echo hi"));
    assert_eq!(worker.told().await, done(1, &[(2, 1)]), "that of client 1 is not done");
    worker.say(1, "echo behind").await;
    assert_eq!(worker.told().await, to_one(1, "echo behind"));
    other.thaw();
    assert_eq!(worker.told().await, done(1, &[(1, 2)]));
}

#[tokio::test]
async fn an_event_whose_handler_met_a_dead_link_is_not_done_for_a_while() {
    let dead = FakeGateway::start().await.address;
    let mut worker = Worker::start_with(&[dead], |config| {
        (config.link_ping_interval_ms, config.link_timeout_ms) = (250, 1000);
    })
    .await;
    worker.pair(7, 1).await;
    let _beating = worker.fake.beat(Duration::from_millis(50));
    let hold = Duration::from_secs(2);
    let started = Instant::now();
    worker.say(1, "all 3").await;
    assert!(matches!(worker.told().await, Command::SendToAll { .. }));
    worker.say(2, "hi").await;
    assert_eq!(worker.told().await, done(1, &[(2, 1)]));
    assert_eq!(worker.told().await, done(1, &[(1, 1)]));
    assert!(started.elapsed() >= hold, "after {:?}", started.elapsed());
    // A gateway that stays away does not hold up each event anew.
    let again = Instant::now();
    worker.say(1, "all 3").await;
    assert!(matches!(worker.told().await, Command::SendToAll { .. }));
    assert_eq!(worker.told().await, done(1, &[(1, 1)]));
    assert!(again.elapsed() < hold, "after {:?}", again.elapsed());
}

#[tokio::test]
async fn a_handler_sees_that_its_event_was_given_before() {
    let mut worker = Worker::paired(|_| ()).await;
    for redelivered in [false, true] {
        let mut frame = worker.fake.message(1, "again?").into_frame();
        frame.flag |= if redelivered { FLAG_REDELIVERED } else { 0 };
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        worker.fake.send(&bytes).await;
        assert_eq!(worker.sees().await, format!("redelivered: {redelivered}"));
    }
}

#[tokio::test]
async fn a_client_that_comes_from_another_worker_is_done_at_once() {
    let mut worker = Worker::paired(|_| ()).await;
    let adopt = Command::Adopt { origin: worker.fake.origin(3), session: "s".into() };
    worker.fake.events([adopt]).await;
    assert_eq!(worker.told().await, done(1, &[(3, 1)]));
}

#[tokio::test]
async fn a_worker_that_stops_gives_back_what_it_has_not_begun_and_finishes_what_it_has() {
    let mut worker = Worker::paired(|_| ()).await;
    let fake = &worker.fake;
    fake.events([fake.message(1, "wait"), fake.message(1, "after"), fake.message(1, "behind")]).await;
    assert_eq!(worker.sees().await, "waiting 1");
    worker.shutdown.cancel();
    // One that was on its way.
    worker.say(1, "late").await;
    let (mut returned, mut is_told) = (0, false);
    while returned < 3 || !is_told {
        match worker.told().await {
            Command::Return { epoch: 1, counts: EventCounts(counts), is_begun: false } => {
                assert!(counts.iter().all(|(client, _)| *client == 1));
                returned += counts.iter().map(|(_, events)| events).sum::<u32>();
            }
            other => {
                assert_eq!(other, Command::Ping(PingBody::Draining.encode()));
                is_told = true;
            }
        }
    }
    assert_eq!(returned, 3);
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "waited 1");
    assert_eq!(worker.told().await, done(1, &[(1, 1)]));
    worker.fake.let_go().await;
    let (_fake, mut seen) = worker.stop().await;
    assert_eq!(seen.recv().await.unwrap(), "stop", "nothing else was handled");
}

#[tokio::test]
async fn an_event_that_its_handler_gives_back_is_marked_where_it_was_begun() {
    for (message, is_begun) in [("give-back", false), ("give-back begun", true)] {
        let mut worker = Worker::paired(|_| ()).await;
        worker.say(1, message).await;
        assert_eq!(worker.sees().await, "waiting 1, redelivered: false");
        // It does not drain: it handles the event once more.
        worker.gate.notify_one();
        assert_eq!(worker.sees().await, format!("waiting 1, redelivered: {is_begun}"));
        worker.say(1, "behind").await;
        worker.shutdown.cancel();
        loop {
            match worker.told().await {
                Command::Return { counts, is_begun: false, .. } => {
                    assert_eq!(counts.0, [(1, 1)], "the event behind");
                    break;
                }
                other => assert_eq!(other, Command::Ping(PingBody::Draining.encode())),
            }
        }
        worker.gate.notify_one();
        let counts = EventCounts(vec![(1, 1)]);
        assert_eq!(worker.told().await, Command::Return { epoch: 1, counts, is_begun });
        worker.fake.let_go().await;
        worker.stop().await;
    }
}

#[tokio::test]
async fn an_event_that_waits_for_a_permit_is_given_back_too() {
    let mut worker = Worker::start(|config| config.concurrency = 1).await;
    worker.pair(7, 1).await;
    let fake = &worker.fake;
    fake.events([fake.message(1, "wait"), fake.message(2, "after"), fake.message(2, "behind")]).await;
    assert_eq!(worker.sees().await, "waiting 1");
    worker.shutdown.cancel();
    worker.gate.notify_one();
    let mut counts = 0;
    while counts < 2 {
        if let Command::Return { counts: EventCounts(returned), .. } = worker.told().await {
            assert!(returned.iter().all(|(client, _)| *client == 2));
            counts += returned.iter().map(|(_, events)| events).sum::<u32>();
        }
    }
    worker.fake.let_go().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_stops_does_not_wait_for_ever_for_a_handler() {
    let mut worker = Worker::start(|config| config.shutdown_timeout_ms = 100).await;
    worker.pair(7, 1).await;
    worker.say(1, "forever").await;
    worker.stop().await;
}

#[tokio::test]
async fn two_gateways_are_told_each_of_its_own_events() {
    let mut other = FakeGateway::start().await;
    let mut worker = Worker::start_with(&[other.address], |_| ()).await;
    worker.pair(7, 1).await;
    other.worker().await;
    pair(&mut other, 8, 5).await;
    worker.say(1, "hi").await;
    other.events([other.message(2, "hi")]).await;
    assert_eq!(worker.told().await, done(1, &[(1, 1)]));
    assert_eq!(told(&mut other).await, done(5, &[(2, 1)]));
}

#[tokio::test]
async fn a_close_is_done_and_names_its_reason() {
    let mut worker = Worker::paired(|_| ()).await;
    let close = worker.fake.close(1, CloseReason::TimedOut.as_str());
    worker.fake.events([close]).await;
    assert_eq!(worker.sees().await, "close 1 timed-out []");
    assert_eq!(worker.told().await, done(1, &[(1, 1)]));
}
