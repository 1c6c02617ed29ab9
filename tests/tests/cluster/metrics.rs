//! Metrics and health: each number moves by what it counts, and a daemon is ready when it can do its work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use gatewayworker::Admission;
use gatewayworker::{Client, Events, Gateway, Handshake, Message, Result};
use gatewayworker_businessworker as worker;
use gatewayworker_protocol::{Command, Hello, SecretKey};
use gatewayworker_tests::metrics::{Scrape, assert_moves, get};
use gatewayworker_tests::tls::Certificate;
use gatewayworker_tests::{
    Cluster, HttpRequest, RawPeer, TcpClient, WsClient, eventually, register_as_gateway, soon,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// A cluster of one daemon of each kind that shows metrics, and where.
async fn cluster() -> (Cluster, SocketAddr, SocketAddr, SocketAddr) {
    let cluster = Cluster::builder().http().metrics().start().await;
    let (gateway, worker) = (cluster.gateways[0].metrics.unwrap(), cluster.workers[0].metrics.unwrap());
    let register = cluster.register_metrics.unwrap();
    (cluster, register, gateway, worker)
}

/// The label of the listener at this address.
fn of(name: &str, scheme: &str, address: SocketAddr) -> String {
    format!("gatewayworker_{name}{{listener=\"{scheme}://{address}\"}}")
}

#[tokio::test]
async fn a_gateway_counts_clients_by_listener_and_reason() {
    let listen = "listen = ['websocket://127.0.0.1:0', 'text://127.0.0.1:0']";
    let cluster = Cluster::builder().listen(listen).metrics().start().await;
    let daemon = cluster.gateways[0].metrics.unwrap();
    let [websocket, text] = [0, 1].map(|n| cluster.gateways[0].listeners[n]);
    let (clients, opened) =
        (of("clients", "websocket", websocket), of("clients_opened_total", "websocket", websocket));
    let opened_text = of("clients_opened_total", "text", text);
    let client = assert_moves(daemon, &[(&clients, 1.0), (&opened, 1.0), (&opened_text, 0.0)], async || {
        WsClient::greeted(websocket).await.0
    })
    .await;
    let left = "gatewayworker_clients_closed_total{reason=\"client-left\"}";
    assert_moves(daemon, &[(&clients, -1.0), (&opened, 0.0), (left, 1.0)], async || client.close().await)
        .await;
    let _client =
        assert_moves(daemon, &[(&opened_text, 1.0), (&opened, 0.0)], async || TcpClient::connect(text).await)
            .await;
    let rejected = "gatewayworker_clients_rejected_total{reason=\"no-handshake\"}";
    assert_moves(daemon, &[(rejected, 1.0), (&opened, 0.0)], async || {
        let mut connection = TcpStream::connect(websocket).await.unwrap();
        connection.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        soon("the end", connection.read_to_end(&mut Vec::new())).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_gateway_counts_messages_deliveries_and_bytes() {
    let (cluster, _, daemon, _) = cluster().await;
    let received = of("messages_received_total", "websocket", cluster.listener());
    let (mut first, id) = WsClient::greeted(cluster.listener()).await;
    let (mut second, second_id) = WsClient::greeted(cluster.listener()).await;
    let kind = |kind: &str| format!("gatewayworker_deliveries_total{{kind=\"{kind}\"}}");
    // A client's frame has a head of 2 bytes and a mask of 4, the gateway's a head of 2.
    let (bytes_in, bytes_out) =
        ("gatewayworker_bytes_total{direction=\"in\"}", "gatewayworker_bytes_total{direction=\"out\"}");
    let numbers = [(&*received, 3.0), (&kind("client"), 3.0), (bytes_in, 3.0 * 11.0), (bytes_out, 3.0 * 7.0)];
    assert_moves(daemon, &numbers, async || {
        for _ in 0..3 {
            first.send("hello").await;
            assert_eq!(first.text().await, "hello");
        }
    })
    .await;

    let api = cluster.api().await;
    let gauges = [("gatewayworker_uids", 1.0), ("gatewayworker_groups", 1.0)];
    assert_moves(daemon, &gauges, async || {
        api.bind_uid(id, "lena").await.unwrap();
        api.join_group(id, "hall").await.unwrap();
    })
    .await;
    assert_moves(daemon, &[(&kind("uid"), 1.0)], async || api.send_to_uid(["lena"], "x").await.unwrap())
        .await;
    assert_moves(daemon, &[(&kind("group"), 1.0)], async || api.send_to_group(["hall"], "x").await.unwrap())
        .await;
    let broadcasts = "gatewayworker_broadcast_duration_seconds_count";
    let before = Scrape::of(daemon).await.get(broadcasts);
    assert_moves(daemon, &[(&kind("all"), 2.0), (&kind("client"), 0.0)], async || {
        api.send_to_all("x").await.unwrap();
        assert_eq!([first.text().await, first.text().await, first.text().await], ["x"; 3]);
        assert_eq!(second.text().await, "x");
    })
    .await;
    assert_moves(daemon, &[(&kind("client"), 1.0)], async || {
        api.send_to_client(second_id, "x").await.unwrap();
    })
    .await;
    let mut more = Vec::new();
    for _ in 0..3 {
        more.push(WsClient::greeted(cluster.listener()).await);
    }
    api.send_to_all("x").await.unwrap();
    eventually("a broadcast to be timed", async || Scrape::of(daemon).await.get(broadcasts) > before).await;
    assert!(Scrape::of(daemon).await.get("gatewayworker_broadcast_duration_seconds_sum") >= 0.0);
    assert_moves(daemon, &[("gatewayworker_groups", -1.0)], async || {
        api.leave_group(id, "hall").await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_gateway_counts_what_a_client_misses_that_does_not_read() {
    let cluster = Cluster::builder()
        .gateway(|config| config.slow_consumer = gatewayworker_gateway::SlowConsumer::DropNewest)
        .metrics()
        .start()
        .await;
    let daemon = cluster.gateways[0].metrics.unwrap();
    let api = cluster.api().await;
    let (slow, id) = WsClient::greeted(cluster.listener()).await;
    let message = "x".repeat(500_000);
    eventually("a message to be dropped", async || {
        api.send_to_client(id, message.clone()).await.unwrap();
        let scrape = Scrape::of(daemon).await;
        scrape.get("gatewayworker_deliveries_dropped_total") > 0.0
            && scrape.get("gatewayworker_outbox_bytes") >= 500_000.0
    })
    .await;
    drop(slow);
    eventually("nothing to wait", async || Scrape::of(daemon).await.get("gatewayworker_outbox_bytes") == 0.0)
        .await;
}

#[tokio::test]
async fn a_gateway_shows_what_waits_for_a_worker_that_does_not_read() {
    let cluster = Cluster::builder()
        .workers(0)
        .gateway(|config| config.link_outbox_bytes = 100_000)
        .metrics()
        .start()
        .await;
    let daemon = cluster.gateways[0].metrics.unwrap();
    let waiting = "gatewayworker_clients_waiting{for=\"worker\"}";
    let listener = cluster.listener();
    let mut client = tokio::spawn(async move { WsClient::connect(listener).await });
    eventually("the client to wait", async || Scrape::of(daemon).await.get(waiting) == 1.0).await;
    let mut worker = RawPeer::connect(cluster.gateways[0].inner).await;
    assert_moves(daemon, &[("gatewayworker_workers", 1.0), (waiting, -1.0)], async || {
        let hello = Hello {
            worker_key: Some("raw:1".into()),
            secret_key: Some(SecretKey::default()),
            features: None,
            process: None,
        };
        worker.send(Command::WorkerConnect(hello)).await;
    })
    .await;
    let mut client = soon("the client", &mut client).await.unwrap();
    let paused = "gatewayworker_reading_paused_seconds_total";
    let message = "x".repeat(100_000);
    let sending = tokio::spawn(async move {
        loop {
            client.send(&message).await;
        }
    });
    eventually("the link to be full", async || {
        Scrape::of(daemon).await.get("gatewayworker_link_outbox_bytes") >= 100_000.0
    })
    .await;
    let before = Scrape::of(daemon).await.get(paused);
    eventually("the client to be paused", async || Scrape::of(daemon).await.get(paused) > before + 0.01)
        .await;
    sending.abort();
}

/// Admits clients, and ends handlers, as the test allows.
#[derive(Clone)]
struct Gate {
    admissions: Arc<Semaphore>,
    messages: Arc<Semaphore>,
    gateway: watch::Sender<Option<Gateway>>,
}

impl Default for Gate {
    fn default() -> Self {
        let closed = || Arc::new(Semaphore::new(0));
        Self { admissions: closed(), messages: closed(), gateway: watch::Sender::new(None) }
    }
}

impl Events for Gate {
    async fn on_worker_start(&self, gateway: &Gateway) -> Result {
        self.gateway.send_replace(Some(gateway.clone()));
        Ok(())
    }

    async fn on_websocket_connect(&self, _: &Client, _: &Handshake) -> Result<Admission> {
        self.admissions.acquire().await?.forget();
        Ok(Admission::Admit)
    }

    async fn on_message(&self, _: &Client, _: Message) -> Result {
        self.messages.acquire().await?.forget();
        Ok(())
    }
}

#[tokio::test]
async fn a_gateway_shows_what_its_workers_have_not_finished() {
    let cluster = Cluster::builder().workers(0).metrics().start().await;
    let daemon = cluster.gateways[0].metrics.unwrap();
    let gate = Gate::default();
    let _worker = cluster.start_application(gate.clone());
    let waiting = "gatewayworker_clients_waiting{for=\"admission\"}";
    let mut client =
        assert_moves(daemon, &[(waiting, 1.0)], async || WsClient::connect(cluster.listener()).await).await;
    let admitted = "gatewayworker_admission_duration_seconds_count";
    assert_moves(daemon, &[(waiting, -1.0), (admitted, 1.0)], async || gate.admissions.add_permits(1)).await;
    let unacked = "gatewayworker_events_unacked";
    eventually("the connect to be acknowledged", async || Scrape::of(daemon).await.get(unacked) == 0.0).await;
    assert_moves(daemon, &[(unacked, 2.0)], async || {
        client.send("one").await;
        client.send("two").await;
    })
    .await;
    eventually("the event to be old", async || {
        Scrape::of(daemon).await.get("gatewayworker_event_oldest_seconds") >= 1.0
    })
    .await;
    gate.messages.add_permits(2);
    eventually("nothing to be unfinished", async || {
        let scrape = Scrape::of(daemon).await;
        scrape.get(unacked) == 0.0 && scrape.get("gatewayworker_event_oldest_seconds") == 0.0
    })
    .await;
}

/// A cluster whose worker has died while it handled a message of a client.
async fn with_a_dead_worker(max_deliveries: u8) -> (Cluster, WsClient, SocketAddr) {
    let cluster = Cluster::builder()
        .workers(0)
        .gateway(|config| config.max_deliveries = max_deliveries)
        .metrics()
        .start()
        .await;
    let daemon = cluster.gateways[0].metrics.unwrap();
    let gate = Gate::default();
    gate.admissions.add_permits(1);
    // On a runtime of its own, with which all of it ends.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = worker::Config::default().with_register_address([cluster.register.to_string()]);
    runtime.spawn(worker::serve(config, gate.clone(), worker::CancellationToken::new()));
    let admitted = "gatewayworker_admission_duration_seconds_count";
    let mut client =
        assert_moves(daemon, &[(admitted, 1.0)], async || WsClient::connect(cluster.listener()).await).await;
    let unacked = "gatewayworker_events_unacked";
    assert_moves(daemon, &[(unacked, 1.0)], async || client.send("hold").await).await;
    runtime.shutdown_background();
    (cluster, client, daemon)
}

#[tokio::test]
async fn a_gateway_counts_events_that_are_given_again_or_never() {
    let (_cluster, _client, daemon) = with_a_dead_worker(5).await;
    eventually("the event to be given again", async || {
        let scrape = Scrape::of(daemon).await;
        scrape.get("gatewayworker_events_redelivered_total") == 1.0
            && scrape.get("gatewayworker_events_undeliverable_total") == 0.0
    })
    .await;
    let (_cluster, _client, daemon) = with_a_dead_worker(1).await;
    eventually("the event to be dropped", async || {
        Scrape::of(daemon).await.get("gatewayworker_events_undeliverable_total") == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_gateway_shows_when_its_certificate_expires() {
    let certificate = Certificate::default();
    let cluster = Cluster::builder().listen(&certificate.listener("wss://127.0.0.1:0")).metrics();
    let cluster = cluster.workers(0).start().await;
    let daemon = cluster.gateways[0].metrics.unwrap();
    let expires = of("tls_certificate_not_after_seconds", "wss", cluster.listener());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let until = Scrape::of(daemon).await.get(&expires);
    assert!(until > now, "{until}");
}

#[tokio::test]
async fn a_worker_counts_handlers_by_event_and_their_errors() {
    let (cluster, _, _, daemon) = cluster().await;
    let ran = |event: &str| format!("gatewayworker_handler_duration_seconds_count{{event=\"{event}\"}}");
    let failed = |kind: &str| format!("gatewayworker_handler_errors_total{{kind=\"{kind}\"}}");
    let wait = "gatewayworker_event_wait_seconds_count";
    let connected = [(&*ran("on_connect"), 1.0), (&ran("on_websocket_connect"), 1.0), (wait, 2.0)];
    let mut client =
        assert_moves(daemon, &connected, async || WsClient::greeted(cluster.listener()).await.0).await;
    for (text, kind) in [("error", "error"), ("panic", "panic")] {
        let numbers = [(&*ran("on_message"), 1.0), (&failed(kind), 1.0), (wait, 1.0)];
        assert_moves(daemon, &numbers, async || client.send(text).await).await;
    }
    assert_moves(daemon, &[(&ran("on_close"), 1.0)], async || client.close().await).await;
    assert_eq!(Scrape::of(daemon).await.get("gatewayworker_gateways"), 1.0);
}

#[tokio::test]
async fn a_worker_shows_handlers_that_run_and_counts_those_that_it_cancels() {
    let cluster = Cluster::builder().worker(|config| config.handler_timeout_ms = 200).metrics().start().await;
    let daemon = cluster.workers[0].metrics.unwrap();
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    let cancelled = "gatewayworker_handler_errors_total{kind=\"cancelled\"}";
    let mut was_running = false;
    assert_moves(daemon, &[(cancelled, 1.0)], async || {
        client.send("hang").await;
        eventually("the handler to run", async || {
            let scrape = Scrape::of(daemon).await;
            was_running |= scrape.get("gatewayworker_handlers_running") == 1.0;
            was_running || scrape.get(cancelled) > 0.0
        })
        .await;
    })
    .await;
    assert!(was_running);
    assert_eq!(Scrape::of(daemon).await.get("gatewayworker_handlers_running"), 0.0);
}

#[tokio::test]
async fn a_worker_counts_questions_and_requests() {
    let (cluster, _, _, daemon) = cluster().await;
    let api = cluster.api().await;
    let asked =
        |result: &str| format!("gatewayworker_question_duration_seconds_count{{result=\"{result}\"}}");
    assert_moves(daemon, &[(&asked("answered"), 1.0)], async || api.client_count().await.unwrap()).await;
    let requests = |call: &str, status: &str| {
        format!("gatewayworker_http_requests_total{{call=\"{call}\",status=\"{status}\"}}")
    };
    let numbers = [(&*requests("send_to_all", "200"), 1.0), (&requests("send_to_all", "401"), 1.0)];
    assert_moves(daemon, &numbers, async || {
        assert_eq!(cluster.push("send_to_all", &json!({"message": "x"})).send().await.status, 200);
        let request = HttpRequest::post(cluster.http(), "/v1/send_to_all", &json!({"message": "x"}));
        assert_eq!(request.token("not-the-token-of-it").send().await.status, 401);
    })
    .await;
    // A gateway that takes connections, and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _announced = register_as_gateway(cluster.register, silent.local_addr().unwrap()).await;
    eventually("a question without an answer", async || {
        let _ = api.client_count().await;
        Scrape::of(daemon).await.get(&asked("unanswered")) > 0.0
    })
    .await;
}

#[tokio::test]
async fn gateway_and_worker_measure_the_round_trip_between_them() {
    let (_cluster, _, gateway, worker) = cluster().await;
    for daemon in [worker, gateway] {
        eventually("a round trip", async || {
            let scrape = Scrape::of(daemon).await;
            scrape.get("gatewayworker_ping_rtt_seconds_count") >= 1.0
                && scrape.get("gatewayworker_ping_rtt_seconds_sum") > 0.0
        })
        .await;
    }
}

#[tokio::test]
async fn a_register_counts_its_peers_and_why_it_closes_others() {
    let cluster = Cluster::builder().secret_key("key").metrics().start().await;
    let daemon = cluster.register_metrics.unwrap();
    let scrape = Scrape::of(daemon).await;
    assert_eq!((scrape.get("gatewayworker_gateways"), scrape.get("gatewayworker_workers")), (1.0, 1.0));
    for (line, reason) in [
        ("{\"event\":\"worker_connect\",\"secret_key\":\"wrong\"}\n".to_owned(), "wrong-key"),
        ("hello\n".to_owned(), "bad-request"),
        ("{\"event\":\"dance\"}\n".to_owned(), "unknown-event"),
        ("{\"event\":\"gateway_connect\"}\n".to_owned(), "bad-event"),
        (
            "{\"event\":\"gateway_connect\",\"address\":\"\",\"secret_key\":\"key\"}\n".to_owned(),
            "bad-address",
        ),
        ("x".repeat(70_000), "line-too-long"),
    ] {
        let rejected = format!("gatewayworker_rejected_total{{reason=\"{reason}\"}}");
        assert_moves(daemon, &[(&rejected, 1.0)], async || {
            let mut peer = TcpStream::connect(cluster.register).await.unwrap();
            let _ = peer.write_all(line.as_bytes()).await;
            let _ = soon("the end", peer.read_to_end(&mut Vec::new())).await;
        })
        .await;
    }
    let follows = "{\"event\":\"worker_connect\",\"secret_key\":\"key\"}\n";
    let peer = assert_moves(daemon, &[("gatewayworker_workers", 1.0)], async || {
        let mut peer = TcpStream::connect(cluster.register).await.unwrap();
        peer.write_all(follows.as_bytes()).await.unwrap();
        peer
    })
    .await;
    assert_moves(daemon, &[("gatewayworker_workers", -1.0)], async || drop(peer)).await;
}

#[tokio::test]
async fn each_daemon_shows_its_build_its_process_and_whether_it_is_ready() {
    let (cluster, register, gateway, worker) = cluster().await;
    for daemon in [register, gateway, worker] {
        let scrape = Scrape::of(daemon).await;
        assert_eq!(scrape.sum("gatewayworker_build_info"), 1.0);
        assert!(scrape.text.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))));
        assert!(scrape.get("process_start_time_seconds") > 1.6e9);
        let families = scrape.families();
        for (name, (kind, help)) in &families {
            assert!(help.ends_with('.') && help.len() > 5, "{name}: {help:?}");
            assert!(name.ends_with("_total") == (kind == "counter"), "{name} is a {kind}");
        }
    }
    eventually("all to be ready", async || {
        let mut ready = 0.0;
        for daemon in [register, gateway, worker] {
            ready += Scrape::of(daemon).await.get("gatewayworker_ready");
        }
        ready == 3.0
    })
    .await;
    drop(cluster);
}

/// Waits until a daemon says this about itself.
async fn says(daemon: SocketAddr, status: u16, words: &str) {
    eventually(&format!("{status} {words}"), async || {
        let (is, said) = get(daemon, "/readyz").await;
        is == status && said.contains(words)
    })
    .await;
    assert_eq!(get(daemon, "/healthz").await, (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn a_gateway_is_ready_with_a_worker_and_until_it_drains() {
    let mut cluster = Cluster::builder().workers(0).metrics().start().await;
    let daemon = cluster.gateways[0].metrics.unwrap();
    says(daemon, 503, "the gateway has no worker").await;
    cluster.start_worker().await;
    says(daemon, 200, "ok").await;
    cluster.workers[0].stop().await;
    says(daemon, 503, "the gateway has no worker").await;
    cluster.start_worker().await;
    says(daemon, 200, "ok").await;
    // A client that does not answer its close frame holds the gateway up.
    let _client = WsClient::greeted(cluster.listener()).await;
    cluster.gateways[0].begin_stop();
    is_draining(daemon).await;
}

#[tokio::test]
async fn a_worker_is_ready_with_a_gateway_and_until_it_drains() {
    let mut cluster = Cluster::builder().gateways(2).metrics().start().await;
    let daemon = cluster.workers[0].metrics.unwrap();
    says(daemon, 200, "ok").await;
    cluster.gateways[0].stop().await;
    says(daemon, 200, "ok").await;
    let (mut client, _) = WsClient::greeted(cluster.gateways[1].listener).await;
    // A handler that never returns holds the worker up.
    assert_moves(daemon, &[("gatewayworker_handlers_running", 1.0)], async || client.send("hang").await)
        .await;
    cluster.workers[0].begin_stop();
    is_draining(daemon).await;
    let cluster = Cluster::builder().gateways(0).metrics().start().await;
    says(cluster.workers[0].metrics.unwrap(), 503, "the businessworker has no gateway").await;
}

#[tokio::test]
async fn a_register_is_ready_while_it_listens() {
    let cluster = Cluster::builder().gateways(0).workers(0).metrics().start().await;
    says(cluster.register_metrics.unwrap(), 200, "ok").await;
}

/// Waits until a daemon that ends says so.
async fn is_draining(daemon: SocketAddr) {
    eventually("it to drain", async || get(daemon, "/readyz").await == (503, "draining\n".to_owned())).await;
    assert_eq!(get(daemon, "/healthz").await.0, 200);
}
