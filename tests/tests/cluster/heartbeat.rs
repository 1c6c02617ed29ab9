//! Heartbeats, with short intervals.
//!
//! `gateway/src/heartbeat.rs` tests the exact times, without a clock. Here a ping or close must not be early, and may be
//! late by half a second on a busy machine.

use std::time::Duration;

use gatewayworker::CloseReason;
use gatewayworker_tests::{Cluster, WsClient, soon};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const INTERVAL: f64 = 0.8;

async fn cluster(limit: u32) -> Cluster {
    Cluster::builder()
        .gateway(|config| {
            config.ping_interval = INTERVAL;
            config.ping_not_response_limit = limit;
        })
        .start()
        .await
}

#[tokio::test]
async fn a_silent_client_is_pinged_after_one_interval_and_closed_after_one_and_a_half() {
    let cluster = cluster(1).await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    let connected = Instant::now();
    assert_eq!(client.text().await, r#"{"type":"ping"}"#);
    let pinged = connected.elapsed().as_secs_f64() / INTERVAL;
    assert!((0.9..2.0).contains(&pinged), "pinged after {pinged} intervals");
    let Some(Message::Close(Some(close))) = client.next().await else { panic!("a close frame") };
    assert_eq!(close.code, CloseCode::Away);
    assert!(close.reason.starts_with("no answer to pings for "), "{close:?}");
    assert_eq!(client.next().await, None);
    let closed = connected.elapsed().as_secs_f64() / INTERVAL;
    assert!((1.4..2.5).contains(&closed), "closed after {closed} intervals");
    assert_eq!(cluster.events().next_close().await, (id, CloseReason::TimedOut));
}

#[tokio::test]
async fn any_data_ends_the_silence() {
    let cluster = cluster(1).await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    let until = Instant::now() + Duration::from_secs_f64(INTERVAL * 4.0);
    let mut pings = 0;
    while Instant::now() < until {
        // Answer each ping with a word, as a client should.
        if client.text().await == r#"{"type":"ping"}"# {
            pings += 1;
            client.send("here").await;
        }
    }
    assert!((1..=4).contains(&pings), "{pings} pings in 4 intervals");
}

#[tokio::test]
async fn a_websocket_pong_is_a_sign_of_life_and_pings_may_be_frames() {
    let cluster = Cluster::builder()
        .gateway(|config| {
            config.ping_interval = INTERVAL / 2.0;
            config.ping_frame = true;
        })
        .start()
        .await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    let until = Instant::now() + Duration::from_secs_f64(INTERVAL * 2.0);
    while Instant::now() < until {
        // The library answers a ping frame while it reads the next message.
        assert!(matches!(soon("a ping", client.next()).await, Some(Message::Ping(_))));
    }
    client.send("still here").await;
    while client.next().await != Some(Message::text("still here")) {}
}

#[tokio::test]
async fn without_a_limit_no_silent_client_is_closed() {
    let cluster = cluster(0).await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    for _ in 0..4 {
        assert_eq!(client.text().await, r#"{"type":"ping"}"#);
    }
}

#[tokio::test]
async fn without_ping_data_a_silent_client_is_closed_without_a_ping() {
    let cluster = Cluster::builder()
        .gateway(|config| {
            config.ping_interval = INTERVAL;
            config.ping_data = String::new();
        })
        .start()
        .await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    let Some(Message::Close(Some(close))) = client.next().await else { panic!("a close frame") };
    assert!(close.reason.starts_with("nothing heard for "), "{close:?}");
}
