//! Clusters joined by NATS that know which groups and uids the others have: a send goes to those that may have a member, and misses none.

use std::time::{Duration, Instant};

use gatewayworker::Gateway;
use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{Cluster, NatsServer, WsClient, eventually, soon};
use tokio::time::timeout;

use crate::federation::{Client, Joined, federate, join, reach_each_other};

/// The sum of what the workers of a cluster have counted.
async fn calls(joined: &Joined, result: &str) -> u64 {
    let mut count = 0.0;
    for worker in &joined.cluster.workers {
        let scrape = Scrape::of(worker.metrics.unwrap()).await;
        count += scrape.get(&format!("gatewayworker_federation_calls_total{{result=\"{result}\"}}"));
    }
    count as u64
}

/// Waits until each worker knows the names of all other clusters: what is for nobody is not published.
async fn know_each_other(clusters: &[Joined]) {
    for joined in clusters {
        for (worker, api) in joined.cluster.workers.iter().zip(&joined.apis) {
            let left_out = "gatewayworker_federation_calls_total{result=\"left_out\"}";
            eventually("a worker to know the names of all clusters", async || {
                let before = Scrape::of(worker.metrics.unwrap()).await.get(left_out);
                api.send_to_group(["nobody's"], "x").await.unwrap();
                Scrape::of(worker.metrics.unwrap()).await.get(left_out) > before
            })
            .await;
        }
    }
}

async fn start(names: &[&str], nats: &NatsServer) -> Vec<Joined> {
    let mut clusters = Vec::new();
    for name in names {
        clusters.push(join(name, vec![nats.url()]).await);
    }
    reach_each_other(&mut clusters).await;
    know_each_other(&clusters).await;
    clusters
}

/// Whether a message arrives in a short time.
async fn arrives(client: &mut Client, message: &str) -> bool {
    let arrived = async { while client.text().await != message {} };
    timeout(Duration::from_millis(100), arrived).await.is_ok()
}

pub(crate) async fn a_send_goes_to_the_clusters_that_have_a_member_and_to_no_other() {
    let nats = NatsServer::start();
    let mut clusters = start(&["sh-1", "bj-1", "gz-1"], &nats).await;
    let (api, far_api) = (clusters[0].apis[0].clone(), clusters[1].apis[0].clone());
    let member = clusters[1].clients[1].id;
    far_api.join_group(member, "news").await.unwrap();
    far_api.bind_uid(member, "anna").await.unwrap();
    for client in &mut clusters[1].clients[1..] {
        eventually("the member to be reached", async || {
            api.send_to_group(["news"], "probe news").await.unwrap();
            api.send_to_uid(["anna"], "probe anna").await.unwrap();
            timeout(Duration::from_millis(100), async { while client.socket.text().await != "probe anna" {} })
                .await
                .is_ok()
        })
        .await;
    }
    let before = [calls(&clusters[1], "received").await, calls(&clusters[2], "received").await];
    let left_out = calls(&clusters[0], "left_out").await;
    for n in 0..100 {
        assert!(api.send_to_group(["news"], format!("group {n}")).await.unwrap().is_complete());
        assert!(api.send_to_uid(["anna"], format!("uid {n}")).await.unwrap().is_complete());
        assert!(api.send_to_group(["other"], "nobody").await.unwrap().is_complete());
        assert!(api.send_to_uid(["news", "others"], "nobody").await.unwrap().is_complete());
    }
    api.send_to_all("last").await.unwrap();
    for joined in &mut clusters[1..] {
        for client in &mut joined.clients {
            if client.id == member {
                for n in 0..100 {
                    assert_eq!(client.text().await, format!("group {n}"));
                    assert_eq!(client.text().await, format!("uid {n}"));
                }
            }
            assert_eq!(client.text().await, "last");
        }
    }
    let after = [calls(&clusters[1], "received").await, calls(&clusters[2], "received").await];
    assert_eq!([after[0] - before[0], after[1] - before[1]], [201, 1], "calls that came to each cluster");
    assert_eq!(calls(&clusters[0], "left_out").await - left_out, 200);

    assert!(api.is_uid_online("anna").await.unwrap());
    assert!(!api.is_uid_online("nobody").await.unwrap());
    assert_eq!(api.client_count_by_group("news").await.unwrap(), 1);
}

