//! Clusters joined by a real NATS: what is said in one reaches the clients of all, once and in order, and each works alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gatewayworker::federation::{Federation, Options, Stats};
use gatewayworker::{AskError, ClientId, ClusterName, Error, Gateway, SecretKey, Unreached};
use gatewayworker_businessworker as worker;
use gatewayworker_tests::{Cluster, NatsServer, WsClient, eventually, soon};
use tokio::time::timeout;

pub(crate) const KEY: &str = "a key that all clusters share";

/// A client that takes no notice of the probes by which a test finds out that clusters hear each other.
pub(crate) struct Client {
    pub(crate) socket: WsClient,
    pub(crate) id: ClientId,
}

impl Client {
    pub(crate) async fn text(&mut self) -> String {
        loop {
            let text = self.socket.text().await;
            if !text.starts_with("probe") {
                return text;
            }
        }
    }
}

/// One of the clusters, with a client on each gateway.
pub(crate) struct Joined {
    pub(crate) cluster: Cluster,
    pub(crate) clients: Vec<Client>,
    pub(crate) apis: Vec<Gateway>,
}

pub(crate) fn name(name: &str) -> ClusterName {
    name.parse().unwrap()
}

/// Makes a worker one of a cluster that NATS joins with others.
pub(crate) fn federate(config: &mut worker::Config, cluster: &str, urls: Vec<String>) {
    config.federation = urls;
    config.cluster_name = Some(cluster.into());
    config.federation_key = SecretKey::new(KEY);
    config.question_timeout_ms = 3_000;
    config.shutdown_timeout_ms = 5_000;
}

/// Starts a cluster of two gateways and two workers.
pub(crate) async fn join(cluster: &str, urls: Vec<String>) -> Joined {
    join_with(|config| federate(config, cluster, urls)).await
}

/// Starts a cluster of two gateways and two workers with these settings.
pub(crate) async fn join_with(configure: impl FnOnce(&mut worker::Config)) -> Joined {
    let cluster = Cluster::builder().gateways(2).workers(2).metrics().worker(configure).start().await;
    let (mut clients, mut apis) = (Vec::new(), Vec::new());
    for gateway in &cluster.gateways {
        let (socket, id) = WsClient::greeted(gateway.listener).await;
        clients.push(Client { socket, id });
    }
    for worker in &cluster.workers {
        apis.push(worker.events.gateway().await);
    }
    Joined { cluster, clients, apis }
}

/// Sends until it arrives.
async fn reaches(api: &Gateway, client: &mut Client) {
    let probe = format!("probe {}", rand_text());
    eventually("a client of another cluster to be reached", async || {
        let _ = api.send_to_client(client.id, &*probe).await;
        let arrived = async { while client.socket.text().await != probe {} };
        timeout(Duration::from_millis(200), arrived).await.is_ok()
    })
    .await;
}

fn rand_text() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

/// Waits until each worker reaches the clients of all clusters, whichever worker there hears it.
pub(crate) async fn reach_each_other(clusters: &mut [Joined]) {
    for from in 0..clusters.len() {
        for to in (0..clusters.len()).filter(|to| *to != from) {
            for worker in 0..clusters[from].apis.len() {
                let api = clusters[from].apis[worker].clone();
                for client in &mut clusters[to].clients {
                    reaches(&api, client).await;
                }
            }
        }
    }
}

/// Two clusters of two gateways and two workers.
async fn two(nats: &NatsServer) -> Vec<Joined> {
    let mut clusters = vec![join("sh-1", vec![nats.url()]).await, join("bj-1", vec![nats.url()]).await];
    reach_each_other(&mut clusters).await;
    clusters
}

pub(crate) async fn join_all_to(clusters: &[Joined], group: &str) {
    for joined in clusters {
        for client in &joined.clients {
            joined.apis[0].join_group(client.id, group).await.unwrap();
            joined.apis[0].bind_uid(client.id, format!("{group}-uid")).await.unwrap();
        }
        // The joins are executed when this is answered.
        assert_eq!(local(&joined.apis[0]).await, 2);
    }
}

/// How many clients the cluster's own gateways have.
async fn local(api: &Gateway) -> usize {
    let mut count = 0;
    for address in api.connected_gateways() {
        let ids = api.client_ids().await.unwrap_or_else(|error| match error {
            AskError::Incomplete { partial, .. } => partial,
            AskError::NotAsked(error) => panic!("{error}"),
        });
        count += ids.iter().filter(|id| id.gateway() == address).count();
    }
    count
}

