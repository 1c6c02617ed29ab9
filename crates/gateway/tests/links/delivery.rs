//! Events that a worker acknowledges: those that it has not finished when it is gone are given to
//! another worker, marked, in each client's order.

use gatewayworker_gateway::Config;
use gatewayworker_protocol::{Command, EventCounts, PingBody, Question};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Gateway, client, close_code, gateway, say, soon};
use crate::pair::{EventLink, Pair};

/// A gateway that gives a silent worker up after a second.
async fn quick_gateway(change: impl FnOnce(&mut Config)) -> Gateway {
    gateway(|config| {
        config.link_ping_interval_ms = 200;
        config.link_timeout_ms = 1000;
        change(config);
    })
    .await
}

/// Links a worker that pings.
async fn worker(gateway: &Gateway, name: &str, process: u64) -> Pair {
    let mut pair = Pair::connect(gateway, name, process).await;
    pair.ping_both();
    pair
}

/// Returns a client of this worker, and its connection id.
async fn client_of(gateway: &Gateway, worker: &mut Pair) -> (TcpStream, u32) {
    tokio::join!(client(gateway), worker.admit())
}

fn numbers(numbers: impl IntoIterator<Item = u32>) -> impl Iterator<Item = String> {
    numbers.into_iter().map(|number| number.to_string())
}

#[tokio::test]
async fn a_client_has_so_many_unfinished_events_and_more_when_they_are_done() {
    let gateway = quick_gateway(|_| ()).await;
    let mut worker = worker(&gateway, "W:0", 1).await;
    let (mut client, id) = client_of(&gateway, &mut worker).await;
    say(&mut client, numbers(0..1000)).await;
    let given = worker.events.until_pings().await.len() as u32;
    assert!((1..1000).contains(&given), "{given}");
    worker.done(id, given).await;
    for number in given..1000 {
        assert_eq!(worker.message().await, (number.to_string(), false));
        worker.done(id, 1).await;
    }
}

#[tokio::test]
async fn the_events_of_a_worker_that_is_gone_go_to_another_with_the_session_of_now() {
    for how in ["frozen", "crashed", "its call link cut"] {
        let gateway = quick_gateway(|_| ()).await;
        let mut first = worker(&gateway, "W:0", 1).await;
        let (mut client, id) = client_of(&gateway, &mut first).await;
        let mut second = worker(&gateway, "W:1", 2).await;
        say(&mut client, numbers(0..4)).await;
        for number in 0..3 {
            assert_eq!(first.message().await, (number.to_string(), false));
        }
        first.calls.send([Command::SetSession { connection_id: id, session: "s:1:\"x\";".into() }]).await;
        first.done(id, 1).await;
        match how {
            "frozen" => first.freeze(),
            "crashed" => drop(first),
            _ => first.cut_calls(),
        }
        assert_eq!(second.adopt(id).await, "s:1:\"x\";", "{how}");
        for number in 1..4 {
            assert_eq!(second.message().await, (number.to_string(), true), "{how}");
        }
        // A later one is not marked.
        say(&mut client, numbers(4..5)).await;
        assert_eq!(second.message().await, ("4".into(), false), "{how}");
        second.done(id, 4).await;
    }
}

#[tokio::test]
async fn a_done_of_an_older_epoch_finishes_nothing() {
    let gateway = quick_gateway(|_| ()).await;
    let mut older = worker(&gateway, "W:0", 1).await;
    let (mut client, id) = client_of(&gateway, &mut older).await;
    say(&mut client, numbers(0..1)).await;
    assert_eq!(older.message().await, ("0".into(), false));
    let epoch = older.events.pairing.epoch;
    let mut newer = worker(&gateway, "W:0", 1).await;
    newer.adopt(id).await;
    assert_eq!(newer.message().await, ("0".into(), true));
    let counts = || EventCounts(vec![(id, 1)]);
    newer.calls.send([Command::Done { epoch, counts: counts() }]).await;
    let _ = newer.calls.ask(Question::IsOnline(id)).await;
    drop(newer);
    let mut last = worker(&gateway, "W:0", 1).await;
    last.adopt(id).await;
    assert_eq!(last.message().await, ("0".into(), true), "it is still unfinished");
}

