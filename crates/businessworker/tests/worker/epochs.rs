//! What happens when the links to a gateway that acknowledges events end.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gatewayworker_businessworker::{CancellationToken, Client, Config, Events, Message, Result, serve};
use gatewayworker_protocol::{Command, EventCounts, Payload, PingBody, Question};
use tokio_util::task::AbortOnDropHandle;

use crate::fake::{FakeGateway, register, soon};
use crate::support::{INSTANCE, Worker, done, pair, told};

#[tokio::test]
async fn what_was_not_begun_when_the_same_gateway_is_back_is_dropped() {
    let mut worker = Worker::paired(|_| ()).await;
    let fake = &worker.fake;
    fake.events([fake.message(1, "wait"), fake.message(1, "old")]).await;
    assert_eq!(worker.sees().await, "waiting 1");
    worker.fake.close_event_link().await;
    worker.fake.worker().await;
    worker.pair(INSTANCE, 2).await;
    worker.say(1, "new").await;
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "waited 1");
    assert_eq!(worker.sees().await, "1: new");
    assert_eq!(worker.told().await, done(2, &[(1, 1)]), "nothing is said of the epoch before");
}

#[tokio::test]
async fn events_wait_while_it_is_not_known_what_has_become_of_their_gateway() {
    let mut worker = Worker::paired(|_| ()).await;
    let fake = &worker.fake;
    fake.events([fake.message(1, "wait"), fake.message(1, "held")]).await;
    assert_eq!(worker.sees().await, "waiting 1");
    worker.fake.close_event_link().await;
    // The next link is made when the end of the one before has been dealt with.
    worker.fake.worker().await;
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "waited 1");
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(worker.sees_now(), None);
}

#[tokio::test]
async fn events_that_wait_for_a_missing_gateway_take_no_room_from_others() {
    let mut living = FakeGateway::start().await;
    let mut worker = Worker::start_with(&[living.address], |_| ()).await;
    living.worker().await;
    pair(&mut living, INSTANCE + 1, 1).await;
    worker.pair(INSTANCE, 1).await;
    worker.say(1, "wait").await;
    assert_eq!(worker.sees().await, "waiting 1");
    // Together they take all the room for events, which is 64 MiB, but for half a megabyte.
    let long = "x".repeat(9_500_000);
    for _ in 0..7 {
        worker.say(1, &long).await;
    }
    worker.fake.close_event_link().await;
    worker.fake.worker().await;
    living.events([living.message(2, &format!("again? {}", &long[..1_000_000]))]).await;
    assert_eq!(worker.sees().await, "redelivered: false");
}

#[tokio::test]
async fn a_handler_whose_epoch_is_over_says_nothing_more() {
    let mut worker = Worker::paired(|_| ()).await;
    worker.say(1, "wait-echo late").await;
    assert_eq!(worker.sees().await, "waiting 1");
    worker.fake.close_event_link().await;
    worker.fake.worker().await;
    worker.pair(INSTANCE, 2).await;
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "sent: false");
    worker.say(1, "hi").await;
    assert_eq!(worker.told().await, done(2, &[(1, 1)]), "neither the message nor that it is done");
}

/// Runs a handler that speaks only when a link to its gateway has ended, with an event behind it.
async fn refused(worker: &mut Worker) {
    let fake = &worker.fake;
    let events = [fake.connect(1), fake.message(1, "wait-all hello"), fake.message(1, "behind")];
    fake.events(events).await;
    assert_eq!([worker.sees().await, worker.sees().await], ["connect 1", "waiting 1"]);
    worker.fake.close_event_link().await;
    worker.fake.worker().await;
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "sent: false, redelivered: false");
}

