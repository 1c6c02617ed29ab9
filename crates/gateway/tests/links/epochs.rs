//! Workers that acknowledge events: both links of a worker make an epoch, and it ends with either.

use std::time::Duration;

use gatewayworker_gateway::Config;
use gatewayworker_protocol::{Command, PingBody};

use crate::harness::{Gateway, client, connected, gateway, is_healthy, soon};
use crate::pair::{EventLink, Pair};

/// A gateway that gives a silent worker up after a second.
async fn quick_gateway() -> Gateway {
    gateway(quick).await
}

fn quick(config: &mut Config) {
    config.link_ping_interval_ms = 200;
    config.link_timeout_ms = 1000;
}

#[tokio::test]
async fn a_worker_is_linked_when_both_of_its_links_are_there() {
    let gateway = gateway(|config| config.health_path = "/health".into()).await;
    let event_link = EventLink::connect(&gateway, "W:0", 1).await;
    assert_ne!(event_link.pairing.epoch, 0);
    assert!(!is_healthy(&gateway).await, "no worker is linked yet");
    let mut pair = event_link.attach(&gateway).await;
    let connect = async { tokio::join!(client(&gateway), pair.connected()) };
    soon("client with a worker", connect).await;
    assert!(is_healthy(&gateway).await);
}

#[tokio::test]
async fn only_the_process_of_an_epoch_attaches_to_it_and_once() {
    let gateway = gateway(|_| ()).await;
    let event_link = EventLink::connect(&gateway, "W:0", 1).await;
    let epoch = event_link.pairing.epoch;
    for (epoch, process) in [(epoch, 2), (epoch.wrapping_add(1), 1), (0, 1)] {
        let mut call_link = event_link.call_link(&gateway, epoch, process).await;
        assert!(call_link.command().await.unwrap().is_none(), "epoch {epoch}, process {process}");
    }
    let mut pair = event_link.attach(&gateway).await;
    let mut second = pair.events.call_link(&gateway, epoch, 1).await;
    assert!(second.command().await.unwrap().is_none());
    soon("client with a worker", async { tokio::join!(client(&gateway), pair.connected()) }).await;
}

#[tokio::test]
async fn the_end_of_either_link_ends_the_other() {
    let gateway = gateway(|_| ()).await;
    let Pair { events, mut calls, .. } = Pair::connect(&gateway, "W:0", 1).await;
    drop(events);
    assert!(calls.command().await.unwrap_or_default().is_none());
    let Pair { mut events, calls, .. } = Pair::connect(&gateway, "W:0", 1).await;
    drop(calls);
    assert_eq!(events.event().await, None);
}

#[tokio::test]
async fn a_worker_that_falls_silent_on_either_link_is_given_up() {
    for (event_link_pings, call_link_pings) in [(false, false), (true, false), (false, true)] {
        let gateway = quick_gateway().await;
        let mut pair = Pair::connect(&gateway, "W:0", 1).await;
        let mut other = Pair::connect(&gateway, "W:1", 2).await;
        other.ping_both();
        if event_link_pings {
            pair.events.ping();
        }
        if call_link_pings {
            pair.ping_calls();
        }
        assert_eq!(pair.events.event().await, None, "{event_link_pings} {call_link_pings}");
        assert!(pair.calls.command().await.unwrap_or_default().is_none());
        // The other worker is alive.
        soon("client with a worker", async { tokio::join!(client(&gateway), other.connected()) }).await;
    }
}

#[tokio::test]
async fn a_worker_that_pings_is_pinged_and_stays() {
    let gateway = quick_gateway().await;
    let mut pair = Pair::connect(&gateway, "W:0", 1).await;
    pair.ping_both();
    // Two link timeouts.
    for _ in 0..10 {
        assert_eq!(pair.events.command().await, Some(Command::Ping(bytes::Bytes::new())));
    }
    soon("client with a worker", async { tokio::join!(client(&gateway), pair.connected()) }).await;
}

#[tokio::test]
async fn the_call_link_of_a_client_library_may_be_silent() {
    let gateway = quick_gateway().await;
    let mut worker = Pair::connect(&gateway, "W:0", 1).await;
    worker.ping_both();
    let mut library = crate::harness::Peer::connect(&gateway).await;
    let mut php = crate::harness::Peer::worker(&gateway, "PHP:0").await;
    // Two link timeouts.
    for _ in 0..10 {
        worker.events.command().await.unwrap();
    }
    let count = library.ask(gatewayworker_protocol::Question::Count(None)).await;
    assert_eq!(count.as_int(), Some(0));
    soon("client with a worker", async {
        tokio::join!(client(&gateway), client(&gateway), connected(&mut php))
    })
    .await;
}

#[tokio::test]
async fn a_process_that_links_again_ends_its_older_epoch() {
    let gateway = gateway(|_| ()).await;
    let mut older = Pair::connect(&gateway, "W:0", 1).await;
    let mut newer = Pair::connect(&gateway, "W:0", 1).await;
    assert_eq!(older.events.event().await, None);
    assert!(older.calls.command().await.unwrap_or_default().is_none());
    assert_eq!(older.events.pairing.instance, newer.events.pairing.instance);
    assert_ne!(older.events.pairing.epoch, newer.events.pairing.epoch);
    soon("client with a worker", async { tokio::join!(client(&gateway), newer.connected()) }).await;
}

#[tokio::test]
async fn another_process_with_the_same_key_makes_the_older_drain() {
    let gateway = gateway(|_| ()).await;
    let mut older = Pair::connect(&gateway, "W:0", 1).await;
    let mut newer = Pair::connect(&gateway, "W:0", 2).await;
    // Nothing is unfinished, so the older worker is let go. Its call link stays until the worker ends it.
    assert_eq!(older.events.event().await, Some(Command::Ping(PingBody::Drained.encode())));
    assert_eq!(older.events.event().await, None);
    let (client, connection_id) = tokio::join!(client(&gateway), newer.connected());
    drop(older.events);
    let group = "said by the older worker";
    older.calls.send([Command::JoinGroup { connection_id, group: group.into() }]).await;
    let members = older.calls.ask(gatewayworker_protocol::Question::Count(Some(group.into()))).await;
    assert_eq!(members.as_int(), Some(1));
    drop(client);
}

#[tokio::test]
async fn the_delay_of_the_gateway_is_not_held_against_a_worker() {
    const DELAY: Duration = Duration::from_secs(3);
    let gateway = gateway(|config| {
        quick(config);
        config.shards = 1;
    })
    .await;
    let mut pair = Pair::connect(&gateway, "W:0", 1).await;
    pair.ping_both();
    let _holding = gateway.hold_up(DELAY).await;
    let _ = pair.connected().await;
    // The gateway runs again.
    pair.calls.ask(gatewayworker_protocol::Question::IsOnline(0)).await;
    soon("client with a worker", async { tokio::join!(client(&gateway), pair.connected()) }).await;
}
