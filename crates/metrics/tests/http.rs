//! The endpoints over HTTP, with numbers that a test makes up.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::net::SocketAddr;
use std::time::Duration;

use gatewayworker_daemon::{Histogram, Stats};
use gatewayworker_metrics::prometheus_client::metrics::counter::Counter;
use gatewayworker_metrics::{Exporter, Families, Health, Metrics, Source, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The most connections, as the exporter has them.
const MAX_CONNECTIONS: usize = 64;

struct Numbers;

impl Source for Numbers {
    async fn read(&self, into: &mut Families) {
        into.gauge("gatewayworker_clients", "Clients.", 7_u64);
        into.counters(
            "gatewayworker_rejected_total",
            "Rejected.",
            "reason",
            [("full", 3_u64), ("a \"b\"\\\n", 4)],
        );
        into.counter("gatewayworker_paused_seconds_total", "Paused.", 0.5);
        into.gauges::<&str, u64>("gatewayworker_nothing", "Nothing.", "label", []);
        let histogram = Histogram::default();
        [100, 3_000_000, 100_000_000].into_iter().for_each(|us| histogram.observe_us(us));
        into.histogram("gatewayworker_took_seconds", "Took.", histogram.read());
    }
}

/// A daemon's endpoints. Dropping it ends them.
struct Endpoints {
    address: SocketAddr,
    stats: Stats,
    draining: CancellationToken,
    metrics: Metrics,
    end: CancellationToken,
    _end: DropGuard,
}

impl Endpoints {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stats, draining, end) = (Stats::default(), CancellationToken::new(), CancellationToken::new());
        let metrics = Metrics::default();
        let exporter = Exporter::new(Numbers, Health::new(stats.clone(), draining.clone()));
        tokio::spawn(serve(listener, exporter.with_application(metrics.clone()), end.clone()));
        let _end = end.clone().drop_guard();
        Self { address, stats, draining, metrics, end, _end }
    }

    /// Sends a request, on a connection of its own, and returns head and body of the answer.
    async fn request(&self, request: &str) -> (String, String) {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        read_answer(connection).await
    }

    async fn get(&self, path: &str, headers: &str) -> (String, String) {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")).await
    }
}

