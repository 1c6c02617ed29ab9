//! Clusters joined by JetStream: whatever dies on the way, each call arrives, at least once and in the order of its sender.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gatewayworker::federation::{Federation, Options};
use gatewayworker::{Gateway, SecretKey, Unreached};
use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::process::{Process, free_port};
use gatewayworker_tests::{Cluster, NatsServer, WsClient, eventually};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::federation::{Joined, KEY, federate, join_all_to, join_with, name, reach_each_other};

const CALLS: &str = "gatewayworker_federation_calls_total";

/// Starts a cluster of two gateways and two workers whose sends are durable.
async fn join(cluster: &str, urls: Vec<String>) -> Joined {
    join_with(|config| {
        federate(config, cluster, urls);
        config.federation_durable = true;
    })
    .await
}

/// Two durable clusters that have heard each other.
async fn two(urls: Vec<String>) -> Vec<Joined> {
    let mut clusters = vec![join("sh-1", urls.clone()).await, join("bj-1", urls).await];
    reach_each_other(&mut clusters).await;
    join_all_to(&clusters, "news").await;
    clusters
}

/// Sends numbers to the group, a thousand a second, and does something when this one is due. Each must be taken.
async fn load(api: &Gateway, count: u64, mut at: impl FnMut(u64)) {
    let mut pace = interval(Duration::from_millis(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in 0..count {
        pace.tick().await;
        at(n);
        let delivery = api.send_to_group(["news"], n.to_string()).await.unwrap();
        assert!(delivery.is_complete(), "{n}: {delivery:?}");
    }
    api.send_to_group(["news"], "end").await.unwrap();
}

/// The numbers that a client hears before the end. It hears other texts, too.
async fn heard(client: &mut WsClient) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        match client.text().await {
            text if text == "end" => return numbers,
            text => numbers.extend(text.parse::<u64>()),
        }
    }
}

/// Checks that no number is missing, and that no number comes first after a higher one. Returns how many came again.
fn check_complete_and_in_order(numbers: &[u64], count: u64) -> usize {
    let mut next = 0;
    let mut again = 0;
    for number in numbers {
        if *number < next {
            again += 1;
        } else {
            assert_eq!(*number, next, "a number is missing, or comes before one that was sent before it");
            next += 1;
        }
    }
    assert_eq!(next, count);
    again
}

/// A number of all workers of a cluster.
async fn sum(joined: &Joined, metric: &str) -> u64 {
    let mut sum = 0.0;
    for worker in &joined.cluster.workers {
        sum += Scrape::of(worker.metrics.unwrap()).await.get(metric);
    }
    sum as u64
}

/// The permissions of `docs/guide/clusters.md`.
const PERMISSIONS: &str = r#"
jetstream { store_dir: "jetstream" }
authorization {
  users = [
    { user: gatewayworker, password: "a password", permissions: {
        publish: [
          "gatewayworker.federation.>"
          "$JS.API.STREAM.INFO.gatewayworker_federation"
          "$JS.API.STREAM.CREATE.gatewayworker_federation"
          "$JS.API.CONSUMER.*.gatewayworker_federation"
          "$JS.API.CONSUMER.*.gatewayworker_federation.>"
          "$JS.API.CONSUMER.MSG.NEXT.gatewayworker_federation.>"
          "$JS.ACK.gatewayworker_federation.>"
        ]
        subscribe: ["gatewayworker.federation.>"]
    } }
  ]
}
"#;

