//! How events reach the handlers, and what handlers may do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gatewayworker_businessworker::{CancellationToken, Client, Config, Events, Message, Result, serve};
use gatewayworker_protocol::php::{self, Value};
use gatewayworker_protocol::{Command, Payload, Question};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::fake::{FakeGateway, register, soon};
use crate::support::{Worker, to_one};

/// Returns a frame of the original, by its name among the recorded ones.
fn vector(name: &str) -> Vec<u8> {
    let vectors = include_str!("../../../protocol/tests/vectors/gateway_protocol.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    let frame = vectors["frames"].as_array().unwrap().iter().find(|frame| frame["name"] == name).unwrap();
    let hex = frame["wire_hex"].as_str().unwrap();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn the_bytes_of_a_php_gateway_reach_the_handlers() {
    let mut worker = Worker::start(|_| ()).await;
    let mut bytes = vector("CMD_ON_CONNECT empty");
    bytes.extend(vector("CMD_PING empty"));
    bytes.extend(vector("CMD_ON_MESSAGE empty"));
    bytes.extend(vector("CMD_ON_CLOSE empty"));
    for byte in bytes {
        worker.fake.send(&[byte]).await;
    }
    for expected in ["connect 7", "7: ", "close 7 unknown []"] {
        assert_eq!(worker.sees().await, expected);
    }
}

#[tokio::test]
async fn events_of_one_client_come_one_after_the_other_and_those_of_others_beside_them() {
    let mut worker = Worker::start(|_| ()).await;
    let fake = &worker.fake;
    let events = [
        fake.message(1, "wait"),
        fake.message(1, "after"),
        fake.message(2, "beside"),
        fake.message(2, "again"),
    ];
    fake.events(events).await;
    let mut seen = [worker.sees().await, worker.sees().await, worker.sees().await];
    seen.sort();
    assert_eq!(seen, ["2: again", "2: beside", "waiting 1"]);
    worker.gate.notify_one();
    assert_eq!(worker.sees().await, "waited 1");
    assert_eq!(worker.sees().await, "1: after");
}

#[tokio::test]
async fn a_thousand_events_of_each_client_keep_their_order() {
    let mut worker = Worker::start(|_| ()).await;
    let fake = &worker.fake;
    fake.events((0..5000).map(|n| fake.message(n % 5, &format!("no {n}")))).await;
    let mut next = [0, 1, 2, 3, 4];
    for _ in 0..5000 {
        let seen = worker.sees().await;
        let (client, n) = seen.split_once(": no ").unwrap();
        let client: usize = client.parse().unwrap();
        assert_eq!(n, next[client].to_string());
        next[client] += 5;
    }
}

#[tokio::test]
async fn no_more_handlers_run_at_once_than_allowed() {
    let mut worker = Worker::start(|config| config.concurrency = 2).await;
    let fake = &worker.fake;
    fake.events((1..=4).map(|connection| fake.message(connection, "wait"))).await;
    let (mut waiting, mut waited) = (0, 0);
    while waited < 4 {
        match worker.sees().await.starts_with("waiting") {
            true => waiting += 1,
            false => waited += 1,
        }
        if waiting - waited == 2 || waiting == 4 {
            worker.gate.notify_one();
        }
    }
    assert_eq!(worker.most_running.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_handler_that_fails_or_panics_harms_nobody_else() {
    let mut worker = Worker::start(|_| ()).await;
    let fake = &worker.fake;
    let events = ["fail", "panic", "echo still here"].map(|text| fake.message(1, text));
    fake.events(events).await;
    worker.say(2, "echo me too").await;
    let mut told = [worker.told().await, worker.told().await];
    told.sort_by_key(|command| matches!(command, Command::SendToOne { to: 2, .. }));
    assert_eq!(told, [to_one(1, "echo still here"), to_one(2, "echo me too")]);
}

#[tokio::test]
async fn a_handler_over_its_time_is_cancelled() {
    let mut worker = Worker::start(|config| config.handler_timeout_ms = 50).await;
    let fake = &worker.fake;
    fake.events([fake.message(1, "forever"), fake.message(1, "next")]).await;
    assert_eq!(worker.sees().await, "1: next");
}

/// Otherwise each of many clients whose events wait would keep a whole chunk.
#[tokio::test]
async fn messages_that_come_one_at_a_time_share_the_chunk_they_are_read_into() {
    struct Keep(mpsc::UnboundedSender<Message>);
    impl Events for Keep {
        async fn on_message(&self, _: &Client, message: Message) -> Result {
            Ok(self.0.send(message)?)
        }
    }
    let mut fake = FakeGateway::start().await;
    let (register, _running) = register(&[fake.address]).await;
    let (keep, mut kept) = mpsc::unbounded_channel();
    let config = Config::default().with_register_address([register]);
    let _serving = AbortOnDropHandle::new(tokio::spawn(serve(config, Keep(keep), CancellationToken::new())));
    fake.worker().await;
    let mut messages = Vec::new();
    for connection in 0..50 {
        fake.events([fake.message(connection, "small")]).await;
        messages.push(soon(kept.recv()).await.unwrap());
    }
    let places = messages.iter().map(|message| message.bytes().as_ptr() as usize);
    let span = places.clone().max().unwrap() - places.min().unwrap();
    assert!(span < 50 * 100, "they lie over {span} bytes");
}

#[tokio::test]
async fn a_question_from_a_handler_sees_what_the_handler_said() {
    let mut worker = Worker::start(|_| ()).await;
    worker.say(1, "join news").await;
    assert_eq!(worker.sees().await, "1 in news");
    assert!(matches!(worker.fake.told().await, Command::JoinGroup { .. }));
    assert!(matches!(worker.fake.told().await, Command::Ask(Question::Select(_))));
}

#[tokio::test]
async fn a_refused_client_is_closed_and_its_messages_are_not_handled() {
    let mut worker = Worker::start(|_| ()).await;
    let fake = &worker.fake;
    for (connection, token) in [(1, Some("bad")), (2, None), (3, Some("panic")), (4, Some("good"))] {
        let handshake =
            json!({"get": token.map(|token| json!({"token": token})), "server": {}, "cookie": {}});
        let handshake = php::serialize(&Value::from_json(handshake)).into();
        let origin = fake.origin(connection);
        let come =
            Command::OnWebSocketConnect { origin, session: Default::default(), handshake, asks: false };
        fake.events([fake.connect(connection), come, fake.message(connection, "hello")]).await;
        fake.events([fake.close(connection, "kicked")]).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 9 {
        seen.push(worker.sees().await);
    }
    seen.retain(|what| what.contains("hello"));
    assert_eq!(seen, ["4: hello"]);
    let mut kicks = [worker.told().await, worker.told().await, worker.told().await];
    kicks.sort_by_key(|command| match command {
        Command::Refuse { connection_id, .. } => *connection_id,
        other => panic!("{other:?}"),
    });
    let last = [Some(Payload::plain("go away")), None, None];
    let expected = [1, 2, 3].map(|connection_id| Command::Refuse {
        connection_id,
        message: last[connection_id as usize - 1].clone(),
        code: 1008,
    });
    assert_eq!(kicks, expected);
}

#[tokio::test]
async fn a_dead_gateway_is_named_to_the_handler() {
    struct Names(mpsc::UnboundedSender<usize>);
    impl Events for Names {
        async fn on_message(&self, client: &Client, _: Message) -> Result {
            let delivery = client.gateway().send_to_all("m").await?;
            self.0.send(delivery.unreached.len())?;
            Ok(())
        }
    }
    let mut fake = FakeGateway::start().await;
    let dead = FakeGateway::start().await.address;
    let (register, _running) = register(&[fake.address, dead]).await;
    let (seen, mut sees) = mpsc::unbounded_channel();
    let config = Config::default().with_register_address([register]);
    let _serving = AbortOnDropHandle::new(tokio::spawn(serve(config, Names(seen), CancellationToken::new())));
    fake.worker().await;
    fake.events([fake.message(1, "")]).await;
    assert_eq!(soon(sees.recv()).await, Some(1));
    assert_eq!(tokio::time::timeout(Duration::ZERO, sees.recv()).await.ok(), None);
}
