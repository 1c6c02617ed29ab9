//! Links within one host: over a Unix socket where both sides want that, over TCP otherwise.

use std::net::SocketAddr;

use gatewayworker::Gateway;
use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{Cluster, ClusterBuilder, WsClient, eventually};

const UNIX: &str = "gatewayworker_links{transport=\"unix\"}";
const TCP: &str = "gatewayworker_links{transport=\"tcp\"}";

/// Which links a gateway has.
#[derive(Debug, PartialEq)]
struct Links {
    unix: bool,
    tcp: bool,
}

const NONE: Links = Links { unix: false, tcp: false };
const ALL_UNIX: Links = Links { unix: true, tcp: false };
const ALL_TCP: Links = Links { unix: false, tcp: true };
const BOTH: Links = Links { unix: true, tcp: true };

/// The links of the gateway that shows its metrics at `daemon`.
async fn links(daemon: SocketAddr) -> Links {
    let scrape = Scrape::of(daemon).await;
    Links { unix: scrape.get(UNIX) > 0.0, tcp: scrape.get(TCP) > 0.0 }
}

/// Starts the cluster, and returns it with the links of its gateway.
async fn start(builder: ClusterBuilder) -> (Cluster, Links) {
    let cluster = builder.metrics().start().await;
    let links = links(cluster.gateways[0].metrics.unwrap()).await;
    (cluster, links)
}

/// Lets a client come, speak and be answered.
async fn chat(cluster: &Cluster) {
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    client.send("hello").await;
    assert_eq!(client.text().await, "hello");
}

#[tokio::test]
async fn all_links_of_a_worker_on_this_host_are_unix_sockets() {
    let (cluster, found) = start(Cluster::builder().secret_key("k")).await;
    assert_eq!(found, ALL_UNIX);
    chat(&cluster).await;
}

#[tokio::test]
async fn either_side_turns_unix_links_off() {
    let (cluster, found) = start(Cluster::builder().gateway(|config| config.unix_links = false)).await;
    assert_eq!(found, ALL_TCP);
    chat(&cluster).await;
    let (cluster, found) = start(Cluster::builder().worker(|config| config.unix_links = false)).await;
    assert_eq!(found, ALL_TCP);
    chat(&cluster).await;
}

#[tokio::test]
async fn a_client_library_links_over_a_unix_socket_unless_it_is_told_not_to() {
    let (cluster, found) = start(Cluster::builder().workers(0)).await;
    assert_eq!(found, NONE);
    let daemon = cluster.gateways[0].metrics.unwrap();
    let register = [cluster.register.to_string()];
    let over_unix = Gateway::builder(register.clone()).connect();
    assert_eq!(over_unix.client_count().await.unwrap(), 0);
    assert_eq!(links(daemon).await, ALL_UNIX);
    let over_tcp = Gateway::builder(register).unix_links(false).connect();
    assert_eq!(over_tcp.client_count().await.unwrap(), 0);
    assert_eq!(links(daemon).await, BOTH);
}

#[tokio::test]
async fn a_worker_falls_back_to_tcp_when_the_socket_is_gone_and_returns_to_it() {
    let (mut cluster, found) = start(Cluster::builder()).await;
    assert_eq!(found, ALL_UNIX);
    for (unix_links, expected) in [(false, ALL_TCP), (true, ALL_UNIX)] {
        cluster.gateway_config().unix_links = unix_links;
        cluster.restart_gateway(0).await;
        cluster.linked().await;
        let daemon = cluster.gateways[0].metrics.unwrap();
        eventually("the links", async || links(daemon).await == expected).await;
        chat(&cluster).await;
    }
}
