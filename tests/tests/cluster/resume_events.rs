//! What applications learn of clients of `gw.1` that are cut off and come back: `on_detached`, `on_resumed`, `detached_since`.

use std::time::{Duration, SystemTime};

use gatewayworker::client::{Column, Where};
use gatewayworker::{ClientId, CloseReason};
use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{Cluster, Happened, eventually};
use serde_json::json;

use crate::resume::{self, Line, builder, start};

/// Since when the client is cut off, as `select` tells it.
async fn detached_since(cluster: &Cluster, id: ClientId) -> Option<SystemTime> {
    let this = Where::default().with_client_ids([id]);
    let rows = cluster.api().await.select([Column::DetachedSince], this).await.unwrap();
    rows[&id].detached_since
}

#[tokio::test]
async fn an_application_is_told_of_a_cut_and_of_the_return_in_order() {
    let cluster = builder().start().await;
    let (mut line, token, id) = start(&cluster).await;
    let id: ClientId = id.parse().unwrap();
    assert_eq!(detached_since(&cluster, id).await, None);
    line.0.send("before").await;
    assert_eq!(line.data().await, "before");
    drop(line);
    for happened in [Happened::Connect(id), Happened::Message(id, "before".into()), Happened::Detached(id)] {
        assert_eq!(cluster.events().next().await, happened);
    }
    let since = detached_since(&cluster, id).await.expect("it is away");
    // To a second, which it is cut to.
    let ago = SystemTime::now().duration_since(since).unwrap();
    assert!(ago < Duration::from_secs(20), "{ago:?}");

    let mut line = Line::open_with(cluster.listener(), "/again?x=1", "gw.1").await;
    line.resume(&token, 1, 2).await;
    assert_eq!(line.expect_control().await, json!({"resumed": {"client": id.to_string(), "got": 1}}));
    assert_eq!(cluster.events().next().await, Happened::Resumed(id, "/again".to_owned()));
    assert_eq!(detached_since(&cluster, id).await, None);

    // The old line seems alive: there is no cut.
    let mut newer = Line::open_with(cluster.listener(), "/newer", "gw.1").await;
    newer.resume(&token, 2, 2).await;
    assert_eq!(cluster.events().next().await, Happened::Resumed(id, "/newer".to_owned()));
    newer.0.close().await;
    assert_eq!(cluster.events().next().await, Happened::Close(id, CloseReason::ClientLeft));
}

#[tokio::test]
async fn the_handshake_comes_along_from_another_gateway() {
    let cluster = builder().secret_key("a key").gateways(2).start().await;
    let (line, token, id) = start(&cluster).await;
    let id: ClientId = id.parse().unwrap();
    drop(line);
    resume::cut(&cluster).await;
    let mut line = Line::open_with(cluster.gateways[1].listeners[0], "/elsewhere", "gw.1").await;
    line.resume(&token, 1, 1).await;
    line.expect_control().await;
    assert_eq!(cluster.events().next().await, Happened::Connect(id));
    assert_eq!(cluster.events().next().await, Happened::Detached(id));
    assert_eq!(cluster.events().next().await, Happened::Resumed(id, "/elsewhere".to_owned()));
}

#[tokio::test]
async fn a_cut_that_no_worker_could_take_is_told_to_the_next_one_unless_it_is_over() {
    let mut cluster = builder().start().await;
    let (first, token, id) = start(&cluster).await;
    let second = start(&cluster).await;
    let [id, other] = [id, second.2].map(|id| id.parse::<ClientId>().unwrap());
    cluster.workers.remove(0).stop().await;
    drop((first, second.0));
    eventually("both cuts", async || {
        let scrape = Scrape::of(cluster.gateways[0].metrics.unwrap()).await;
        scrape.get("gatewayworker_detached_clients") == 2.0
    })
    .await;
    let mut line = Line::open_with(cluster.listener(), "/back", "gw.1").await;
    line.resume(&token, 1, 1).await;
    line.expect_control().await;
    cluster.start_worker().await;
    let events = cluster.events();
    let mut told = [events.next().await, events.next().await];
    told.sort_by_key(|happened| matches!(happened, Happened::Detached(_)));
    assert_eq!(told, [Happened::Resumed(id, "/back".to_owned()), Happened::Detached(other)]);
}