pub(crate) async fn sends_reach_the_clients_of_all_clusters_once_and_in_order() {
    let nats = NatsServer::start();
    let mut clusters = two(&nats).await;
    join_all_to(&clusters, "news").await;
    let rounds = 60;
    for from in 0..2 {
        for worker in 0..2 {
            let api = clusters[from].apis[worker].clone();
            for n in 0..rounds {
                assert!(api.send_to_group(["news"], format!("group {n}")).await.unwrap().is_complete());
                assert!(api.send_to_uid(["news-uid"], format!("uid {n}")).await.unwrap().is_complete());
                assert!(api.send_to_all(format!("all {n}")).await.unwrap().is_complete());
            }
            for client in clusters.iter_mut().flat_map(|joined| &mut joined.clients) {
                for n in 0..rounds {
                    assert_eq!(client.text().await, format!("group {n}"));
                    assert_eq!(client.text().await, format!("uid {n}"));
                    assert_eq!(client.text().await, format!("all {n}"));
                }
            }
        }
    }
}

pub(crate) async fn a_client_of_another_cluster_is_reached_by_its_id_and_excepted_by_it() {
    let nats = NatsServer::start();
    let mut clusters = two(&nats).await;
    let (near, far) = clusters.split_at_mut(1);
    let (api, far_api) = (&near[0].apis[1], far[0].apis[0].clone());
    let [one, other] = &mut far[0].clients[..] else { panic!() };
    api.send_to_client(one.id, "to one").await.unwrap();
    assert_eq!(one.text().await, "to one");
    api.bind_uid(one.id, "far").await.unwrap();
    api.join_group(one.id, "far room").await.unwrap();
    api.set_session(one.id, &serde_json::json!({"city": "Beijing"})).await.unwrap();
    eventually("the commands to have their effect", async || {
        far_api.session(one.id).await.unwrap().is_some_and(|session| session.get::<String>("city").is_ok())
    })
    .await;
    assert!(api.is_online(one.id).await.unwrap());
    assert_eq!(api.uid_by_client_id(one.id).await.unwrap().unwrap().to_string(), "far");
    assert_eq!(api.client_ids_by_uid("far").await.unwrap(), [one.id]);
    assert_eq!(api.client_ids_by_group("far room").await.unwrap(), [one.id]);
    assert_eq!(
        api.session(one.id).await.unwrap().unwrap().get::<String>("city").unwrap().as_deref(),
        Some("Beijing")
    );

    api.send_to_all("not for one").except([one.id]).await.unwrap();
    api.send_to_all("only one").only([one.id]).await.unwrap();
    api.send_to_group(["far room"], "nobody").except([one.id]).await.unwrap();
    api.send_to_uid(["far"], "nobody").except([one.id]).await.unwrap();
    api.send_to_client(one.id, "last").await.unwrap();
    assert_eq!(other.text().await, "not for one");
    assert_eq!(one.text().await, "only one");
    assert_eq!(one.text().await, "last");

    api.close_uid(["far"]).last_message("bye").await.unwrap();
    assert_eq!(one.text().await, "bye");
    assert!(soon("the close", one.socket.next()).await.is_none_or(|message| message.is_close()));
    eventually("the client to be gone", async || !api.is_online(one.id).await.unwrap()).await;
}

pub(crate) async fn questions_ask_all_clusters_and_name_the_one_that_does_not_answer() {
    let nats = NatsServer::start();
    let mut clusters = two(&nats).await;
    join_all_to(&clusters, "news").await;
    let api = clusters[0].apis[1].clone();
    let all: BTreeSet<_> =
        clusters.iter().flat_map(|joined| &joined.clients).map(|client| client.id).collect();
    let listed = |ids: Vec<ClientId>| ids.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(api.client_count().await.unwrap(), 4);
    assert_eq!(api.client_count_by_group("news").await.unwrap(), 4);
    assert_eq!(listed(api.client_ids().await.unwrap()), all);
    assert_eq!(listed(api.client_ids_by_uid("news-uid").await.unwrap()), all);
    assert_eq!(api.group_ids().await.unwrap().len(), 1);
    assert!(!api.is_uid_online("nobody").await.unwrap());

    // A cluster that has left is none any more; one whose workers are gone without a word is missed.
    for worker in &mut clusters[1].cluster.workers {
        worker.stop().await;
    }
    eventually("the cluster to be forgotten", async || api.client_count().await.ok() == Some(2)).await;
}