#[tokio::test]
async fn an_event_whose_calls_were_refused_is_handled_again_before_the_rest_if_its_gateway_is_lost() {
    let mut living = FakeGateway::start().await;
    let mut worker = Worker::start_with(&[living.address], |_| ()).await;
    living.worker().await;
    pair(&mut living, INSTANCE + 1, 1).await;
    worker.pair(INSTANCE, 1).await;
    refused(&mut worker).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(worker.sees_now(), None, "it is not known whether the gateway lives");
    worker.pair(INSTANCE + 2, 1).await;
    assert_eq!(worker.sees().await, "waiting 1");
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "sent: true, redelivered: true");
    assert_eq!(worker.sees().await, "1: behind");
    let close = r#"close 1 gateway-lost again {"n": 1}"#;
    assert_eq!(worker.sees().await, close, "what the refused handler changed is not kept");
    let Command::SendToAll { message, .. } = soon(told(&mut living)).await else { panic!("nothing is said") };
    assert_eq!(message, Payload::plain("hello"));
}

#[tokio::test]
async fn an_event_whose_calls_were_refused_is_dropped_when_the_same_gateway_is_back() {
    let mut worker = Worker::paired(|_| ()).await;
    refused(&mut worker).await;
    worker.pair(INSTANCE, 2).await;
    worker.say(1, "new").await;
    assert_eq!(worker.sees().await, "1: new");
    assert_eq!(worker.told().await, done(2, &[(1, 1)]));
}

#[tokio::test]
async fn a_worker_that_stops_does_not_wait_for_ever_for_an_event_whose_calls_were_refused() {
    let mut worker = Worker::paired(|config| config.shutdown_timeout_ms = 300).await;
    refused(&mut worker).await;
    let (_, mut seen) = worker.stop().await;
    assert_eq!(seen.recv().await.unwrap(), "stop");
}

#[tokio::test]
async fn the_end_of_the_call_link_ends_the_event_link() {
    let mut worker = Worker::paired(|_| ()).await;
    worker.fake.close_last_link().await;
    worker.fake.worker().await;
    worker.pair(INSTANCE, 2).await;
}

#[tokio::test]
async fn clients_of_a_lost_gateway_are_closed_behind_the_events_that_were_held() {
    let mut worker = Worker::paired(|_| ()).await;
    let fake = &worker.fake;
    fake.events([fake.connect(1), fake.connect(2), fake.message(1, "wait"), fake.message(1, "again?")]).await;
    let mut seen = [worker.sees().await, worker.sees().await, worker.sees().await];
    seen.sort();
    assert_eq!(seen, ["connect 1", "connect 2", "waiting 1"]);
    worker.fake.close_event_link().await;
    worker.fake.worker().await;
    // Another process at the address says that the one before is gone.
    let before = worker.pair(INSTANCE + 1, 1).await;
    assert!(!before.iter().any(|command| matches!(command, Command::Closed(_))), "{before:?}");
    assert_eq!(worker.sees().await, "close 2 gateway-lost again []");
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "waited 1");
    assert_eq!(worker.sees().await, "redelivered: true");
    assert_eq!(worker.sees().await, "close 1 gateway-lost again []");
}

#[tokio::test]
async fn what_a_handler_writes_while_its_gateway_is_missing_is_seen_by_the_events_that_were_held() {
    let mut worker = Worker::paired(|_| ()).await;
    let fake = &worker.fake;
    let events = [fake.connect(1), fake.message(1, "wait-count"), fake.message(1, "wait-count")];
    worker.fake.events(events).await;
    assert_eq!([worker.sees().await, worker.sees().await], ["connect 1", "waiting 1"]);
    worker.fake.close_event_link().await;
    worker.fake.worker().await;
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "n=1");
    // Another process at the address: the gateway is lost.
    worker.pair(INSTANCE + 1, 1).await;
    assert_eq!(worker.sees().await, "waiting 1");
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "n=2");
    assert_eq!(worker.sees().await, r#"close 1 gateway-lost again {"n": 2}"#);
}