pub(crate) async fn sends_reach_the_clients_of_all_clusters_once_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("nats.conf");
    std::fs::write(&file, PERMISSIONS).unwrap();
    let nats = NatsServer::start_with(&["-c", file.to_str().unwrap()]);
    let url = nats.url().replace("//", "//gatewayworker:a%20password@");
    let mut clusters = two(vec![url]).await;
    let rounds = 300;
    for from in 0..2 {
        for worker in 0..2 {
            let api = clusters[from].apis[worker].clone();
            for n in 0..rounds {
                assert!(api.send_to_group(["news"], format!("group {n}")).await.unwrap().is_complete());
                assert!(api.send_to_uid(["news-uid"], format!("uid {n}")).await.unwrap().is_complete());
            }
            for client in clusters.iter_mut().flat_map(|joined| &mut joined.clients) {
                for n in 0..rounds {
                    assert_eq!(client.text().await, format!("group {n}"));
                    assert_eq!(client.text().await, format!("uid {n}"));
                }
            }
        }
    }
    for joined in &clusters {
        eventually("JetStream to have acknowledged everything", async || {
            sum(joined, "gatewayworker_federation_durable_kept").await == 0
        })
        .await;
        assert_eq!(sum(joined, &format!("{CALLS}{{result=\"missed\"}}")).await, 0);
        let acknowledged =
            sum(joined, "gatewayworker_federation_durable_total{result=\"acknowledged\"}").await;
        assert!(acknowledged >= 2 * 2 * rounds, "{acknowledged}");
    }
}

/// A worker as a process of its own.
struct WorkerProcess {
    process: Process,
    metrics: SocketAddr,
}

impl WorkerProcess {
    fn start(register: SocketAddr, nats: &NatsServer) -> Self {
        let metrics = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (register, shown, url) = (register.to_string(), metrics.to_string(), nats.url());
        let arguments = [
            ["--register-address", &register],
            ["--metrics-listen", &shown],
            ["--federation", &url],
            ["--cluster-name", "bj-1"],
            ["--federation-key", KEY],
        ];
        let process =
            Process::start(&[&["businessworker", "--federation-durable"], arguments.as_flattened()].concat());
        Self { process, metrics }
    }

    /// How many calls of other clusters it has received.
    async fn received(&self) -> f64 {
        Scrape::of(self.metrics).await.get(&format!("{CALLS}{{result=\"received\"}}"))
    }
}

pub(crate) async fn a_killed_worker_of_the_other_cluster_loses_nothing() {
    let nats = NatsServer::with_jetstream();
    let near = join("sh-1", vec![nats.url()]).await;
    let far = Cluster::builder().workers(0).start().await;
    let mut workers =
        vec![WorkerProcess::start(far.register, &nats), WorkerProcess::start(far.register, &nats)];
    let api = Gateway::builder([far.register.to_string()]).connect();
    eventually("the workers", async || {
        let answers = [0, 1].map(|n| tokio::net::TcpStream::connect(workers[n].metrics));
        futures_util::future::join_all(answers).await.iter().all(Result::is_ok)
    })
    .await;
    let mut client = WsClient::connect(far.listener()).await;
    eventually("the client to be in the group", async || {
        for id in api.client_ids().await.unwrap_or_default() {
            api.join_group(id, "news").await.unwrap();
        }
        api.client_count_by_group("news").await.is_ok_and(|count| count == 1)
    })
    .await;
    let sender = near.apis[0].clone();
    let mut reader = None;
    eventually("a worker to receive what is sent", async || {
        sender.send_to_group(["news"], "probe").await.unwrap();
        for (n, worker) in workers.iter().enumerate() {
            if worker.received().await > 0.0 {
                reader = Some(n);
            }
        }
        reader.is_some()
    })
    .await;

    let mut killed = Some(workers.remove(reader.unwrap()).process);
    let count = 6_000;
    load(&sender, count, |n| {
        if n == count / 3 {
            killed.take().unwrap().kill();
        }
    })
    .await;
    let numbers = heard(&mut client).await;
    let again = check_complete_and_in_order(&numbers, count);
    eprintln!("of {count} calls none was lost when the worker was killed, and {again} came twice");
}

