//! The processes of one side of the comparison: clusters with their nats-servers, or the plain mesh.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::process::Command;

use super::joined::{ClusterEntry, wait_until_joined};
use crate::address::Url;
use crate::args;
use crate::case::mesh::wait_until_linked;
use crate::cluster::{Cluster, Setup};
use crate::nats::{Layout, Nats};
use crate::procfs::Processes;
use crate::report::Progress;

/// The key with which the clusters of a measurement sign.
const KEY: &str = "a key for measurements only";

/// How long the check of a worker may take.
const CHECK_LIMIT: Duration = Duration::from_secs(10);

/// Processes that serve the same clients.
pub(super) struct Side {
    pub(super) name: String,
    /// One cluster, if it is the plain mesh.
    pub(super) clusters: Vec<Cluster>,
    pub(super) nats: Option<Nats>,
    /// The gateways of each of the clusters that NATS joins; of the plain mesh, as if they were in these clusters.
    pub(super) urls: Vec<Vec<Url>>,
    /// Where the workers' metrics are, if this is for a fault.
    pub(super) metrics: Vec<String>,
}

impl Side {
    /// Starts the nats-servers and the clusters, and waits until all clusters reach each other.
    ///
    /// # Errors
    /// A process does not start, or the clusters do not reach each other in time.
    pub(super) async fn start_federation(flags: &args::Federation, progress: &Progress) -> Result<Self> {
        progress.say("starting NATS");
        let layout = if flags.has_leaf() { Layout::Leaf } else { Layout::Cluster(flags.nats_nodes()) };
        let nats = Nats::start(&flags.nats_server, layout, flags.jetstream, flags.logs.clone()).await?;
        let (count, gateways) = (flags.clusters as usize, flags.gateways as usize);
        let name = format!("{count} clusters");
        let mut side = Side { name, clusters: Vec::new(), nats: None, urls: Vec::new(), metrics: Vec::new() };
        for number in 0..count {
            let mut worker_flags = federation_flags(&nats, number, count);
            worker_flags.extend(flags.worker_flag.iter().chain(&flags.federation_flag).cloned());
            if flags.fault.is_some() {
                worker_flags.extend(["--metrics-listen".into(), "127.0.0.1:0".into()]);
            }
            let before = (number, number * gateways);
            let mut cluster =
                start_cluster(flags, before, gateways, flags.workers, worker_flags, progress).await?;
            side.urls.push(urls(&mut cluster).await?);
            if flags.fault.is_some() {
                for worker in &mut cluster.workers {
                    side.metrics.push(worker.ready().await?);
                }
            }
            side.clusters.push(cluster);
        }
        side.nats = Some(nats);
        let entry =
            |urls: &Vec<Url>| Some(ClusterEntry { url: urls.first()?.clone(), workers: flags.workers });
        let entries: Vec<_> = side.urls.iter().filter_map(entry).collect();
        wait_until_joined(&entries, progress).await.map_err(|error| side.reason(error))?;
        Ok(side)
    }

    /// Starts the same number of gateways and workers as one cluster.
    ///
    /// # Errors
    /// A process does not start.
    pub(super) async fn start_mesh(flags: &args::Federation, progress: &Progress) -> Result<Self> {
        let before = (flags.clusters as usize, flags.all_gateways() as usize);
        let (gateways, workers) = (flags.all_gateways() as usize, flags.workers * flags.clusters);
        let mut cluster =
            start_cluster(flags, before, gateways, workers, flags.worker_flag.clone(), progress).await?;
        let urls = urls(&mut cluster).await?;
        let urls = urls.chunks(flags.gateways as usize).map(<[Url]>::to_vec).collect();
        Ok(Side { name: "plain mesh".into(), clusters: vec![cluster], nats: None, urls, metrics: Vec::new() })
    }

    /// All processes.
    pub(super) fn pids(&self) -> Vec<u32> {
        let clusters = self.clusters.iter().flat_map(Cluster::pids);
        clusters.chain(self.nats.iter().flat_map(Nats::pids)).collect()
    }

