//! What Prometheus' own tool says about the metrics, the alert rules and the queries of the dashboard.

use std::net::SocketAddr;
use std::process::Stdio;

use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{Cluster, WsClient, soon};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const OPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ops");

/// Runs promtool with these arguments and this input; returns all that it says, and whether it succeeds.
async fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.kill_on_drop(true).spawn().expect("it is installed");
    let mut stdin = promtool.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = soon("promtool", promtool.wait_with_output()).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

pub(crate) async fn promtool_has_no_objection_to_the_metrics_of_any_daemon() {
    let cluster = Cluster::builder().http().metrics().start().await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    client.send("hello").await;
    client.text().await;
    let (gateway, worker) = (cluster.gateways[0].metrics.unwrap(), cluster.workers[0].metrics.unwrap());
    let daemons: [SocketAddr; 3] = [cluster.register_metrics.unwrap(), gateway, worker];
    for daemon in daemons {
        let scrape = Scrape::of(daemon).await;
        let (is_good, said) = promtool(&["check", "metrics"], &scrape.text).await;
        assert!(is_good && said.is_empty(), "{said}");
    }
    let (is_good, said) = promtool(&["check", "metrics"], "# TYPE a counter\na 1\n").await;
    assert!(!is_good && !said.is_empty(), "it objects where there is something to object to");
}

pub(crate) async fn the_alert_rules_are_valid() {
    let (is_good, said) = promtool(&["check", "rules", &format!("{OPS}/alerts.yml")], "").await;
    assert!(is_good && said.contains("13 rules found"), "{said}");
}

pub(crate) async fn the_queries_of_the_dashboard_are_valid() {
    let dashboard = std::fs::read_to_string(format!("{OPS}/grafana.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    // As rules, which promtool reads: a query alone it would send to a server.
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (n, query) in queries.enumerate() {
        let query = query["expr"].as_str().unwrap();
        let query = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
        assert!(!query.contains('$'), "{query}");
        rules += &format!("      - record: query_{n}\n        expr: {}\n", Value::from(query));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    let (is_good, said) = promtool(&["check", "rules", file.path().to_str().unwrap()], "").await;
    assert!(is_good, "{said}");
}
