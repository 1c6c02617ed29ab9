//! Which session a handler gets, and what is written back.

use gatewayworker_protocol::Command;

use crate::support::Worker;

#[tokio::test]
async fn a_write_is_seen_by_the_next_event_although_that_carries_the_old_session() {
    let mut worker = Worker::start(|_| ()).await;
    let fake = &worker.fake;
    // All three leave the gateway before any handler has written.
    fake.set_session(1, "");
    fake.events([1, 2, 3].map(|_| fake.message(1, "count"))).await;
    for expected in ["n=1", "n=2", "n=3"] {
        assert_eq!(worker.sees().await, expected);
    }
    worker.say(1, "count").await;
    assert_eq!(worker.sees().await, "n=4");
}

#[tokio::test]
async fn a_write_is_seen_by_an_event_that_waits_while_the_event_link_ends() {
    let mut worker = Worker::start(|_| ()).await;
    let fake = &worker.fake;
    fake.set_session(1, "");
    fake.events(["count", "wait", "count"].map(|text| fake.message(1, text))).await;
    assert_eq!(worker.sees().await, "n=1");
    assert_eq!(worker.sees().await, "waiting 1");
    worker.fake.close_event_link().await;
    // Once there is a new link, all that the end of the old one does has been done.
    worker.fake.worker().await;
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "waited 1");
    assert_eq!(worker.sees().await, "n=2");
}

#[tokio::test]
async fn a_session_written_by_somebody_else_is_not_overwritten() {
    let mut worker = Worker::start(|_| ()).await;
    worker.fake.set_session(1, "");
    let old = worker.fake.message(1, "count");
    worker.fake.events([old.clone()]).await;
    assert_eq!(worker.sees().await, "n=1");
    assert!(matches!(worker.told().await, Command::SetSession { .. }));
    worker.fake.set_session(1, r#"a:2:{s:1:"n";i:1;s:5:"other";i:5;}"#);
    worker.fake.events([old]).await;
    assert_eq!(worker.sees().await, "n=2");
    let Command::SetSession { session, .. } = worker.told().await else { panic!() };
    assert_eq!(session, r#"a:2:{s:1:"n";i:2;s:5:"other";i:5;}"#);
}

#[tokio::test]
async fn a_merge_through_the_handle_is_seen_at_once_and_by_the_next_event() {
    let mut worker = Worker::start(|_| ()).await;
    let fake = &worker.fake;
    fake.set_session(1, r#"a:1:{s:1:"a";i:1;}"#);
    fake.events(["merge x", "session", "count", "session"].map(|text| fake.message(1, text))).await;
    let seen = [worker.sees().await, worker.sees().await, worker.sees().await, worker.sees().await];
    let merged = r#"{"a": 1, "m": "x"}"#;
    assert_eq!(seen, [merged, merged, "n=1", r#"{"a": 1, "m": "x", "n": 1}"#]);
}

/// The client has closed before its last write came to the gateway, which therefore
/// tells of its end with the session from before.
#[tokio::test]
async fn on_close_has_the_last_write_even_if_the_gateway_never_saw_it() {
    let mut worker = Worker::start(|_| ()).await;
    let fake = &worker.fake;
    fake.answer_with(|_| Some(b"N;".to_vec()));
    fake.events([fake.message(1, "count"), fake.message(1, "count"), fake.close(1, "timed-out")]).await;
    for expected in ["n=1", "n=2", r#"close 1 timed-out {"n": 2}"#] {
        assert_eq!(worker.sees().await, expected);
    }
}

#[tokio::test]
async fn a_new_client_with_an_old_id_does_not_inherit_a_session() {
    let mut worker = Worker::start(|_| ()).await;
    let fake = &worker.fake;
    let session = fake.message(1, "session");
    fake.events([fake.message(1, "count"), fake.connect(1), session]).await;
    for expected in ["n=1", "connect 1", "[]"] {
        assert_eq!(worker.sees().await, expected);
    }
}