async fn read_answer(mut connection: TcpStream) -> (String, String) {
    let mut answer = String::new();
    let read = timeout(Duration::from_secs(30), connection.read_to_string(&mut answer)).await;
    read.expect("an end of the connection").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn a_browser_gets_text_and_prometheus_gets_openmetrics() {
    let endpoints = Endpoints::start().await;
    let (head, body) = endpoints.get("/metrics", "Accept: text/html,*/*\r\n").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    let expected = "\
# HELP gatewayworker_clients Clients.
# TYPE gatewayworker_clients gauge
gatewayworker_clients 7
# HELP gatewayworker_rejected_total Rejected.
# TYPE gatewayworker_rejected_total counter
gatewayworker_rejected_total{reason=\"full\"} 3
gatewayworker_rejected_total{reason=\"a \\\"b\\\"\\\\\\n\"} 4
# HELP gatewayworker_paused_seconds_total Paused.
# TYPE gatewayworker_paused_seconds_total counter
gatewayworker_paused_seconds_total 0.5
# HELP gatewayworker_took_seconds Took.
# TYPE gatewayworker_took_seconds histogram
gatewayworker_took_seconds_bucket{le=\"0.00025\"} 1
";
    assert!(body.contains(expected), "{body}");
    for line in [
        "gatewayworker_took_seconds_bucket{le=\"1\"} 1",
        "gatewayworker_took_seconds_bucket{le=\"2.5\"} 1",
        "gatewayworker_took_seconds_bucket{le=\"5\"} 2",
        "gatewayworker_took_seconds_bucket{le=\"+Inf\"} 3",
        "gatewayworker_took_seconds_sum 103.0001",
        "gatewayworker_took_seconds_count 3",
    ] {
        assert!(body.lines().any(|one| one == line), "{line}: {body}");
    }
    assert!(!body.contains("# EOF") && !body.contains("gatewayworker_nothing"), "{body}");
    assert!(body.contains(&format!("gatewayworker_build_info{{version=\"{}\",", env!("CARGO_PKG_VERSION"))));

    let (head, body) =
        endpoints.get("/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n").await;
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(body.contains("# TYPE gatewayworker_rejected counter\ngatewayworker_rejected_total{"), "{body}");
    assert!(body.contains("gatewayworker_took_seconds_bucket{le=\"+Inf\"} 3"), "{body}");
    assert!(body.ends_with("# EOF\n") && body.matches("# EOF").count() == 1, "{body}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_process_is_shown_with_base_units() {
    let (_, body) = Endpoints::start().await.get("/metrics", "").await;
    for (name, least) in [
        ("process_cpu_seconds_total", 0.0),
        ("process_resident_memory_bytes", 100_000.0),
        ("process_open_fds", 3.0),
        ("process_max_fds", 20.0),
        ("process_start_time_seconds", 1.6e9),
        ("process_threads", 1.0),
    ] {
        let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value: f64 = line.unwrap_or_else(|| panic!("{name}: {body}")).parse().unwrap();
        assert!(value >= least && value < 1e19, "{name} {value}");
    }
}

#[tokio::test]
async fn an_application_has_metrics_beside_those_of_its_daemon_in_both_formats() {
    let endpoints = Endpoints::start().await;
    let orders = Counter::<u64>::default();
    endpoints.metrics.register("shop_orders", "Orders", orders.clone());
    orders.inc_by(2);
    for (accept, kind) in
        [("", "shop_orders_total"), ("Accept: application/openmetrics-text\r\n", "shop_orders")]
    {
        let (_, body) = endpoints.get("/metrics", accept).await;
        assert!(body.contains(&format!("# TYPE {kind} counter\nshop_orders_total 2\n")), "{body}");
        assert!(body.contains("gatewayworker_clients 7\n"), "{body}");
    }
}

#[tokio::test]
async fn health_is_said_in_a_status_and_a_sentence() {
    let endpoints = Endpoints::start().await;
    let readiness = async |status: &str, sentences: &str| {
        let (head, body) = endpoints.get("/readyz", "").await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
        assert_eq!(body, sentences);
        let (head, body) = endpoints.get("/healthz", "").await;
        assert!(head.starts_with("http/1.1 200 ") && body == "ok\n", "it lives: {head}");
    };
    readiness("503", "starting\n").await;
    let problems = std::sync::Arc::new(std::sync::Mutex::new(vec!["one".to_owned(), "two".to_owned()]));
    endpoints.stats.provide_problems({
        let problems = problems.clone();
        move || problems.lock().unwrap().clone()
    });
    readiness("503", "one\ntwo\n").await;
    problems.lock().unwrap().clear();
    readiness("200", "ok\n").await;
    endpoints.draining.cancel();
    readiness("503", "draining\n").await;
}

#[tokio::test]
async fn head_gets_the_head_and_everything_else_an_error() {
    let endpoints = Endpoints::start().await;
    for path in ["/metrics", "/healthz"] {
        let (head, body) =
            endpoints.request(&format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert!(head.starts_with("http/1.1 200 ") && head.contains("\r\ncontent-length: "), "{head}");
        assert_eq!(body, "");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let (head, _) = endpoints
            .request(&format!("{method} /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
            .await;
        assert!(head.starts_with("http/1.1 405 ") && head.contains("\r\nallow: get, head"), "{head}");
    }
    for path in ["/", "/metrics/", "/Metrics", "//metrics", "/metrics/../readyz", "/v1/health"] {
        let (head, body) = endpoints.get(path, "").await;
        assert!(head.starts_with("http/1.1 404 "), "{path}: {head}");
        assert!(body.contains("/metrics, /healthz and /readyz"), "{body}");
    }
    assert!(endpoints.get("/metrics?name=x", "").await.0.starts_with("http/1.1 200 "));
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let endpoints = Endpoints::start().await;
    assert!(endpoints.request("nonsense\r\n\r\n").await.0.starts_with("http/1.1 400 "));
    let long = "x".repeat(20_000);
    let (head, _) = endpoints.get("/metrics", &format!("X-Long: {long}\r\n")).await;
    assert!(head.starts_with("http/1.1 431 "), "{head}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed_after_a_while() {
    let endpoints = Endpoints::start().await;
    let mut silent = TcpStream::connect(endpoints.address).await.unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0);
    assert!((8..20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_over_the_limit_gets_503_and_the_others_go_on() {
    let endpoints = Endpoints::start().await;
    let mut connections = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut connection = TcpStream::connect(endpoints.address).await.unwrap();
        connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        connection.read_exact(&mut [0; 12]).await.unwrap();
        connections.push(connection);
    }
    let (head, _) = endpoints.get("/healthz", "").await;
    assert!(head.starts_with("http/1.1 503 ") && head.contains("\r\nretry-after: 1"), "{head}");
    let mut first = connections.swap_remove(0);
    first.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (head, body) = read_answer(first).await;
    assert!(body.contains("gatewayworker_clients 7"), "{head}");
    drop(connections);
    let free = async { while !endpoints.get("/healthz", "").await.0.starts_with("http/1.1 200 ") {} };
    timeout(Duration::from_secs(30), free).await.expect("room for others");
}

#[tokio::test]
async fn the_end_of_the_daemon_ends_an_idle_connection() {
    let endpoints = Endpoints::start().await;
    let mut idle = TcpStream::connect(endpoints.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0; 12]).await.unwrap();
    endpoints.end.cancel();
    let rest = timeout(Duration::from_secs(30), idle.read_to_end(&mut Vec::new())).await;
    rest.expect("an end of the connection").unwrap();
}
