//! Clusters joined by NATS, of which a part dies under load: what was lost is counted, and nothing comes twice.

use std::time::Duration;

use gatewayworker::{Gateway, Unreached};
use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{NatsServer, eventually};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::federation::{Client, Joined, join, join_all_to, name, reach_each_other};

const CALLS: &str = "gatewayworker_federation_calls_total";

/// What the workers of a cluster have noticed to be lost.
async fn lost(joined: &Joined) -> u64 {
    let mut lost = 0.0;
    for worker in &joined.cluster.workers {
        let scrape = Scrape::of(worker.metrics.unwrap()).await;
        lost += scrape.get(&format!("{CALLS}{{result=\"missed\"}}"))
            - scrape.get(&format!("{CALLS}{{result=\"late\"}}"));
    }
    lost as u64
}

/// Sends numbers to a group, a thousand a second, and does `at_half` when half of them are sent. Returns the numbers that NATS has taken.
async fn load(api: &Gateway, count: u64, mut at_half: impl FnMut()) -> Vec<u64> {
    let mut taken = Vec::new();
    let mut pace = interval(Duration::from_millis(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in 0..count {
        pace.tick().await;
        if n == count / 2 {
            at_half();
        }
        if api.send_to_group(["news"], n.to_string()).await.unwrap().is_complete() {
            taken.push(n);
        }
    }
    taken
}

/// What a client hears until it is reached again.
async fn heard(api: &Gateway, client: &mut Client) -> Vec<u64> {
    let mut numbers = Vec::new();
    eventually("the client to be reached", async || {
        let _ = api.send_to_client(client.id, "end").await;
        let hear = async {
            loop {
                match client.text().await.parse() {
                    Ok(number) => numbers.push(number),
                    Err(_) => return,
                }
            }
        };
        timeout(Duration::from_millis(200), hear).await.is_ok()
    })
    .await;
    numbers
}

pub(crate) async fn what_a_dying_nats_server_loses_is_counted_and_the_rest_arrives_once_and_in_order() {
    let mut servers = NatsServer::cluster(3);
    let urls: Vec<String> = servers.iter().map(NatsServer::url).collect();
    let mut clusters = vec![join("sh-1", urls.clone()).await, join("bj-1", urls).await];
    reach_each_other(&mut clusters).await;
    join_all_to(&clusters, "news").await;
    let api = clusters[0].apis[0].clone();
    for (round, server) in (0..3).enumerate() {
        let before = lost(&clusters[1]).await;
        let taken = load(&api, 2_000, || servers[server].kill()).await;
        for client in &mut clusters[0].clients {
            let own = heard(&api, client).await;
            assert_eq!(own.len(), 2_000, "the own cluster misses nothing");
        }
        let mut received = Vec::new();
        for client in &mut clusters[1].clients {
            let numbers = heard(&api, client).await;
            assert!(numbers.is_sorted_by(|one, next| one < next), "once and in order");
            assert!(
                numbers.iter().all(|number| taken.binary_search(number).is_ok()),
                "the sender was told of the others"
            );
            received.push(numbers);
        }
        assert_eq!(received[0], received[1]);
        let missing = (taken.len() - received[0].len()) as u64;
        eprintln!("round {round}: NATS took {} of 2000, {missing} of these were lost", taken.len());
        assert_eq!(lost(&clusters[1]).await - before, missing);
        servers[server].start_again();
        reach_each_other(&mut clusters).await;
    }
}

/// A region has a NATS of its own, which is a leaf node of the other region's.
pub(crate) async fn of_two_regions_each_works_alone_while_their_leaf_node_is_cut() {
    let hub_leaf_port = gatewayworker_tests::process::free_port();
    let configuration = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = configuration.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let hub = file("hub.conf", format!("leafnodes {{ listen: \"127.0.0.1:{hub_leaf_port}\" }}"));
    let remote = format!("nats-leaf://127.0.0.1:{hub_leaf_port}");
    let leaf =
        file("leaf.conf", format!("leafnodes {{ reconnect: 1, remotes: [ {{ url: \"{remote}\" }} ] }}"));
    let hub = NatsServer::start_with(&["-c", &hub]);
    let mut leaf = NatsServer::start_with(&["-c", &leaf]);
    let mut clusters = vec![
        join("sh-1", vec![hub.url()]).await,
        join("sh-2", vec![hub.url()]).await,
        join("bj-1", vec![leaf.url()]).await,
    ];
    reach_each_other(&mut clusters).await;
    join_all_to(&clusters, "news").await;

    leaf.kill();
    let (near, far) = (clusters[0].apis[0].clone(), clusters[2].apis[0].clone());
    let not_taken = [name("sh-1"), name("sh-2")].map(|cluster| (cluster, Unreached::NotConnected));
    eventually("the region without NATS to know so", async || {
        far.send_to_group(["nobody's"], "x").await.unwrap().unreached_clusters == not_taken
    })
    .await;
    far.send_to_group(["news"], "far").await.unwrap();
    // The other region's NATS takes it, and has nobody behind the leaf node.
    assert!(near.send_to_group(["news"], "near").await.unwrap().is_complete());
    for joined in &mut clusters[..2] {
        for client in &mut joined.clients {
            assert_eq!(client.text().await, "near");
        }
    }
    for client in &mut clusters[2].clients {
        assert_eq!(client.text().await, "far");
    }

    leaf.start_again();
    reach_each_other(&mut clusters).await;
    far.send_to_group(["news"], "together").await.unwrap();
    for client in clusters.iter_mut().flat_map(|joined| &mut joined.clients) {
        assert_eq!(client.text().await, "together");
    }
}