pub(crate) async fn while_nats_is_away_each_cluster_works_alone_and_says_so() {
    let mut nats = NatsServer::start();
    let mut clusters = two(&nats).await;
    join_all_to(&clusters, "news").await;
    let api = clusters[0].apis[0].clone();
    nats.kill();
    let not_taken = vec![(name("bj-1"), Unreached::NotConnected)];
    eventually("the loss to be noticed", async || {
        api.send_to_group(["nobody's"], "x").await.unwrap().unreached_clusters == not_taken
    })
    .await;
    let delivery = api.send_to_group(["news"], "alone").await.unwrap();
    assert_eq!((delivery.unreached, delivery.unreached_clusters), (vec![], not_taken.clone()));
    for client in &mut clusters[0].clients {
        assert_eq!(client.text().await, "alone");
    }
    let error = api.client_count().await.unwrap_err();
    let AskError::Incomplete { partial: 2, missing, missing_clusters } = error else { panic!("{error:?}") };
    assert_eq!((missing, missing_clusters), (vec![], not_taken));
    assert!(api.is_uid_online("news-uid").await.unwrap(), "one yes is enough");

    nats.start_again();
    reach_each_other(&mut clusters).await;
    api.send_to_group(["news"], "together").await.unwrap();
    for client in clusters.iter_mut().flat_map(|joined| &mut joined.clients) {
        assert_eq!(client.text().await, "together");
    }
    assert_eq!(api.client_count().await.unwrap(), 4);
}

pub(crate) async fn a_worker_that_stops_leaves_its_part_to_another() {
    let nats = NatsServer::start();
    let mut clusters = two(&nats).await;
    join_all_to(&clusters, "news").await;
    let api = clusters[0].apis[0].clone();
    let (near, far) = clusters.split_at_mut(1);
    let mut sent = 0;
    let mut stopping = std::pin::pin!(far[0].cluster.workers[1].stop());
    let mut is_stopping = true;
    while is_stopping {
        api.send_to_group(["news"], sent.to_string()).await.unwrap();
        sent += 1;
        is_stopping = timeout(Duration::from_millis(5), &mut stopping).await.is_err();
    }
    api.send_to_group(["news"], "last").await.unwrap();
    for client in near[0].clients.iter_mut().chain(&mut far[0].clients) {
        // Order is not promised while two workers hold a partition.
        let mut heard = BTreeSet::new();
        loop {
            match client.text().await {
                text if text == "last" => break,
                text => assert!(heard.insert(text), "once"),
            }
        }
        // One is sent every 5 ms. What is on its way to the worker at the moment of its end may be lost.
        assert!(heard.len() + 2 >= sent, "{} of {sent}", heard.len());
    }
}

/// A process of another cluster, which has no gateway of its own to tell.
async fn outsider(nats: &NatsServer, key: &str) -> (Federation, Gateway) {
    let options = Options::new([nats.url()], name("evil"), SecretKey::new(key));
    let federation = Federation::join(options).await.unwrap();
    let cluster = Cluster::start().await;
    let gateway =
        Gateway::builder([cluster.register.to_string()]).federation(Arc::new(federation.clone()) as Arc<_>);
    // The cluster ends with the test's process: nothing of it is needed but that there is a gateway.
    std::mem::forget(cluster);
    (federation, gateway.connect())
}

pub(crate) async fn what_is_not_signed_with_the_key_reaches_nobody_and_is_counted() {
    let nats = NatsServer::start();
    let mut clusters = two(&nats).await;
    let watcher =
        Federation::join(Options::new([nats.url()], name("watcher"), SecretKey::new(KEY))).await.unwrap();
    let (forger, gateway) = outsider(&nats, "another key of that length").await;
    assert!(gateway.send_to_all("forged").await.unwrap().is_complete(), "NATS has taken it");
    assert_eq!(forger.stats().published, 1);
    let (_friend, gateway) = outsider(&nats, KEY).await;
    gateway.send_to_all("signed").await.unwrap();
    for client in clusters.iter_mut().flat_map(|joined| &mut joined.clients) {
        assert_eq!(client.text().await, "signed");
    }
    // Announcements of clusters are signed, too: the forger hears none, and counts them.
    eventually("the forger to hear what it cannot read", async || {
        let Stats { clusters, rejected_unsigned, .. } = forger.stats();
        assert!(clusters.is_empty());
        rejected_unsigned > 0
    })
    .await;
    eventually("the clusters to be found", async || watcher.stats().clusters == ["bj-1", "sh-1"]).await;
}

pub(crate) async fn a_message_that_nats_does_not_take_is_refused_with_both_numbers() {
    let nats = NatsServer::start();
    let mut clusters = two(&nats).await;
    let api = clusters[0].apis[0].clone();
    let megabyte = 1024 * 1024;
    let error = api.send_to_all(vec![b'x'; megabyte]).await.unwrap_err();
    let Error::TooLargeForClusters { len, limit } = error else { panic!("{error}") };
    assert!(len > megabyte && limit < megabyte);
    let far = clusters[1].clients[0].id;
    let error = api.send_to_client(far, vec![b'x'; megabyte]).await.unwrap_err();
    assert!(matches!(error, Error::TooLargeForClusters { .. }), "{error}");
    let large = "x".repeat(megabyte - 4096);
    api.send_to_all(&*large).await.unwrap();
    for client in clusters.iter_mut().flat_map(|joined| &mut joined.clients) {
        assert_eq!(client.text().await, large, "and nothing before it");
    }
}