#[tokio::test]
async fn a_link_that_drains_ends_when_all_is_done_or_returned_and_its_clients_are_adopted() {
    let gateway = quick_gateway(|_| ()).await;
    let mut first = worker(&gateway, "W:0", 1).await;
    let (mut client, id) = client_of(&gateway, &mut first).await;
    let mut second = worker(&gateway, "W:1", 2).await;
    say(&mut client, numbers(0..2)).await;
    for number in 0..2 {
        assert_eq!(first.message().await, (number.to_string(), false));
    }
    first.events.send(Command::Ping(PingBody::Draining.encode())).await;
    let epoch = first.events.pairing.epoch;
    let counts = EventCounts(vec![(id, 1)]);
    first.calls.send([Command::Return { epoch, counts, is_begun: false }]).await;
    say(&mut client, numbers(2..3)).await;
    // The first event is not done: nobody else is given the client's events.
    assert_eq!(second.events.until_pings().await, []);
    assert_eq!(first.events.until_pings().await, []);
    first.done(id, 1).await;
    let adopt = second.events.event().await;
    assert!(matches!(adopt, Some(Command::Adopt { .. })), "{adopt:?}");
    // Its ADOPT is not done: the link stays.
    assert_eq!(first.events.until_pings().await, []);
    second.done(id, 1).await;
    // What was returned was never begun.
    assert_eq!(second.message().await, ("1".into(), false));
    assert_eq!(second.message().await, ("2".into(), false));
    assert_eq!(first.events.event().await, Some(Command::Forget(vec![id])));
    assert_eq!(first.events.event().await, Some(Command::Ping(PingBody::Drained.encode())));
    assert_eq!(first.events.event().await, None);
}

#[tokio::test]
async fn of_events_that_a_worker_gives_back_begun_the_first_is_marked() {
    let gateway = quick_gateway(|_| ()).await;
    let mut first = worker(&gateway, "W:0", 1).await;
    let (mut client, id) = client_of(&gateway, &mut first).await;
    let mut second = worker(&gateway, "W:1", 2).await;
    say(&mut client, numbers(0..2)).await;
    for number in 0..2 {
        assert_eq!(first.message().await, (number.to_string(), false));
    }
    first.events.send(Command::Ping(PingBody::Draining.encode())).await;
    let epoch = first.events.pairing.epoch;
    let counts = EventCounts(vec![(id, 2)]);
    first.calls.send([Command::Return { epoch, counts, is_begun: true }]).await;
    second.adopt(id).await;
    assert_eq!(second.message().await, ("0".into(), true));
    assert_eq!(second.message().await, ("1".into(), false));
}

#[tokio::test]
async fn a_worker_that_ends_while_it_drains_leaves_its_events_to_others() {
    let gateway = quick_gateway(|_| ()).await;
    let mut first = worker(&gateway, "W:0", 1).await;
    let (mut client, id) = client_of(&gateway, &mut first).await;
    let mut second = worker(&gateway, "W:1", 2).await;
    say(&mut client, numbers(0..1)).await;
    assert_eq!(first.message().await, ("0".into(), false));
    first.events.send(Command::Ping(PingBody::Draining.encode())).await;
    drop(first);
    second.adopt(id).await;
    assert_eq!(second.message().await, ("0".into(), true));
}

