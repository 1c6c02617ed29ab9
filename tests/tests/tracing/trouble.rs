//! A collector that is not there, or does not answer: clients and workers do not notice.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use gatewayworker_tests::{Cluster, WsClient, soon};

use crate::collector::{Behaviour, Collector};
use crate::with_cluster;

/// Sends messages whose events are all traced, and stops the daemons. More than the queue has room for would only be
/// lost.
async fn talk() {
    let mut cluster = Cluster::builder().gateway(|config| config.trace_sample = 1.0).start().await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    let started = Instant::now();
    for n in 0..200 {
        client.send(&n.to_string()).await;
        assert_eq!(client.text().await, n.to_string());
    }
    // The collector's time-out alone is 10 s.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    client.close().await;
    for stopped in ["the worker", "the gateway"] {
        let started = Instant::now();
        soon(stopped, async {
            match stopped {
                "the worker" => cluster.workers[0].stop().await,
                _ => cluster.gateways[0].stop().await,
            }
        })
        .await;
        // Their own end, and the two seconds for the last spans.
        assert!(started.elapsed() < Duration::from_secs(5), "{stopped}: {:?}", started.elapsed());
    }
}

#[test]
fn a_collector_that_is_not_there_costs_nobody_anything() {
    // A port that nobody listens on.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let test = "trouble::a_collector_that_is_not_there_costs_nobody_anything";
    with_cluster(test, address, |address| format!("http://{address}"), talk(), |_, ended| ended());
}

#[test]
fn a_collector_that_does_not_answer_costs_nobody_anything() {
    let collector = Collector::start(Behaviour::Silent);
    let endpoint = |collector: &Collector| format!("http://{}", collector.address);
    let test = "trouble::a_collector_that_does_not_answer_costs_nobody_anything";
    with_cluster(test, collector, endpoint, talk(), |_, ended| ended());
}

#[test]
fn an_endpoint_that_is_none_is_found_at_the_start() {
    let run = async {
        let failed = tokio::spawn(async {
            let shutdown = gatewayworker_businessworker::CancellationToken::new();
            let config = gatewayworker_businessworker::Config::default();
            gatewayworker_businessworker::serve(config, gatewayworker_tests::Recorder::default(), shutdown)
                .await
        });
        let error = soon("the error", failed).await.unwrap().unwrap_err().to_string();
        assert!(error.contains("OTEL_EXPORTER_OTLP_"), "{error}");
    };
    let test = "trouble::an_endpoint_that_is_none_is_found_at_the_start";
    with_cluster(test, (), |()| "no URL".to_owned(), run, |(), ended| ended());
}