#[tokio::test]
async fn what_a_handler_writes_whose_gateway_is_lost_meanwhile_is_seen_by_its_clients_close() {
    let mut worker = Worker::paired(|_| ()).await;
    worker.fake.events([worker.fake.connect(1), worker.fake.message(1, "wait-count")]).await;
    assert_eq!([worker.sees().await, worker.sees().await], ["connect 1", "waiting 1"]);
    worker.fake.close_event_link().await;
    worker.fake.worker().await;
    worker.pair(INSTANCE + 1, 1).await;
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "n=1");
    assert_eq!(worker.sees().await, r#"close 1 gateway-lost again {"n": 1}"#);
}

#[tokio::test]
async fn a_client_that_has_gone_to_another_worker_is_not_closed_here() {
    let mut worker = Worker::paired(|_| ()).await;
    let fake = &worker.fake;
    fake.events([fake.connect(1), fake.connect(2), Command::Forget(vec![1])]).await;
    assert_eq!([worker.sees().await, worker.sees().await], ["connect 1", "connect 2"]);
    worker.fake.close_event_link().await;
    worker.fake.worker().await;
    worker.pair(INSTANCE + 1, 1).await;
    assert_eq!(worker.sees().await, "close 2 gateway-lost again []");
    worker.say(3, "last").await;
    assert_eq!(worker.sees().await, "3: last");
}