pub(crate) async fn a_worker_that_stops_hands_over_and_nothing_is_lost_or_comes_twice() {
    let nats = NatsServer::with_jetstream();
    let mut clusters = two(vec![nats.url()]).await;
    let api = clusters[0].apis[0].clone();
    let (count, received) = (3_000, format!("{CALLS}{{result=\"received\"}}"));
    let mut reader = None;
    for (n, worker) in clusters[1].cluster.workers.iter().enumerate() {
        if Scrape::of(worker.metrics.unwrap()).await.get(&received) > 0.0 {
            reader = Some(n);
        }
    }
    let mut stopping = Some(clusters[1].cluster.workers.remove(reader.unwrap()));
    load(&api, count, |n| {
        if n == count / 3 {
            let mut worker = stopping.take().unwrap();
            tokio::spawn(async move { worker.stop().await });
        }
    })
    .await;
    for client in &mut clusters[1].clients {
        assert_eq!(check_complete_and_in_order(&heard(&mut client.socket).await, count), 0);
    }
}

pub(crate) async fn a_nats_server_that_is_killed_and_started_again_loses_nothing_and_keeps_the_order() {
    let mut nats = NatsServer::with_jetstream();
    let mut clusters = two(vec![nats.url()]).await;
    let api = clusters[0].apis[0].clone();
    let count = 6_000;
    load(&api, count, |n| match n {
        2_000 => nats.kill(),
        4_000 => nats.start_again(),
        _ => {}
    })
    .await;
    let mut again = 0;
    for client in &mut clusters[1].clients {
        again += check_complete_and_in_order(&heard(&mut client.socket).await, count);
    }
    let [published, dropped] = ["published_again", "duplicate"]
        .map(|result| format!("gatewayworker_federation_durable_total{{result=\"{result}\"}}"));
    eprintln!(
        "NATS was away for two seconds of {count} calls: none was lost, {again} came twice, {} bundles were published again, {} calls dropped as duplicates",
        sum(&clusters[0], &published).await,
        sum(&clusters[1], &dropped).await,
    );
    assert_eq!(sum(&clusters[1], &format!("{CALLS}{{result=\"missed\"}}")).await, 0);
}

pub(crate) async fn of_three_nats_servers_one_may_be_killed_and_nothing_is_lost() {
    let mut servers = NatsServer::cluster_with_jetstream(3);
    let stream = "{\"name\":\"gatewayworker_federation\",\"subjects\":[\"gatewayworker.federation.durable.>\"],\
                  \"retention\":\"limits\",\"storage\":\"file\",\"num_replicas\":3,\"max_age\":300000000000}";
    eventually("the stream to be made", async || {
        let answer = servers[0].ask_jetstream("STREAM.CREATE.gatewayworker_federation", stream).await;
        answer.is_some_and(|answer| answer.contains("\"num_replicas\":3"))
    })
    .await;
    let urls: Vec<String> = servers.iter().map(NatsServer::url).collect();
    let mut clusters = two(urls).await;
    let api = clusters[0].apis[0].clone();
    let received = format!("{CALLS}{{result=\"received\"}}");
    for (number, server) in servers.iter_mut().enumerate() {
        let before = sum(&clusters[1], &received).await;
        let count = 3_000;
        load(&api, count, |n| {
            if n == count / 3 {
                server.kill();
            }
        })
        .await;
        // Each of both may take as long as a wait may: servers elect leaders first of all servers, then of the stream, then of consumers.
        let began = Instant::now();
        eventually("JetStream to have stored everything", async || {
            sum(&clusters[0], "gatewayworker_federation_durable_kept").await == 0
        })
        .await;
        let stored = began.elapsed();
        eventually("the other cluster to have read everything", async || {
            sum(&clusters[1], &received).await > before + count
        })
        .await;
        eprintln!(
            "after the last call JetStream took {stored:?}, and the other cluster {:?}",
            began.elapsed()
        );
        let mut again = 0;
        for client in &mut clusters[1].clients {
            again += check_complete_and_in_order(&heard(&mut client.socket).await, count);
        }
        eprintln!("server {number} was killed: of {count} calls none was lost, and {again} came twice");
        for client in &mut clusters[0].clients {
            heard(&mut client.socket).await;
        }
        server.start_again();
        eventually("the server to have all that the others have", async || {
            let info = server.ask_jetstream("STREAM.INFO.gatewayworker_federation", "").await;
            info.is_some_and(|info| info.matches("\"current\":true").count() == 2)
        })
        .await;
    }
}

