//! What workers report about themselves, as an operator sees it who asks a gateway.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatewayworker::client::inspect::{
    GatewayReport, InspectAnswer, InspectRequest, Inspector, WorkerHandlers, WorkerReport,
};
use gatewayworker::{Client, Events, Message, Result};
use gatewayworker_protocol::php::Value;
use gatewayworker_protocol::{Command, Features, Frame, Hello, PingBody, Question, SecretKey, code};
use gatewayworker_tests::{Cluster, RawPeer, WsClient, eventually, soon};

fn inspector(cluster: &Cluster) -> Inspector {
    Inspector::builder([cluster.register.to_string()]).timeout(Duration::from_secs(10)).connect()
}

async fn answers(inspector: &Inspector, request: InspectRequest) -> Vec<InspectAnswer> {
    let answers = soon("the answers", inspector.ask(&request)).await;
    answers.into_iter().map(|(_, answer)| answer.unwrap()).collect()
}

async fn gateways(inspector: &Inspector) -> Vec<GatewayReport> {
    let reports = answers(inspector, InspectRequest::Gateway).await.into_iter().map(|answer| match answer {
        InspectAnswer::Gateway(report) => *report,
        other => panic!("{other:?}"),
    });
    reports.collect()
}

/// The workers of all gateways.
async fn workers(inspector: &Inspector) -> Vec<WorkerReport> {
    gateways(inspector).await.into_iter().flat_map(|gateway| gateway.workers).collect()
}

