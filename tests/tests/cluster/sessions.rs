//! Sessions: the next event of a client sees what a handler has written.

use gatewayworker_tests::{Cluster, WsClient, eventually};
use serde_json::json;

#[tokio::test]
async fn the_next_event_sees_a_handlers_session_write() {
    let cluster = Cluster::builder().workers(2).start().await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    for _ in 0..200 {
        client.send("count").await;
    }
    for n in 1..=200 {
        assert_eq!(client.text().await, n.to_string());
    }
}

#[tokio::test]
async fn a_session_outlives_its_worker() {
    let mut cluster = Cluster::start().await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    client.send("count").await;
    assert_eq!(client.text().await, "1");
    cluster.workers[0].stop().await;
    cluster.workers.clear();
    cluster.start_worker().await;
    client.send("count").await;
    assert_eq!(client.text().await, "2");
}

#[tokio::test]
async fn sessions_are_set_merged_and_listed() {
    let cluster = Cluster::builder().gateways(2).start().await;
    let api = cluster.api().await;
    let (_first, first) = WsClient::greeted(cluster.gateways[0].listener).await;
    let (_second, second) = WsClient::greeted(cluster.gateways[1].listener).await;

    api.set_session(first, &json!({"name": "你", "tags": [1, 2, 3]})).await.unwrap();
    api.update_session(first, &json!({"tags": {"0": 9}, "new": true})).await.unwrap();
    let session = api.session(first).await.unwrap().unwrap();
    assert_eq!(session.get::<String>("name").unwrap().as_deref(), Some("你"));
    assert_eq!(session.get::<Vec<i64>>("tags").unwrap(), Some(vec![9, 2, 3]));
    assert_eq!(session.get::<bool>("new").unwrap(), Some(true));
    assert!(api.session(second).await.unwrap().unwrap().is_empty());

    api.join_group(first, "room").await.unwrap();
    assert_eq!(api.sessions().await.unwrap().len(), 2);
    let of_group = api.sessions_by_group("room").await.unwrap();
    assert_eq!(of_group.keys().copied().collect::<Vec<_>>(), [first]);
}

#[tokio::test]
async fn session_writes_of_others_are_seen() {
    let cluster = Cluster::start().await;
    let api = cluster.api().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    client.send("count").await;
    assert_eq!(client.text().await, "1");
    let outside = gatewayworker::Gateway::builder([cluster.register.to_string()]).connect();
    outside.set_session(id, &json!({"count": 100})).await.unwrap();
    eventually("the session to be written", async || {
        api.session(id).await.unwrap().unwrap().get::<i64>("count").unwrap() == Some(100)
    })
    .await;
    client.send("count").await;
    assert_eq!(client.text().await, "101");
}