pub(crate) async fn a_cluster_without_workers_gets_later_what_was_sent_meanwhile() {
    let nats = NatsServer::with_jetstream();
    let mut clusters = two(vec![nats.url()]).await;
    let api = clusters[0].apis[0].clone();
    for mut worker in std::mem::take(&mut clusters[1].cluster.workers) {
        worker.stop().await;
    }
    load(&api, 100, |_| {}).await;
    clusters[1].cluster.start_worker().await;
    for client in &mut clusters[1].clients {
        assert_eq!(check_complete_and_in_order(&heard(&mut client.socket).await, 100), 0);
    }
}

pub(crate) async fn clusters_that_are_durable_and_those_that_are_not_hear_each_other() {
    let nats = NatsServer::with_jetstream();
    let mut clusters =
        vec![join("sh-1", vec![nats.url()]).await, crate::federation::join("bj-1", vec![nats.url()]).await];
    reach_each_other(&mut clusters).await;
    join_all_to(&clusters, "news").await;
    for from in 0..2 {
        for worker in 0..2 {
            let api = clusters[from].apis[worker].clone();
            for n in 0..100 {
                api.send_to_group(["news"], n.to_string()).await.unwrap();
            }
            for client in clusters.iter_mut().flat_map(|joined| &mut joined.clients) {
                for n in 0..100 {
                    assert_eq!(client.text().await, n.to_string());
                }
            }
        }
    }
}

/// A program that is no worker, with durable sends.
async fn backend(register: SocketAddr, nats: &NatsServer) -> (Gateway, Federation) {
    let options = Options::new([nats.url()], name("sh-1"), SecretKey::new(KEY)).with_durable(true);
    let federation = Federation::join(options).await.unwrap();
    let port = Arc::new(federation.clone()) as Arc<_>;
    (Gateway::builder([register.to_string()]).federation(port).connect(), federation)
}

pub(crate) async fn calls_beyond_the_bound_are_refused_and_the_others_arrive() {
    let mut nats = NatsServer::with_jetstream();
    let mut far = join("bj-1", vec![nats.url()]).await;
    let near = Cluster::start().await;
    let (api, federation) = backend(near.register, &nats).await;
    let client = &mut far.clients[0];
    eventually("the client to be reached", async || {
        let _ = api.send_to_client(client.id, "probe").await;
        federation.stats().durable_acknowledged > 0 && federation.stats().durable_kept == 0
    })
    .await;
    nats.kill();
    let mut connected = federation.connected();
    connected.wait_for(|connected| !*connected).await.unwrap();
    let mut taken = 0;
    let refused = loop {
        let delivery = api.send_to_client(client.id, taken.to_string()).await.unwrap();
        match delivery.unreached_clusters[..] {
            [] => taken += 1,
            _ => break delivery.unreached_clusters,
        }
    };
    assert_eq!(refused, [(name("bj-1"), Unreached::Overloaded)]);
    assert_eq!(federation.stats().durable_kept, taken);
    assert_eq!(taken, 16 * 1024);
    nats.start_again();
    let mut numbers = Vec::new();
    while numbers.len() < taken as usize {
        numbers.extend(client.text().await.parse::<u64>());
    }
    assert!(numbers.into_iter().eq(0..taken));
    assert!(api.finish(Duration::from_secs(5)).await.is_complete());
    assert_eq!(federation.stats().durable_kept, 0);
}

pub(crate) async fn without_jetstream_sends_say_so_and_so_does_status() {
    let mut nats = NatsServer::start();
    let near = Cluster::start().await;
    let (api, federation) = backend(near.register, &nats).await;
    eventually("the missing JetStream to be noticed", async || {
        let delivery = api.send_to_group(["news"], "x").await.unwrap();
        delivery.unreached_clusters.iter().any(|(_, why)| *why == Unreached::NotConnected)
    })
    .await;
    let problems = federation.stats().problems;
    assert!(problems.iter().any(|problem| problem.contains("no JetStream")), "{problems:?}");
    nats.kill();
}