/// What the handlers of the workers of the only gateway do.
async fn handlers(inspector: &Inspector) -> Vec<WorkerHandlers> {
    match answers(inspector, InspectRequest::Handlers).await.remove(0) {
        InspectAnswer::Handlers(list) => list.workers,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_gateway_knows_the_version_the_round_trip_and_the_handlers_of_its_workers() {
    let cluster = Cluster::builder().gateways(2).workers(2).start().await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    for text in ["one", "two"] {
        client.send(text).await;
        assert_eq!(client.text().await, text);
    }
    let inspector = inspector(&cluster);
    eventually("four round trips", async || {
        let workers = workers(&inspector).await;
        workers.len() == 4 && workers.iter().all(|worker| worker.round_trip_ms.is_some())
    })
    .await;
    let workers = workers(&inspector).await;
    for worker in &workers {
        assert_eq!(worker.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert!(worker.uptime_ms.is_some_and(|ms| ms > 0), "{worker:?}");
        assert!(worker.report_age_ms.is_some_and(|ms| ms < 10_000), "{worker:?}");
        assert!(worker.round_trip_ms.is_some_and(|ms| ms > 0.0 && ms < 10_000.0), "{worker:?}");
    }
    eventually("the handlers of the two messages", async || {
        let messages = self::workers(&inspector)
            .await
            .into_iter()
            .filter_map(|worker| Some(worker.handlers?.events.get("on_message")?.count));
        // The worker that has handled them tells both gateways.
        messages.collect::<Vec<_>>() == [2, 2]
    })
    .await;
}

/// Handlers that wait for ever, or block their thread until the sender is dropped.
#[derive(Clone)]
struct Hangs(Arc<Mutex<mpsc::Receiver<()>>>);

impl Events for Hangs {
    async fn on_message(&self, _: &Client, message: Message) -> Result {
        match message.text()? {
            "wait" => std::future::pending().await,
            _ => drop(self.0.lock().unwrap().recv()),
        }
        Ok(())
    }
}

// The handler that blocks may run on a thread of this runtime, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_hangs_is_named_with_its_client_and_for_how_long() {
    let cluster = Cluster::builder().workers(0).start().await;
    let (free, blocked) = mpsc::channel();
    let _worker = cluster.start_application(Hangs(Arc::new(Mutex::new(blocked))));
    // Dropped before the worker, which would wait for its blocked thread.
    let free = free;
    let inspector = inspector(&cluster);
    let mut clients = Vec::new();
    // The second blocks its thread, perhaps the one that reads all events.
    for text in ["wait", "block"] {
        let mut client = WsClient::connect(cluster.listener()).await;
        let unfinished =
            async || workers(&inspector).await.iter().map(|worker| worker.unfinished).sum::<u64>();
        let hang = clients.len() as u64;
        // A blocked thread acknowledges nothing.
        eventually("its connect to be acknowledged", async || unfinished().await == hang).await;
        client.send(text).await;
        eventually("its event to be under way", async || unfinished().await == hang + 1).await;
        clients.push(client);
    }
    let list = InspectRequest::Clients(Default::default());
    let InspectAnswer::Clients(list) = answers(&inspector, list).await.remove(0) else { panic!() };
    let mut ids: Vec<String> = list.clients.into_iter().map(|client| client.id).collect();
    ids.sort();
    eventually("both to be named", async || {
        let handlers = handlers(&inspector).await;
        let mut named: Vec<String> = handlers
            .iter()
            .flat_map(|worker| &worker.handlers.longest)
            .filter_map(|one| one.client.clone())
            .collect();
        named.sort();
        named == ids
    })
    .await;
    let before = handlers(&inspector).await.remove(0).handlers;
    assert_eq!(before.running, 2);
    assert!(before.longest.iter().all(|one| one.event == "on_message" && one.ms >= 1000), "{before:?}");
    eventually("the time to go on", async || {
        handlers(&inspector).await[0].handlers.longest[0].ms > before.longest[0].ms
    })
    .await;
    // Who may know no client learns that handlers hang, and not whose.
    let report = gateways(&inspector).await.remove(0);
    assert_eq!(report.workers[0].handlers.as_ref().map(|handlers| handlers.longest.len()), Some(2));
    let json = serde_json::to_string(&report).unwrap();
    assert!(ids.iter().all(|id| !json.contains(id)), "{json}");
    drop(free);
}

fn hello(key: &str, features: Option<Features>) -> Command {
    let (worker_key, secret_key) = (Some(key.into()), Some(SecretKey::default()));
    Command::WorkerConnect(Hello { worker_key, secret_key, features, process: None })
}

fn report(number: u32, body: impl Into<Vec<u8>>) -> Command {
    Command::Report { number, body: body.into().into() }
}

#[tokio::test]
async fn a_worker_of_php_is_told_nothing_of_reports_and_shows_none() {
    let cluster = Cluster::builder().workers(1).start().await;
    let mut php = RawPeer::connect(cluster.gateways[0].inner).await;
    php.send(hello("php:1", None)).await;
    // It does not know what it sends.
    php.send(report(1, r#"{"version":"7"}"#)).await;
    let inspector = inspector(&cluster);
    eventually("the worker of ours to report", async || {
        let workers = workers(&inspector).await;
        workers.len() == 2 && workers.iter().any(|worker| worker.version.is_some())
    })
    .await;
    let workers = workers(&inspector).await;
    let of_php = workers.iter().find(|worker| worker.key.ends_with("php:1")).unwrap();
    let none = WorkerReport::default();
    assert_eq!(
        (&of_php.version, of_php.report_age_ms, &of_php.handlers),
        (&none.version, none.report_age_ms, &none.handlers)
    );
    // The first thing that it is told is the answer to what it asks.
    assert_eq!(php.ask(Question::IsOnline(0)).await, Value::Int(0));
}

#[tokio::test]
async fn wrong_and_endless_reports_harm_nobody() {
    let cluster = Cluster::builder().workers(1).start().await;
    let mut worker = RawPeer::connect(cluster.gateways[0].inner).await;
    let features = Features { acknowledged_events: false, ..Features::ALL };
    worker.send(hello("raw:1", Some(features))).await;
    let inspector = inspector(&cluster);
    let shown = async || {
        let workers = workers(&inspector).await;
        workers.into_iter().find(|worker| worker.key.ends_with("raw:1")).and_then(|worker| worker.version)
    };
    worker.send(report(1, r#"{"version":"first","handlers":{"longest":[{},{},{},{},{},{},{}]}}"#)).await;
    eventually("the first report", async || shown().await.as_deref() == Some("first")).await;
    for number in 2..10_002 {
        worker.send(report(number, r#"{"version":"flood"}"#)).await;
    }
    let mut answered = 0;
    while answered < 10_001 {
        match worker.frame().await.unwrap() {
            Frame { cmd: code::REPORTED, connection_id, .. } => {
                assert_eq!(connection_id, answered + 1, "in their order");
                answered = connection_id;
            }
            Frame { cmd: code::PING, body, .. } => {
                assert!(matches!(PingBody::parse(&body), Some(PingBody::Empty | PingBody::Welcome { .. })));
            }
            other => panic!("{other:?}"),
        }
    }
    let huge = format!(r#"{{"version":"{}"}}"#, "x".repeat(1 << 20));
    for (number, body) in [(10_002, "no JSON"), (10_003, &*huge), (10_004, "")] {
        worker.send(report(number, body)).await;
    }
    // It stays linked, and what can be read counts again.
    eventually("the next report", async || {
        worker.send(report(10_005, r#"{"version":"last"}"#)).await;
        shown().await.as_deref() == Some("last")
    })
    .await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    drop(worker);
    client.send("hello").await;
}