    /// All processes, to measure.
    pub(super) fn processes(&self) -> Processes {
        Processes::new(&self.pids(), false)
    }

    /// The nats-servers, to measure.
    pub(super) fn nats_processes(&self) -> Processes {
        self.nats.as_ref().map_or(Processes::new(&[], false), Nats::processes)
    }

    /// Checks that all processes run.
    ///
    /// # Errors
    /// A process has ended. The error names it.
    pub(super) fn check(&mut self) -> Result<()> {
        self.clusters.iter_mut().try_for_each(Cluster::check)?;
        self.nats.iter_mut().try_for_each(Nats::check)
    }

    /// Names the process that has ended, if that is why something went wrong.
    fn reason(&mut self, error: anyhow::Error) -> anyhow::Error {
        match self.check() {
            Err(dead) => anyhow!("{error:#}: {dead:#}"),
            Ok(()) => error,
        }
    }

    /// Ends all processes.
    pub(super) async fn stop(self) {
        for cluster in self.clusters {
            cluster.stop().await;
        }
        if let Some(nats) = self.nats {
            nats.stop().await;
        }
    }
}

/// The flags of a worker of cluster `number` of `count`.
pub(crate) fn federation_flags(nats: &Nats, number: usize, count: usize) -> Vec<String> {
    let (urls, name) = (nats.urls(number, count), format!("c-{}", number + 1));
    [("--federation", urls), ("--cluster-name", name), ("--federation-key", KEY.into())]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
}

/// Checks that the worker's program can be a part of a federation.
///
/// # Errors
/// It cannot. The text says how to build it.
pub(crate) async fn check_worker() -> Result<()> {
    let own = std::env::current_exe().context("the path of this program is unknown")?;
    let path = own.with_file_name("examples/bench_worker");
    let mut command = Command::new(&path);
    command.args(["--check-config", "--federation", "nats://127.0.0.1:4222", "--cluster-name", "c-1"]);
    command.args(["--federation-key", KEY]).kill_on_drop(true);
    let output = tokio::time::timeout(CHECK_LIMIT, command.output());
    let output = output.await.context("bench_worker --check-config does not end")?;
    let output = output.with_context(|| format!("{} cannot be started", path.display()))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!(
            "{} cannot join a federation: build it with `--features gatewayworker-bench/federation` ({why})",
            path.display()
        );
    }
    Ok(())
}

async fn start_cluster(
    flags: &args::Federation,
    before: (usize, usize),
    gateways: usize,
    workers: u32,
    worker_flags: Vec<String>,
    progress: &Progress,
) -> Result<Cluster> {
    // Clients are silent, and read nothing, while the other side is measured.
    let no_pings = "--ping-interval=0".to_owned();
    let gateway_flags = [no_pings].into_iter().chain(flags.gateway_flag.iter().cloned()).collect();
    let setup = Setup { before, gateway_flags, worker_flags, logs: flags.logs.clone(), ..Setup::default() };
    let mut cluster = Cluster::start_with(setup).await?;
    (0..gateways).try_for_each(|_| cluster.add_gateway())?;
    (0..workers).try_for_each(|_| cluster.add_worker())?;
    let addresses: Vec<_> = cluster.gateways.iter().map(|gateway| gateway.lan_ip).collect();
    wait_until_linked(&mut cluster, &addresses, workers as usize, progress).await?;
    Ok(cluster)
}

/// The URLs of the gateways of a cluster.
async fn urls(cluster: &mut Cluster) -> Result<Vec<Url>> {
    let mut urls = Vec::new();
    for gateway in &mut cluster.gateways {
        let address = gateway.daemon.ready().await?.replace("websocket://", "ws://");
        urls.push(address.parse().map_err(|error: String| anyhow!("{address}: {error}"))?);
    }
    Ok(urls)
}