#[tokio::test]
async fn a_handler_whose_session_the_gateway_cannot_say_as_its_link_ends_does_not_run() {
    let mut worker = Worker::paired(|_| ()).await;
    worker.fake.answer_with(|_| None);
    let old = worker.fake.message(1, "count");
    worker.fake.events([old.clone(), old]).await;
    assert_eq!(worker.sees().await, "n=1");
    while !matches!(worker.fake.told().await, Command::Ask(_)) {}
    worker.fake.close_last_link().await;
    worker.fake.worker().await;
    worker.pair(INSTANCE, 2).await;
    worker.say(1, "session").await;
    assert_eq!(worker.sees().await, r#"{"n": 1}"#, "the second was not handled");
    assert_eq!(worker.told().await, done(2, &[(1, 1)]));
}

#[tokio::test]
async fn an_event_whose_session_cannot_be_asked_for_during_a_short_cut_waits_and_no_link_ends() {
    const LINK_TIMEOUT: Duration = Duration::from_secs(3);
    let worker = Worker::paired(|config| {
        (config.link_ping_interval_ms, config.link_timeout_ms) = (50, LINK_TIMEOUT.as_millis() as u64);
    });
    let mut worker = worker.await;
    // The question that stands behind ATTACH is answered before the cut.
    soon(async {
        while worker.fake.pings() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    worker.fake.answer_with(|_| None);
    let old = worker.fake.message(1, "count");
    worker.fake.events([old.clone(), old]).await;
    let silent_since = Instant::now();
    assert_eq!(worker.sees().await, "n=1");
    while !matches!(worker.fake.told().await, Command::Ask(Question::Session(1))) {}
    // Events are begun within half of the time-out. The worker's heartbeats wake this loop.
    while silent_since.elapsed() < LINK_TIMEOUT.mul_f32(0.55) {
        worker.fake.told().await;
    }
    // Another worker has written meanwhile.
    let session = r#"a:1:{s:1:"n";i:7;}"#;
    worker.fake.answer_with(|_| Some(session.into()));
    worker.fake.answer_late(session.as_bytes()).await;
    let _beating = worker.fake.beat(Duration::from_millis(20));
    assert_eq!(worker.sees().await, "n=8");
    assert_eq!(worker.fake.links(), 2, "one event link and one call link");
}

#[tokio::test]
async fn a_gateway_that_falls_silent_is_linked_anew() {
    let worker = Worker::start(|config| {
        (config.link_ping_interval_ms, config.link_timeout_ms) = (50, 200);
    });
    let mut worker = worker.await;
    worker.pair(INSTANCE, 1).await;
    // It answers on the call link, and says nothing on the event link.
    worker.fake.worker().await;
    worker.pair(INSTANCE, 2).await;
}

#[tokio::test]
async fn an_event_begins_while_the_gateway_gives_signs_of_life_on_the_call_link() {
    const LINK_TIMEOUT: Duration = Duration::from_secs(4);
    let worker = Worker::paired(|config| {
        (config.link_ping_interval_ms, config.link_timeout_ms) = (50, LINK_TIMEOUT.as_millis() as u64);
    });
    let mut worker = worker.await;
    let silent_since = Instant::now();
    // The worker's heartbeats wake this loop.
    while silent_since.elapsed() < LINK_TIMEOUT.mul_f32(0.55) {
        worker.fake.told().await;
    }
    // That it comes says nothing: it may have waited in the socket while the worker was stopped.
    worker.say(1, "hi").await;
    assert_eq!(worker.sees().await, "1: hi");
}

/// It may hold events of this worker, which others have to get, and it does not know that the worker stops.
#[tokio::test]
async fn a_worker_that_stops_waits_for_a_gateway_that_is_missing_and_takes_no_successors_place() {
    let mut worker = Worker::start(|config| config.worker_id = Some("7".into())).await;
    worker.pair(INSTANCE, 1).await;
    worker.fake.events([worker.fake.connect(1)]).await;
    assert_eq!(worker.sees().await, "connect 1");
    worker.fake.close_event_link().await;
    // The epoch is over when the call link has ended.
    worker.fake.link_ended().await;
    worker.shutdown.cancel();
    let mut key = worker.fake.worker().await.worker_key.unwrap();
    if key == "BusinessWorker:7" {
        // It had connected before it was asked to stop.
        worker.fake.close_event_link().await;
        key = worker.fake.worker().await.worker_key.unwrap();
    }
    assert!(key.starts_with("BusinessWorker:7-"), "{key}");
    worker.pair(INSTANCE, 2).await;
    while worker.told().await != Command::Ping(PingBody::Draining.encode()) {}
    worker.fake.let_go().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_gateway_that_dies_while_a_worker_drains_is_lost_and_its_clients_are_closed() {
    let mut worker = Worker::paired(|_| ()).await;
    worker.fake.events([worker.fake.connect(1)]).await;
    assert_eq!(worker.sees().await, "connect 1");
    worker.shutdown.cancel();
    while worker.told().await != Command::Ping(PingBody::Draining.encode()) {}
    // Nothing is unfinished, and the gateway has not said yet that the client is another worker's.
    worker.fake.close_event_link().await;
    worker.fake.worker().await;
    worker.pair(INSTANCE + 1, 1).await;
    assert_eq!(worker.sees().await, "close 1 gateway-lost again []");
    worker.fake.let_go().await;
    worker.stop().await;
}

#[tokio::test]
async fn what_a_worker_has_given_back_runs_there_if_its_gateway_dies_beside_the_drain() {
    let mut worker = Worker::paired(|_| ()).await;
    let fake = &worker.fake;
    let events = [fake.connect(1), fake.message(1, "wait"), fake.message(1, "again?"), fake.connect(2)];
    fake.events(events).await;
    let mut seen = [worker.sees().await, worker.sees().await, worker.sees().await];
    seen.sort();
    assert_eq!(seen, ["connect 1", "connect 2", "waiting 1"]);
    worker.shutdown.cancel();
    while worker.told().await != given_back(1) {}
    worker.say(1, "behind").await;
    while worker.told().await != given_back(1) {}
    worker.say(2, "gone").await;
    while worker.told().await != given_back(2) {}
    worker.fake.events([Command::Forget(vec![2])]).await;
    worker.fake.close_event_link().await;
    worker.fake.worker().await;
    worker.pair(INSTANCE + 1, 1).await;
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "waited 1");
    assert_eq!(worker.sees().await, "redelivered: true");
    assert_eq!(worker.sees().await, "1: behind");
    assert_eq!(worker.sees().await, "close 1 gateway-lost again []");
    worker.fake.let_go().await;
    let (_, mut seen) = worker.stop().await;
    assert_eq!(seen.recv().await.unwrap(), "stop", "nothing of client 2, which is another worker's");
}

/// An event of a client is given back.
fn given_back(client: u32) -> Command {
    Command::Return { epoch: 1, counts: EventCounts(vec![(client, 1)]), is_begun: false }
}

#[tokio::test]
async fn a_worker_that_its_gateway_lets_go_stops_at_once_and_leaves_its_clients_to_the_gateway() {
    let mut worker = Worker::paired(|_| ()).await;
    worker.fake.events([worker.fake.connect(1)]).await;
    assert_eq!(worker.sees().await, "connect 1");
    worker.shutdown.cancel();
    while worker.told().await != Command::Ping(PingBody::Draining.encode()) {}
    worker.fake.let_go().await;
    let (mut fake, mut seen) = worker.stop().await;
    assert_eq!(seen.recv().await.unwrap(), "stop");
    assert_eq!(seen.recv().await, None, "no close of the client");
    // Whatever is said until then reaches the gateway, by handlers of other gateways' clients, too.
    while !matches!(soon(fake.told()).await, Command::SendToAll { .. }) {}
    assert_eq!(fake.links(), 2, "one event link and one call link");
}

#[tokio::test]
async fn a_worker_that_stops_waits_for_a_dead_gateway_within_its_limit() {
    let mut worker = Worker::start(|config| config.shutdown_timeout_ms = 300).await;
    worker.pair(INSTANCE, 1).await;
    worker.fake.events([worker.fake.connect(1)]).await;
    assert_eq!(worker.sees().await, "connect 1");
    worker.shutdown.cancel();
    while worker.told().await != Command::Ping(PingBody::Draining.encode()) {}
    let drains_since = Instant::now();
    worker.fake.close_event_link().await;
    let (_, mut seen) = worker.stop().await;
    assert!(drains_since.elapsed() >= Duration::from_millis(200), "it is not taken for one that has let go");
    assert_eq!(seen.recv().await.unwrap(), "stop");
}

/// Blocks its thread until the test says so.
#[derive(Clone, Default)]
struct Blocks(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    blocks: bool,
    may_go_on: bool,
}

impl Events for Blocks {
    async fn on_message(&self, _: &Client, _: Message) -> Result {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.blocks = true;
        changed.notify_all();
        drop(changed.wait_while(state, |state| !state.may_go_on));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_blocks_its_thread_does_not_stop_the_heartbeats() {
    let mut fake = FakeGateway::start().await;
    let (register, _running) = register(&[fake.address]).await;
    let config = Config::default()
        .with_register_address([register])
        .with_link_ping_interval_ms(20)
        .with_link_timeout_ms(60_000);
    let blocks = Blocks::default();
    let _serving =
        AbortOnDropHandle::new(tokio::spawn(serve(config, blocks.clone(), CancellationToken::new())));
    fake.worker().await;
    pair(&mut fake, INSTANCE, 1).await;
    // It blocks the links' thread, and all that runs there.
    fake.events([fake.message(1, "block")]).await;
    let state = blocks.0.clone();
    let blocked = move || {
        let (state, changed) = &*state;
        drop(changed.wait_while(state.lock().unwrap(), |state| !state.blocks));
    };
    soon(tokio::task::spawn_blocking(blocked)).await.unwrap();
    fake.told_already();
    let mut beats = 0;
    while beats < 6 {
        let command = fake.told().await;
        assert_eq!(command, Command::Ping(Default::default()), "the handler has not returned");
        beats += 1;
    }
    blocks.0.0.lock().unwrap().may_go_on = true;
    blocks.0.1.notify_all();
    loop {
        match fake.told().await {
            Command::Done { .. } => break,
            other => assert_eq!(other, Command::Ping(Default::default())),
        }
    }
}