pub(crate) async fn whoever_is_answered_at_once_after_a_first_join_gets_the_answer() {
    let nats = NatsServer::start();
    let mut clusters = start(&["sh-1", "bj-1"], &nats).await;
    let rounds = 200;
    let [near, far] = &mut clusters[..] else { panic!() };
    for n in 0..rounds {
        near.apis[0].join_group(near.clients[0].id, format!("room {n}")).await.unwrap();
    }
    let last = format!("room {}", rounds - 1);
    eventually("the rooms to be known", async || {
        far.apis[0].send_to_group([&*last], "probe").await.unwrap();
        timeout(Duration::from_millis(100), async { while near.clients[0].socket.text().await != "probe" {} })
            .await
            .is_ok()
    })
    .await;
    for n in 0..rounds {
        let room = format!("room {n}");
        let (joins, answers) = (&far.apis[n % 2], &near.apis[n / 2 % 2]);
        let comer = &mut far.clients[n / 4 % 2];
        joins.join_group(comer.id, room.clone()).await.unwrap();
        // The join is executed when this is answered. What is said before that may be answered before it.
        assert!(joins.is_online(comer.id).await.unwrap());
        joins.send_to_group([&*room], format!("joined {n}")).await.unwrap();
        assert_eq!(near.clients[0].text().await, format!("joined {n}"));
        answers.send_to_group([&*room], format!("welcome {n}")).await.unwrap();
        assert_eq!(near.clients[0].text().await, format!("welcome {n}"));
        assert_eq!(comer.text().await, format!("joined {n}"));
        assert_eq!(soon("the answer", comer.text()).await, format!("welcome {n}"));
    }
}

/// Joins a client of another cluster from far away, and says so there.
pub(crate) async fn a_client_of_another_cluster_that_was_joined_by_its_id_is_reached_at_once() {
    let nats = NatsServer::start();
    let mut clusters = start(&["sh-1", "bj-1"], &nats).await;
    let [near, far] = &mut clusters[..] else { panic!() };
    let client = &mut far.clients[0];
    for n in 0..50 {
        let room = format!("room {n}");
        near.apis[n % 2].join_group(client.id, room.clone()).await.unwrap();
        near.apis[n % 2].send_to_group([&*room], format!("welcome {n}")).await.unwrap();
        assert_eq!(client.text().await, format!("welcome {n}"));
    }
}

pub(crate) async fn a_first_member_gets_what_is_sent_at_once_after_its_join() {
    let nats = NatsServer::start();
    let mut clusters = start(&["sh-1", "bj-1"], &nats).await;
    let late = calls(&clusters[0], "published_late").await;
    let mut ways = Vec::new();
    let rounds = 100;
    for n in 0..rounds {
        let [near, far] = &mut clusters[..] else { panic!() };
        let uid = format!("first {n}");
        let client = &mut far.clients[n % 2];
        far.apis[n % 2].bind_uid(client.id, uid.clone()).await.unwrap();
        // The client is bound when this is answered. Nothing has told the other cluster but the change of names.
        assert_eq!(far.apis[n % 2].uid_by_client_id(client.id).await.unwrap().unwrap().to_string(), uid);
        let since = Instant::now();
        near.apis[n / 2 % 2].send_to_uid([&*uid], format!("welcome {n}")).await.unwrap();
        assert_eq!(client.text().await, format!("welcome {n}"));
        ways.push(since.elapsed());
    }
    ways.sort_unstable();
    let late = calls(&clusters[0], "published_late").await - late;
    eprintln!(
        "a first member gets a message within {:?}, half of them within {:?}; {late} of {rounds} were published late",
        ways[rounds - 1],
        ways[rounds / 2]
    );
}