#[tokio::test]
async fn a_gateway_that_stops_waits_until_its_workers_have_handled_the_closes() {
    let gateway = quick_gateway(|config| config.shutdown_spread_ms = 0).await;
    let mut worker = worker(&gateway, "W:0", 1).await;
    let (mut client, id) = client_of(&gateway, &mut worker).await;
    gateway.shutdown.cancel();
    assert_eq!(close_code(&mut client).await, 1001);
    drop(client);
    let close = worker.events.event().await;
    assert!(matches!(close, Some(Command::OnClose { .. })), "{close:?}");
    assert_eq!(worker.events.until_pings().await, []);
    assert!(!gateway.task.is_finished());
    // The close is still a client's: it can write its session.
    worker.done(id, 1).await;
    assert_eq!(worker.events.event().await, None);
    drop(worker);
    soon("end of the gateway", gateway.task).await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_stops_does_not_wait_for_ever() {
    let gateway = quick_gateway(|config| {
        (config.shutdown_spread_ms, config.shutdown_timeout_ms) = (0, 500);
    })
    .await;
    let mut worker = worker(&gateway, "W:0", 1).await;
    let _client = client_of(&gateway, &mut worker).await;
    gateway.shutdown.cancel();
    let close = worker.events.event().await;
    assert!(matches!(close, Some(Command::OnClose { .. })), "{close:?}");
    assert_eq!(worker.events.event().await, None);
    drop(worker);
    soon("end of the gateway", gateway.task).await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_stops_waits_for_a_worker_that_is_missing() {
    let register = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = quick_gateway(|config| {
        config.register_address = vec![register.local_addr().unwrap().to_string()];
        (config.shutdown_spread_ms, config.shutdown_timeout_ms) = (0, 3_600_000);
    })
    .await;
    let mut announced = soon("announcement", register.accept()).await.unwrap().0;
    let mut worker = worker(&gateway, "W:0", 1).await;
    let (mut client, id) = client_of(&gateway, &mut worker).await;
    worker.calls.ask(Question::IsOnline(0)).await;
    drop(worker);
    gateway.shutdown.cancel();
    assert_eq!(close_code(&mut client).await, 1001);
    drop(client);
    soon("leave", announced.read_to_end(&mut Vec::new())).await.unwrap();
    // Workers link to a gateway that is announced.
    let mut announced = soon("announcement", register.accept()).await.unwrap().0;
    let mut worker = self::worker(&gateway, "W:0", 2).await;
    soon("leave", announced.read_to_end(&mut Vec::new())).await.unwrap();
    worker.adopt(id).await;
    // It is marked if the gateway gave it to the first worker before it saw that worker's links end.
    let (closed, _) = worker.close().await;
    assert_eq!(closed, id);
    assert_eq!(worker.events.event().await, None);
    drop(worker);
    soon("end of the gateway", gateway.task).await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_stops_does_not_wait_for_a_worker_when_the_last_one_was_let_go() {
    let gateway = quick_gateway(|config| {
        (config.shutdown_spread_ms, config.shutdown_timeout_ms) = (0, 3_600_000);
    })
    .await;
    let mut worker = worker(&gateway, "W:0", 1).await;
    let (mut client, _) = client_of(&gateway, &mut worker).await;
    worker.events.send(Command::Ping(PingBody::Draining.encode())).await;
    assert_eq!(worker.events.event().await, Some(Command::Ping(PingBody::Drained.encode())));
    assert_eq!(worker.events.event().await, None);
    drop(worker);
    gateway.shutdown.cancel();
    assert_eq!(close_code(&mut client).await, 1001);
    drop(client);
    soon("end of the gateway", gateway.task).await.unwrap();
}

#[tokio::test]
async fn clients_that_a_worker_has_closed_are_closed_before_it_is_given_any() {
    let gateway = quick_gateway(|_| ()).await;
    let mut older = worker(&gateway, "W:0", 1).await;
    let (mut closed, closed_id) = client_of(&gateway, &mut older).await;
    let (_kept, kept_id) = client_of(&gateway, &mut older).await;
    // Behind what it has said of both.
    older.calls.ask(Question::IsOnline(0)).await;
    drop(older);
    let event_link = EventLink::connect(&gateway, "W:0", 1).await;
    let (epoch, process) = (event_link.pairing.epoch, 1);
    let said = [Command::Closed(vec![closed_id]), Command::Attach { epoch, process }];
    let mut newer = event_link.attach_with(&gateway, said).await;
    newer.ping_both();
    assert_eq!(close_code(&mut closed).await, 1012);
    // The other client is its own again. Of the closed one it hears nothing.
    newer.adopt(kept_id).await;
    let closed = newer.calls.ask(Question::IsOnline(closed_id)).await;
    assert_eq!(closed.as_int(), Some(0));
    assert_eq!(newer.events.until_pings().await, []);
}

#[tokio::test]
async fn a_gateway_without_a_worker_and_a_register_closes_its_clients() {
    let register = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = quick_gateway(|config| {
        config.register_address = vec![register.local_addr().unwrap().to_string()];
        config.isolated_after_ms = 2000;
    })
    .await;
    let mut announced = soon("announcement", register.accept()).await.unwrap().0;
    // An answer: the register has accepted the gateway.
    announced.write_all(b"{\"event\":\"pong\"}\n").await.unwrap();
    let mut worker = worker(&gateway, "W:0", 1).await;
    let (mut client, _) = client_of(&gateway, &mut worker).await;
    // Every second the gateway looks who is there.
    for _ in 0..4 {
        assert_eq!(worker.events.until_pings().await, []);
    }
    drop((register, announced, worker));
    assert_eq!(close_code(&mut client).await, 1012);
}

#[tokio::test]
async fn a_close_is_marked_once_the_gateway_was_unheard_since_its_client_has_lost_its_worker() {
    let register = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = quick_gateway(|config| {
        config.register_address = vec![register.local_addr().unwrap().to_string()];
        config.isolated_after_ms = 1;
    })
    .await;
    let mut announced = soon("announcement", register.accept()).await.unwrap().0;
    announced.write_all(b"{\"event\":\"pong\"}\n").await.unwrap();
    let mut first = worker(&gateway, "W:0", 1).await;
    let (early, early_id) = client_of(&gateway, &mut first).await;
    let (late, late_id) = client_of(&gateway, &mut first).await;
    let mut other = worker(&gateway, "W:1", 2).await;
    // Every second the gateway looks who is there.
    for _ in 0..3 {
        assert_eq!(other.events.until_pings().await, []);
    }
    drop(first);
    for _ in 0..2 {
        let adopt = other.events.event().await;
        assert!(matches!(adopt, Some(Command::Adopt { .. })), "{adopt:?}");
    }
    other.done(early_id, 1).await;
    other.done(late_id, 1).await;
    drop(early);
    assert_eq!(other.close().await, (early_id, false));
    drop((register, announced));
    let own = client_of(&gateway, &mut other).await;
    for _ in 0..5 {
        assert_eq!(other.events.until_pings().await, []);
    }
    drop((late, own.0));
    let mut closes = [other.close().await, other.close().await];
    closes.sort_unstable_by_key(|(id, _)| *id != late_id);
    assert_eq!(closes, [(late_id, true), (own.1, false)]);
}
