//! Clients of `gw.1` that come back to a gateway that takes no more clients: they have their places.

use gatewayworker_tests::{Cluster, Line, WsClient};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::resume::{self, cut};

/// Cuts off the only client that a gateway takes, and has it come back.
async fn comes_back(cluster: Cluster, refused_with: u16) {
    let (line, token, id) = resume::start(&cluster).await;
    drop(line);
    cut(&cluster).await;
    let mut new = Line::open(cluster.listener()).await;
    new.control(json!({"start": {}})).await;
    assert_eq!(new.close_code().await, refused_with, "a new client");
    let stream = TcpStream::connect(cluster.listener()).await.unwrap();
    let request = format!("ws://{}/", cluster.listener()).into_client_request().unwrap();
    assert!(WsClient::over(stream, request).await.is_err(), "a new client without gw.1");

    let mut line = Line::open(cluster.listener()).await;
    line.resume(&token, 1, 1).await;
    assert_eq!(line.expect_control().await["resumed"]["client"], id);
    let mut newer = Line::open(cluster.listener()).await;
    newer.resume(&token, 2, 1).await;
    assert_eq!(newer.expect_control().await["resumed"]["client"], id, "the old line is half-open");
    let mut stranger = Line::open(cluster.listener()).await;
    stranger.resume("rubbish", 1, 0).await;
    assert_eq!(stranger.close_code().await, refused_with, "it would be a new client");
    newer.0.send("still here").await;
    assert_eq!(newer.data().await, "still here");
}

#[tokio::test]
async fn a_client_comes_back_to_a_gateway_that_is_full() {
    comes_back(resume::builder().gateway(|config| config.max_connections = 1).start().await, 1013).await;
}

#[tokio::test]
async fn a_client_comes_back_from_an_address_that_has_as_many_connections_as_it_may_have() {
    let limited = resume::builder().gateway(|config| config.max_connections_per_address = 1);
    comes_back(limited.start().await, 1013).await;
}