pub(crate) async fn the_names_of_a_gateway_that_stops_are_gone_and_those_of_its_successor_are_found() {
    let nats = NatsServer::start();
    let mut clusters = start(&["sh-1", "bj-1"], &nats).await;
    let api = clusters[0].apis[0].clone();
    let far_api = clusters[1].apis[0].clone();
    far_api.join_group(clusters[1].clients[0].id, "there").await.unwrap();
    assert!(eventually_arrives(&api, &mut clusters[1].clients[0], "there").await);
    let (near, far) = clusters.split_at_mut(1);
    far[0]
        .cluster
        .restart_gateway_when(0, async || {
            eventually("the names of the gateway to be gone", async || {
                let left_out = calls(&near[0], "left_out").await;
                api.send_to_group(["there"], "nobody").await.unwrap();
                calls(&near[0], "left_out").await > left_out
            })
            .await;
        })
        .await;
    let (socket, id) = WsClient::greeted(clusters[1].cluster.gateways[0].listener).await;
    clusters[1].clients[0] = Client { socket, id };
    far_api.join_group(id, "there").await.unwrap();
    assert!(eventually_arrives(&api, &mut clusters[1].clients[0], "there").await);
}

async fn eventually_arrives(api: &Gateway, client: &mut Client, group: &str) -> bool {
    let mut n = 0;
    eventually("a member to be reached", async || {
        n += 1;
        let message = format!("{group} {n}");
        api.send_to_group([group], &*message).await.unwrap();
        arrives(client, &message).await
    })
    .await;
    true
}

pub(crate) async fn what_was_joined_while_nats_was_away_is_found_when_it_is_back() {
    let mut nats = NatsServer::start();
    let mut clusters = start(&["sh-1", "bj-1"], &nats).await;
    nats.kill();
    let api = clusters[0].apis[0].clone();
    eventually("the loss to be noticed", async || !api.send_to_all("probe").await.unwrap().is_complete())
        .await;
    let far_api = clusters[1].apis[0].clone();
    for client in &clusters[1].clients {
        far_api.join_group(client.id, "meanwhile").await.unwrap();
    }
    nats.start_again();
    reach_each_other(&mut clusters).await;
    api.send_to_group(["meanwhile"], "together").await.unwrap();
    for client in &mut clusters[1].clients {
        assert_eq!(client.text().await, "together");
    }
    know_each_other(&clusters).await;
    api.send_to_group(["meanwhile"], "still").await.unwrap();
    for client in &mut clusters[1].clients {
        assert_eq!(client.text().await, "still");
    }
}

pub(crate) async fn a_cluster_without_interest_gets_everything() {
    let nats = NatsServer::start();
    let mut clusters = vec![join("sh-1", vec![nats.url()]).await];
    let blind = Cluster::builder()
        .metrics()
        .worker(|config| {
            federate(config, "bj-1", vec![nats.url()]);
            config.interest = false;
        })
        .start()
        .await;
    let (socket, id) = WsClient::greeted(blind.gateways[0].listener).await;
    let apis = vec![blind.workers[0].events.gateway().await];
    clusters.push(Joined { cluster: blind, clients: vec![Client { socket, id }], apis });
    reach_each_other(&mut clusters).await;
    // It knows the other cluster's names, and the other one does not know its.
    know_each_other(&clusters[1..]).await;
    let received = calls(&clusters[1], "received").await;
    for _ in 0..10 {
        clusters[0].apis[0].send_to_group(["nobody's"], "x").await.unwrap();
    }
    clusters[0].apis[0].send_to_all("last").await.unwrap();
    assert_eq!(clusters[1].clients[0].text().await, "last");
    assert_eq!(calls(&clusters[1], "received").await - received, 11);
    assert_eq!(calls(&clusters[0], "left_out").await, 0);
}
