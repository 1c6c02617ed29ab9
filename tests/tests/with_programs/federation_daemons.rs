//! Clusters of processes that NATS joins, run by the control tool: NATS is away when they start, and their workers are replaced under load.

use std::collections::BTreeSet;
use std::time::Duration;

use gatewayworker_tests::process::Process;
use gatewayworker_tests::{NatsServer, WsClient, eventually, soon};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::federation::{KEY, join};
use crate::site::Site;

/// A site whose workers are joined with other clusters.
fn federated(cluster: &str, nats: &NatsServer) -> Site {
    let site = Site::new();
    let (own, url) = (site.config("businessworker"), nats.url());
    site.write(
        "businessworker",
        &format!("federation = '{url}'\ncluster_name = '{cluster}'\nfederation_key = '{KEY}'\n{own}"),
    );
    site
}

/// What the report says of the worker.
async fn worker(site: &Site) -> Value {
    let status = site.status().await;
    status["daemons"].as_array().unwrap().iter().find(|one| one["name"] == "businessworker").unwrap().clone()
}

/// Waits until the client gets this text.
async fn hears(client: &mut WsClient, text: &str) -> bool {
    timeout(Duration::from_millis(500), async { while client.text().await != text {} }).await.is_ok()
}

pub(crate) async fn nats_that_is_away_at_the_start_is_named_by_status_and_joined_when_it_comes() {
    let mut nats = NatsServer::start();
    nats.kill();
    let (near, far) = (Site::new(), federated("bj-1", &nats));
    near.write("businessworker", &format!("federation_key = '{KEY}'\n{}", near.config("businessworker")));
    near.succeeds("start", &["-d", "--federation", &nats.url(), "--cluster-name", "sh-1"]).await;
    far.succeeds("start", &["-d"]).await;
    for site in [&near, &far] {
        eventually("the report to name NATS", async || {
            let text = site.succeeds("status", &[]).await;
            text.contains("\n\nNotices:\n  federation: NATS is not connected")
                && text.contains("Connection refused")
        })
        .await;
        assert_eq!(site.status().await["ready"], true, "the cluster does its own work");
    }
    let mut client = near.greeted_client().await;

    nats.start_again();
    for site in [&near, &far] {
        eventually("the notice to end", async || worker(site).await["notices"] == serde_json::json!([]))
            .await;
    }
    eventually("the client to be reached from the other cluster", async || {
        // It reads where NATS is, and the key, from the worker's file.
        far.succeeds("call", &["send-to-all", "over NATS"]).await;
        hears(&mut client, "over NATS").await
    })
    .await;
}

pub(crate) async fn a_rolling_replacement_of_workers_loses_no_more_than_what_is_on_its_way_to_them() {
    let nats = NatsServer::start();
    let near = join("sh-1", vec![nats.url()]).await;
    let far = federated("bj-1", &nats);
    far.succeeds("start", &["-d"]).await;
    // A second worker, of which no supervisor knows.
    let config = far.directory.path().join("second.toml");
    let own = far.config("businessworker");
    let (own, _) = own.split_once("[http]").unwrap();
    std::fs::write(&config, own).unwrap();
    let second = || Process::start(&["businessworker", "--config", config.to_str().unwrap()]);
    let mut running = second();

    let mut client = far.greeted_client().await;
    let api = near.apis[0].clone();
    eventually("the other cluster to be reached", async || {
        api.send_to_all("begin").await.unwrap();
        hears(&mut client, "begin").await
    })
    .await;

    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let sending = tokio::spawn(async move {
        let mut pace = interval(Duration::from_millis(5));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = 0;
        while stopped.try_recv().is_err() {
            pace.tick().await;
            assert!(api.send_to_all(sent.to_string()).await.unwrap().is_complete());
            sent += 1;
        }
        (api, sent)
    });
    let reading = tokio::spawn(async move {
        let mut heard = BTreeSet::new();
        loop {
            match client.text().await.parse::<u64>() {
                Ok(number) => assert!(heard.insert(number), "{number} has come twice"),
                Err(_) if heard.is_empty() => {}
                Err(_) => return heard,
            }
        }
    });
    let mut stops = 0;
    for _ in 0..2 {
        far.succeeds("reload", &[]).await;
        let next = second();
        running.signal("TERM");
        running.status().await;
        running = next;
        stops += 2;
    }
    stop.send(()).unwrap();
    let (api, sent) = soon("the sender", sending).await.unwrap();
    let mut reading = reading;
    let mut heard = BTreeSet::new();
    eventually("the client to be reached once more", async || {
        api.send_to_all("end").await.unwrap();
        match timeout(Duration::from_millis(500), &mut reading).await {
            Ok(numbers) => heard = numbers.unwrap(),
            Err(_) => return false,
        }
        true
    })
    .await;
    let lost: Vec<u64> = (0..sent).filter(|number| !heard.contains(number)).collect();
    eprintln!("{} of {sent} sends were lost while {stops} workers stopped: {lost:?}", lost.len());
    // One is sent every 5 ms; what is on its way to a worker that stops is lost.
    assert!(lost.len() <= 4 * stops, "{lost:?}");
}
