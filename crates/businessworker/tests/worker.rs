//! Tests of a whole worker against fake gateways.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../client/tests/fake/mod.rs"]
mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake::{FakeGateway, PATIENCE, register, soon};
use gatewayworker_businessworker::{
    self as businessworker, Admission, CancellationToken, Client, CloseReason, Config, Error, Events,
    Gateway, Handshake, Message, Result, Start, serve,
};
use gatewayworker_protocol::php::{self, Value};
use gatewayworker_protocol::{Command, Payload, Question, SecretKey};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

/// An application that does what each message asks for, and reports what it sees.
#[derive(Clone)]
struct Script {
    seen: mpsc::UnboundedSender<String>,
    gate: Arc<Notify>,
    running: Arc<AtomicUsize>,
    most_running: Arc<AtomicUsize>,
}

impl Script {
    fn see(&self, what: impl Into<String>) {
        self.seen.send(what.into()).unwrap();
    }
}

impl Events for Script {
    async fn on_worker_start(&self, _: &Gateway) -> Result {
        self.see("start");
        Ok(())
    }

    async fn on_connect(&self, client: &Client) -> Result {
        self.see(format!("connect {}", client.id().connection_id()));
        Ok(())
    }

    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        match handshake.get("token") {
            Some("good") => Ok(Admission::Admit),
            Some("panic") => panic!("as asked"),
            Some(_) => Ok(Admission::refuse_with("go away")),
            None => Err(format!("no token from {}", client.id()).into()),
        }
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        let text = message.text()?;
        let connection = client.id().connection_id();
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "echo" => {
                client.send(&message).await?;
            }
            "wait" => {
                let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
                self.most_running.fetch_max(now, Ordering::SeqCst);
                // Before anybody can know that it waits.
                let opened = self.gate.notified();
                self.see(format!("waiting {connection}"));
                opened.await;
                self.running.fetch_sub(1, Ordering::SeqCst);
                self.see(format!("waited {connection}"));
            }
            "fail" => return Err("as asked".into()),
            "panic" => panic!("as asked"),
            "forever" => std::future::pending().await,
            "count" => {
                let n = client.session().get::<u32>("n")?.unwrap_or(0) + 1;
                client.session().insert("n", n)?;
                self.see(format!("n={n}"));
            }
            "merge" => {
                client.gateway().update_session(client.id(), &json!({"m": rest})).await?;
                self.see(format!("{:?}", client.session()));
            }
            "session" => self.see(format!("{:?}", client.session())),
            "join" => {
                client.join_group(rest).await?;
                let members = client.gateway().client_ids_by_group(rest).await?;
                self.see(format!("{} in {rest}", members.len()));
            }
            _ => self.see(format!("{connection}: {text}")),
        }
        Ok(())
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        self.see(format!("close {} {reason} {:?}", client.id().connection_id(), client.session()));
        Ok(())
    }

    async fn on_worker_stop(&self, gateway: &Gateway) -> Result {
        gateway.send_to_all("bye").await?;
        self.see("stop");
        Ok(())
    }
}

struct Worker {
    fake: FakeGateway,
    seen: mpsc::UnboundedReceiver<String>,
    gate: Arc<Notify>,
    most_running: Arc<AtomicUsize>,
    shutdown: CancellationToken,
    serving: JoinHandle<std::result::Result<(), Error>>,
    _register: AbortOnDropHandle<()>,
}

impl Worker {
    /// A worker with an event link to one gateway.
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut fake = FakeGateway::start().await;
        let (register, running_register) = register(&[fake.address]).await;
        let mut config = Config::default().with_register_address([register]);
        change(&mut config);
        let (seen, sees) = mpsc::unbounded_channel();
        let gate = Arc::new(Notify::new());
        let most_running = Arc::new(AtomicUsize::new(0));
        let script =
            Script { seen, gate: gate.clone(), running: Arc::default(), most_running: most_running.clone() };
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(config, script, shutdown.clone()));
        let hello = fake.worker().await;
        assert!(hello.features.unwrap().close_reason);
        let mut worker =
            Self { fake, seen: sees, gate, most_running, shutdown, serving, _register: running_register };
        assert_eq!(worker.sees().await, "start");
        worker
    }

    async fn sees(&mut self) -> String {
        soon(self.seen.recv()).await.unwrap()
    }

    async fn say(&self, connection: u32, text: &str) {
        self.fake.events([self.fake.message(connection, text)]).await;
    }

    /// The next command that is no question.
    async fn told(&mut self) -> Command {
        loop {
            match self.fake.told().await {
                Command::Ask(_) => {}
                other => return other,
            }
        }
    }

    async fn stop(self) -> (FakeGateway, mpsc::UnboundedReceiver<String>) {
        self.shutdown.cancel();
        soon(self.serving).await.unwrap().unwrap();
        (self.fake, self.seen)
    }
}

fn to_one(to: u32, text: &'static str) -> Command {
    Command::SendToOne { to, message: Payload::plain(text) }
}

