//! The guide's table of metrics has exactly those that exist, and dashboard and alerts use no others.

use std::collections::{BTreeMap, BTreeSet};

use gatewayworker_businessworker::prometheus_client::encoding::text::encode_registry;
use gatewayworker_businessworker::{
    CancellationToken, ClientCalls, ClientCallsConfig, Events, EventsConfig, HistoryConfig, Metrics, Problems,
};
use gatewayworker_protocol::SecretKey;
use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::tls::Certificate;
use gatewayworker_tests::{Cluster, eventually};
use gatewayworker_webhook::HttpEvents;
use serde_json::{Value, json};

const GUIDE: &str = include_str!("../../../docs/guide/metrics.md");
const ALERTS: &str = include_str!("../../../ops/alerts.yml");
const DASHBOARD: &str = include_str!("../../../ops/grafana.json");

/// The names of the metrics of events over HTTP, with their types.
fn families_of_events() -> BTreeMap<String, String> {
    let (metrics, problems) = (Metrics::default(), Problems::default());
    let config = EventsConfig::new("http://127.0.0.1:1/", SecretKey::default());
    HttpEvents::new(&config, CancellationToken::new()).unwrap().register(&metrics, &problems);
    families_of(&metrics)
}

/// Those of calls of clients.
fn families_of_calls() -> BTreeMap<String, String> {
    struct Nothing;
    impl Events for Nothing {}
    let metrics = Metrics::default();
    let _calls = ClientCalls::new(ClientCallsConfig::default(), Nothing).with_metrics(&metrics);
    families_of(&metrics)
}

/// The names of an application's metrics, with their types.
fn families_of(metrics: &Metrics) -> BTreeMap<String, String> {
    let mut text = String::new();
    metrics.with_registry(|registry| encode_registry(&mut text, registry)).unwrap();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    // OpenMetrics has the type of a counter without the end of its name.
    let full = |(name, kind): (&str, &str)| match kind {
        "counter" => (format!("{name}_total"), kind.to_owned()),
        _ => (name.to_owned(), kind.to_owned()),
    };
    types.map(full).collect()
}

/// The names of all metrics of each daemon, with their types.
async fn families() -> [(&'static str, BTreeMap<String, String>); 6] {
    let certificate = Certificate::default();
    let listen = "[[listen]]\nurl = 'websocket://127.0.0.1:0'\n".to_owned();
    let cluster = Cluster::builder().listen(&(listen + &certificate.listener("wss://127.0.0.1:0")));
    let cluster = cluster.worker(|config| config.history = HistoryConfig::at("memory:"));
    let cluster = cluster.http().metrics().start().await;
    // Without a request there is no number of them.
    cluster.push("send_to_all", &json!({"message": "x"})).send().await.result();
    let worker = cluster.workers[0].metrics.unwrap();
    eventually("the request to be counted", async || {
        Scrape::of(worker).await.sum("gatewayworker_http_requests_total") > 0.0
    })
    .await;
    let mut all = Vec::new();
    let gateway = cluster.gateways[0].metrics.unwrap();
    for (name, daemon) in
        [("register", cluster.register_metrics.unwrap()), ("gateway", gateway), ("worker", worker)]
    {
        let families = Scrape::of(daemon).await.families();
        all.push((
            name,
            families.into_iter().map(|(name, (kind, _))| (name, kind)).collect::<BTreeMap<_, _>>(),
        ));
    }
    let is_of_history = |(name, _): &(String, String)| name.starts_with("gatewayworker_history_");
    let (of_history, of_worker) = std::mem::take(&mut all[2].1).into_iter().partition(is_of_history);
    all[2].1 = of_worker;
    all.extend([("history", of_history), ("events", families_of_events()), ("calls", families_of_calls())]);
    all.try_into().expect("three daemons, and workers with a history, events over HTTP and calls of clients")
}

/// The metrics in the guide's table for a daemon, with their types: below the line that begins with its name.
fn of_guide(daemon: &str) -> BTreeMap<String, String> {
    let (_, below) = GUIDE.split_once(&format!("\n{daemon}:\n")).unwrap_or_else(|| panic!("{daemon}"));
    let rows = below.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].trim_matches('`').to_owned(), cells[2].to_owned())).collect()
}

#[tokio::test]
async fn the_guide_has_exactly_the_metrics_that_exist() {
    for (daemon, families) in families().await {
        let heading = match daemon {
            "register" => "The register",
            "gateway" => "A gateway",
            "worker" => "A worker",
            "history" => "A worker with a [history](history.md) has these, too",
            "calls" => "A worker that answers [calls of clients](no-code.md) has this, too",
            _ => "A worker that sends [events over HTTP](events-over-http.md) has these, too",
        };
        let mut guide = match daemon {
            "events" | "calls" | "history" => BTreeMap::new(),
            _ => of_guide("All daemons"),
        };
        guide.extend(of_guide(heading));
        assert_eq!(guide, families, "{daemon}");
    }
}

/// The metrics that an expression names.
fn names(expression: &str) -> BTreeSet<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c: char| !is_of_name(c));
    words.filter(|word| word.starts_with("gatewayworker_") || word.starts_with("process_")).collect()
}

/// The expressions of the dashboard.
fn of_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn dashboard_and_alerts_name_metrics_that_exist_and_the_dashboard_shows_them_all() {
    let families = families().await;
    let exists = |name: &str| {
        let histogram = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        families.iter().any(|(_, families)| {
            families.contains_key(name)
                || histogram.is_some_and(|of| families.get(of).is_some_and(|kind| kind == "histogram"))
        })
    };
    // An expression may go over several lines.
    let rules = ALERTS.split("expr:").skip(1).map(|rule| rule.split("labels:").next().unwrap().to_owned());
    let expressions: Vec<String> = rules.chain(of_dashboard()).collect();
    assert!(expressions.len() > 50);
    for expression in &expressions {
        let names = names(expression);
        assert!(!names.is_empty() || expression.contains("up{"), "{expression} names none");
        for name in names {
            assert!(exists(name), "there is no {name}: {expression}");
        }
    }
    let dashboard = of_dashboard().concat();
    for (daemon, families) in &families {
        for name in families.keys() {
            assert!(dashboard.contains(name.as_str()), "{name} of the {daemon} is on no panel");
        }
    }
    for job in ["gatewayworker-register", "gatewayworker-gateway", "gatewayworker-businessworker"] {
        assert!(GUIDE.contains(&format!("job_name: {job}\n")) && DASHBOARD.contains(job), "{job}");
    }
}

#[test]
fn panels_of_the_dashboard_have_ids_of_their_own_and_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let span = |panel: &Value, at: &str, len: &str| {
        let [at, len] = [at, len].map(|key| panel["gridPos"][key].as_u64().unwrap());
        at..at + len
    };
    for (n, one) in panels.iter().enumerate() {
        for other in &panels[..n] {
            let titles = (&other["title"], &one["title"]);
            assert_ne!(one["id"], other["id"], "{titles:?}");
            let overlaps = |at, len| {
                let (one, other) = (span(one, at, len), span(other, at, len));
                one.start < other.end && other.start < one.end
            };
            assert!(!(overlaps("x", "w") && overlaps("y", "h")), "{titles:?}");
        }
    }
}
