//! The client of `gw.1` in Python, which was written from `docs/client-protocol.md` alone (`tests/clients/python`): its lines are cut
//! again and again, and everything arrives once and in order.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gatewayworker::businessworker::{ClientCalls, ClientCallsConfig};
use gatewayworker::{Client, CloseReason, Events, Message, Result};
use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::process::free_port;
use gatewayworker_tests::{Application, Cluster, ClusterBuilder, eventually, programs};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::nginx;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python");

/// Counts who comes and who goes. What the clients say is for their group, and no application's.
#[derive(Clone, Default)]
struct Visits {
    came: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
}

impl Events for Visits {
    async fn on_connect(&self, _: &Client) -> Result {
        self.came.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn on_message(&self, _: &Client, _: Message) -> Result {
        Ok(())
    }

    async fn on_close(&self, _: &Client, _: CloseReason) -> Result {
        self.left.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Visits {
    fn start_worker(&self, cluster: &Cluster) -> Application {
        let mut config = ClientCallsConfig::default();
        config.join = vec!["walk-*".into()];
        config.publish = vec!["walk-*".into()];
        cluster.start_application(ClientCalls::new(config, self.clone()))
    }
}

fn builder() -> ClusterBuilder {
    Cluster::builder().workers(0).metrics().secret_key("a key").gateway(|config| {
        config.resume = true;
        // So that lines go silent, too.
        config.resume_ping_ms = 1000;
    })
}

/// Runs the walk over so many cuts, which checks that each line is heard once and in order.
async fn walk(gateway: SocketAddr, cuts: usize, seed: u32) -> String {
    let mut command = Command::new("python3");
    command.args(["walk.py", "--url", &format!("ws://{gateway}")]);
    command.args(["--cuts", &cuts.to_string(), "--seed", &seed.to_string()]);
    command.current_dir(FOLDER).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(300), command.output()).await;
    let output = output.expect("the walk ends").expect("python3 runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Waits until both clients of a walk have left. Each has come once, but for a connection that was cut before its `hello`
/// arrived: that began anew, and its first client is still kept.
async fn both_have_left(cluster: &Cluster, visits: &Visits) {
    eventually("both clients to leave", async || visits.left.load(Ordering::Relaxed) == 2).await;
    let mut kept = 0.0;
    for gateway in &cluster.gateways {
        kept += Scrape::of(gateway.metrics.unwrap()).await.get("gatewayworker_detached_clients");
    }
    let came = visits.came.load(Ordering::Relaxed) as f64;
    assert!(came == 2.0 + kept, "no handler runs for a cut: {came} have come, {kept} are kept");
}

pub(crate) async fn a_client_written_from_the_page_loses_nothing_over_cuts() {
    let cluster = builder().start().await;
    let visits = Visits::default();
    let _worker = visits.start_worker(&cluster);
    let figures = walk(cluster.listener(), 60, 1).await;
    assert!(figures.contains("hello 2,"), "nobody was lost: {figures}");
    both_have_left(&cluster, &visits).await;
}

pub(crate) async fn behind_nginx_clients_come_back_to_either_gateway_while_workers_are_replaced() {
    let cluster = builder().gateways(2).start().await;
    let visits = Visits::default();
    let mut worker = visits.start_worker(&cluster);
    let balancer = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let servers: String =
        cluster.gateways.iter().map(|gateway| format!("server {};", gateway.listener)).collect();
    let stream = format!(
        "stream {{ upstream gateways {{ {servers} }} server {{ listen {balancer}; proxy_pass gateways; }} }}"
    );
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("nginx.conf"), configuration(directory.path(), &stream)).unwrap();
    let _nginx = nginx::Running::start(&directory);
    eventually("nginx to listen", async || TcpStream::connect(balancer).await.is_ok()).await;

    let mut walking = std::pin::pin!(walk(balancer, 80, 2));
    let mut replaced = 0;
    let figures = loop {
        tokio::select! {
            figures = &mut walking => break figures,
            () = tokio::time::sleep(Duration::from_secs(2)) => {
                let next = visits.start_worker(&cluster);
                cluster.linked().await;
                std::mem::replace(&mut worker, next).stop().await;
                replaced += 1;
            }
        }
    };
    assert!(figures.contains("hello 2,"), "nobody was lost: {figures}");
    assert!(replaced > 1, "{figures}");
    both_have_left(&cluster, &visits).await;
    let mut resumed = 0.0;
    for gateway in &cluster.gateways {
        resumed += Scrape::of(gateway.metrics.unwrap()).await.get("gatewayworker_resumed_total");
    }
    assert!(resumed >= 20.0, "{resumed} of {figures}");
}

fn configuration(directory: &Path, stream: &str) -> String {
    let load = programs::nginx_load_stream();
    let pid = directory.join("nginx.pid");
    format!("{load}daemon off;\nmaster_process off;\npid {};\nevents {{}}\n{stream}\n", pid.display())
}