fn vector(name: &str) -> Vec<u8> {
    let vectors = include_str!("../../protocol/tests/vectors/gateway_protocol.json");
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
async fn a_worker_sends_its_name_and_the_key_on_its_links() {
    let mut fake = FakeGateway::start().await;
    let (register, _running) = register(&[fake.address]).await;
    let key = SecretKey::new("k");
    let config =
        Config::default().with_name("Chat").with_register_address([register]).with_secret_key(key.clone());
    struct Nothing;
    impl Events for Nothing {}
    let _serving = AbortOnDropHandle::new(tokio::spawn(serve(config, Nothing, CancellationToken::new())));
    let hello = fake.worker().await;
    assert!(hello.worker_key.unwrap().starts_with("Chat:"));
    assert_eq!(hello.secret_key, Some(key.clone()));
    let Command::ClientConnect(hello) = fake.told().await else { panic!("the call link says nothing") };
    assert_eq!(hello.secret_key, Some(key));
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
async fn a_lost_event_link_is_made_again_under_another_key() {
    let mut fake = FakeGateway::start().await;
    let (register, _running) = register(&[fake.address]).await;
    let config = Config::default().with_register_address([register]);
    struct Nothing;
    impl Events for Nothing {}
    let _serving = AbortOnDropHandle::new(tokio::spawn(serve(config, Nothing, CancellationToken::new())));
    let first = fake.worker().await.worker_key;
    fake.close_event_link().await;
    assert_ne!(fake.worker().await.worker_key, first);
}

#[tokio::test]
async fn a_stopping_worker_handles_the_events_it_has_and_writes_what_handlers_sent() {
    let mut worker = Worker::start(|_| ()).await;
    let fake = &worker.fake;
    fake.events([fake.message(1, "wait"), fake.message(1, "echo last"), fake.message(2, "wait")]).await;
    fake.send_last([fake.message(3, "echo on its way")]);
    worker.sees().await;
    worker.sees().await;
    worker.shutdown.cancel();
    worker.fake.link_ended().await;
    assert_eq!(worker.fake.told().await, to_one(3, "echo on its way"));
    // A worker that waited for nobody would have stopped by now.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    worker.gate.notify_waiters();
    let mut waited = [worker.sees().await, worker.sees().await];
    waited.sort();
    assert_eq!(waited, ["waited 1", "waited 2"]);
    let (mut fake, mut seen) = worker.stop().await;
    assert_eq!(soon(seen.recv()).await.unwrap(), "stop");
    assert_eq!(fake.told().await, to_one(1, "echo last"));
    assert!(matches!(fake.told().await, Command::SendToAll { .. }));
    fake.link_ended().await;
}

#[tokio::test]
async fn a_handler_that_never_ends_does_not_keep_the_worker() {
    let worker = Worker::start(|config| config.shutdown_timeout_ms = 100).await;
    worker.say(1, "forever").await;
    let started = std::time::Instant::now();
    worker.stop().await;
    assert!(started.elapsed() < PATIENCE);
}

#[tokio::test]
async fn an_application_that_cannot_start_is_an_error() {
    struct Broken;
    impl Events for Broken {
        async fn on_worker_start(&self, _: &Gateway) -> Result {
            Err("no database".into())
        }
    }
    let config = Config::default().with_register_address(["127.0.0.1:9"]);
    let error = serve(config, Broken, CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "on_worker_start: no database");
}

#[tokio::test]
async fn a_port_for_http_that_is_taken_is_an_error_before_the_application_starts() {
    struct Unstarted;
    impl Events for Unstarted {
        async fn on_worker_start(&self, _: &Gateway) -> Result {
            panic!("it was started")
        }
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = Config::default().with_register_address(["127.0.0.1:9"]).with_http_listen(&address);
    let error = serve(config, Unstarted, CancellationToken::new()).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("http_listen: cannot listen on {address}: ")), "{error}");
}

#[tokio::test]
async fn an_application_that_takes_for_ever_to_start_can_be_stopped() {
    struct Stuck(Arc<Notify>);
    impl Events for Stuck {
        async fn on_worker_start(&self, _: &Gateway) -> Result {
            self.0.notify_one();
            std::future::pending().await
        }
    }
    let begun = Arc::new(Notify::new());
    let config = Config::default().with_register_address(["127.0.0.1:9"]);
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(config, Stuck(begun.clone()), shutdown.clone()));
    soon(begun.notified()).await;
    shutdown.cancel();
    soon(serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_of_several_gateways_stops_as_soon_as_nothing_is_left_to_do() {
    let mut fakes = Vec::new();
    for _ in 0..4 {
        fakes.push(FakeGateway::start().await);
    }
    let addresses: Vec<_> = fakes.iter().map(|fake| fake.address).collect();
    let (register, _running) = register(&addresses).await;
    // More than `soon` waits.
    let config = Config::default().with_register_address([register]).with_shutdown_timeout_ms(60_000);
    let shutdown = CancellationToken::new();
    struct Nothing;
    impl Events for Nothing {}
    let serving = tokio::spawn(serve(config, Nothing, shutdown.clone()));
    for fake in &mut fakes {
        fake.worker().await;
    }
    shutdown.cancel();
    soon(serving).await.unwrap().unwrap();
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

/// Compiling is the test: an application is made by an async closure or by a
/// function, from settings of its own.
#[test]
fn an_application_is_made_from_its_own_settings() {
    #[derive(Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct AppConfig {
        greeting: String,
    }
    struct App(String);
    impl Events for App {
        async fn on_connect(&self, client: &Client) -> Result {
            client.send(self.0.as_str()).await?;
            Ok(())
        }
    }
    async fn make(start: Start<AppConfig>) -> Result<App> {
        Ok(App(start.app.greeting))
    }
    let _function = || businessworker::main(make);
    let _closure = || businessworker::main(async |start: Start<AppConfig>| Ok(App(start.app.greeting)));
}
