//! The case `scale`: up to a million clients and more, on as many gateways as they need. Measures the memory of a client,
//! and then the parts of the flags (`parts`).
//!
//! It starts all processes itself: clusters (`cluster`), with `--federation` a nats-server that joins them (`nats`), and its
//! own load generator (`generators`), whose clients cost less than at the gateway. It refuses to start what the machine has no room for (`limits`). When something stops it,
//! it says what, shows what it has measured, and fails; it never measures fewer clients than asked without saying so.

mod generators;
mod kernel;
mod limits;
mod parts;
mod plan;
mod usage;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::federation::{ClusterEntry, check_worker, federation_flags, wait_until_joined};
use super::mesh::wait_until_linked;
use crate::args::{Part, Pings, Scale};
use crate::cluster::{self, Cluster, own_address};
use crate::generator::protocol::{Command, Setup};
use crate::nats::{Layout, Nats};
use crate::report::{Metric, Progress, System};
use generators::{Generators, Watch};
use kernel::KernelMemory;
use limits::{Machine, RESERVE_BYTES, available_memory, gigabytes};
use plan::Plan;
use usage::{AllProcesses, memory_per_client};

/// How long to wait before memory is read.
const SETTLE: Duration = Duration::from_secs(3);
/// How many clients open at the same time.
const OPEN_AT_ONCE: u32 = 512;
/// How often the watch reads the free memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(500);

/// Checks that the machine has room for the clients of the flags.
///
/// # Errors
/// It has none. The text says what to do.
pub(crate) fn check(scale: &Scale) -> Result<()> {
    let plan = Plan::new(scale).map_err(|why| anyhow!(why))?;
    let machine = Machine::read();
    machine.check(&plan, scale.per_process).map_err(|why| anyhow!(why))?;
    machine.advice(&plan).into_iter().for_each(|advice| eprintln!("bench: {advice}"));
    Ok(())
}

/// Starts everything, measures it, and ends it.
///
/// # Errors
/// Nothing was measured. If something was, the error is among the system's faults.
pub(crate) async fn run(scale: &Scale, progress: &Progress) -> Result<System> {
    let plan = Plan::new(scale).map_err(|why| anyhow!(why))?;
    let name = plan.clients.to_string();
    if scale.federation {
        check_worker().await?;
    }
    let (clusters, generators, metrics) = (Vec::new(), Generators::new(), Vec::new());
    let mut run = Run { scale, plan, clusters, nats: None, generators, metrics };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let ended = tokio::select! {
        ended = run.measure(progress) => ended,
        _ = interrupt.recv() => Err(anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow!("terminated")),
    };
    let ended = ended.map_err(|error| run.reason(error));
    progress.say("ending the processes");
    let pids = run.clusters.iter().flat_map(Cluster::pids);
    let pids = pids.chain(run.nats.iter().flat_map(Nats::pids)).collect();
    run.generators.stop().await;
    for cluster in run.clusters {
        cluster.stop().await;
    }
    if let Some(nats) = run.nats {
        nats.stop().await;
    }
    match ended {
        Err(error) if run.metrics.is_empty() => Err(error),
        ended => {
            let faults = ended.err().map(|error| format!("stopped: {error:#}")).into_iter().collect();
            Ok(System { name, pids, rounds: vec![run.metrics], faults, ..System::default() })
        }
    }
}

/// A run: its processes, and the figures so far.
struct Run<'a> {
    scale: &'a Scale,
    plan: Plan,
    clusters: Vec<Cluster>,
    nats: Option<Nats>,
    generators: Generators,
    metrics: Vec<Metric>,
}

/// Looks whether all daemons run, and whether memory is left, and shows how far the run is.
struct Guard<'a> {
    clusters: &'a mut [Cluster],
    progress: &'a Progress,
    what: &'static str,
    looked: Instant,
}

impl<'a> Guard<'a> {
    fn new(clusters: &'a mut [Cluster], progress: &'a Progress, what: &'static str) -> Self {
        Guard { clusters, progress, what, looked: Instant::now() }
    }
}

impl Watch for Guard<'_> {
    fn look(&mut self, progress: u64) -> Result<()> {
        self.progress.say(&format!("{}: {progress}", self.what));
        if self.looked.elapsed() < MEMORY_INTERVAL {
            return Ok(());
        }
        self.looked = Instant::now();
        self.clusters.iter_mut().try_for_each(Cluster::check)?;
        match available_memory() {
            Some(left) if left < RESERVE_BYTES => {
                bail!("memory: only {} are left (MemAvailable in /proc/meminfo)", gigabytes(left))
            }
            _ => Ok(()),
        }
    }
}

impl Run<'_> {
    async fn measure(&mut self, progress: &Progress) -> Result<()> {
        self.start_clusters(progress).await?;
        self.start_generators(progress).await?;
        progress.say("settling");
        tokio::time::sleep(SETTLE).await;
        self.open(progress).await?;
        // Each part needs what the parts before have measured, and all members are in their groups.
        let idle = parts::heartbeats(self, progress).await?;
        if self.has(Part::Groups) {
            parts::groups(self, idle, progress).await?;
        }
        if self.has(Part::Broadcast) {
            parts::broadcast(self, progress).await?;
        }
        if self.has(Part::Arrivals) {
            parts::arrivals(self, idle, progress).await?;
        }
        Ok(())
    }

    fn has(&self, part: Part) -> bool {
        self.scale.parts.contains(&part)
    }

    fn processes(&self) -> AllProcesses {
        AllProcesses::new(&self.clusters, self.nats.as_ref(), &self.generators)
    }

    fn note(&mut self, name: &'static str, unit: &'static str, value: f64) {
        self.metrics.push(Metric::new(name, unit, value));
    }

    async fn start_clusters(&mut self, progress: &Progress) -> Result<()> {
        let plan = self.plan;
        if self.scale.federation {
            progress.say("starting NATS");
            let (program, logs) = (&self.scale.nats_server, self.scale.logs.clone());
            self.nats = Some(Nats::start(program, Layout::Cluster(1), false, logs).await?);
        }
        for number in 0..plan.clusters as usize {
            let before = (number, number * plan.gateways as usize);
            let (gateway_flags, mut worker_flags) = (gateway_flags(self.scale), worker_flags(self.scale));
            if let Some(nats) = &self.nats {
                worker_flags.extend(federation_flags(nats, number, plan.clusters as usize));
            }
            let setup = cluster::Setup {
                before,
                gateway_flags,
                worker_flags,
                logs: self.scale.logs.clone(),
                ..cluster::Setup::default()
            };
            self.clusters.push(Cluster::start_with(setup).await?);
            let Some(cluster) = self.clusters.last_mut() else { continue };
            (0..plan.gateways).try_for_each(|_| cluster.add_gateway())?;
            (0..plan.workers).try_for_each(|_| cluster.add_worker())?;
            let addresses: Vec<_> = cluster.gateways.iter().map(|gateway| gateway.lan_ip).collect();
            wait_until_linked(cluster, &addresses, plan.workers as usize, progress).await?;
        }
        Ok(())
    }

    async fn start_generators(&mut self, progress: &Progress) -> Result<()> {
        let plan = self.plan;
        let mut addresses: Vec<Vec<SocketAddr>> = Vec::new();
        for cluster in &mut self.clusters {
            let mut of_cluster = Vec::new();
            for gateway in &mut cluster.gateways {
                let address = gateway.daemon.ready().await?;
                let address = address.trim_start_matches("websocket://");
                of_cluster.push(address.parse().with_context(|| format!("{address:?} is no address"))?);
            }
            addresses.push(of_cluster);
        }
        if self.scale.federation {
            let mut entries = Vec::new();
            for address in addresses.iter().filter_map(|of_cluster| of_cluster.first()) {
                let url = format!("ws://{address}").parse().map_err(|error: String| anyhow!(error))?;
                entries.push(ClusterEntry { url, workers: plan.workers });
            }
            wait_until_joined(&entries, progress).await?;
        }
        for number in 0..plan.generators {
            let sources: [Ipv4Addr; 2] = [0, 1].map(|row| own_address(row, number as u8));
            let setup = Setup {
                number,
                gateways: plan
                    .gateways_of(number)
                    .map(|(cluster, gateway)| addresses[cluster as usize][gateway as usize])
                    .collect(),
                first_gateway: plan.first_gateway(number),
                sources,
                pings: self.scale.pings,
            };
            self.generators.add(setup).await?;
        }
        let mut guard = Guard::new(&mut self.clusters, progress, "processes of the load generator");
        self.generators.gather(plan.generators as usize, &mut guard).await?;
        Ok(())
    }

    /// Opens all clients, and measures their memory. Where that fails, it measures those that are open.
    async fn open(&mut self, progress: &Progress) -> Result<()> {
        let plan = self.plan;
        let processes = self.processes();
        let (memory, kernel) = (processes.memory()?, KernelMemory::read());
        let window = processes.window()?;
        let at_once = OPEN_AT_ONCE.div_ceil(plan.generators);
        let open = |number| Command::Open { clients: plan.clients_of(number), at_once };
        self.generators.tell_all(open).await?;
        let mut guard = Guard::new(&mut self.clusters, progress, "clients open");
        let opened = self.generators.gather(plan.generators as usize, &mut guard).await;
        let usage = window.close();
        let count = match &opened {
            Ok(outcome) => outcome.count,
            Err(_) => self.generators.halt().await,
        };
        progress.say("settling");
        tokio::time::sleep(SETTLE).await;
        self.note("clients", "", count as f64);
        self.note("gateways", "", f64::from(plan.gateways * plan.clusters));
        self.note("workers", "", f64::from(plan.workers * plan.clusters));
        self.note("generators", "", f64::from(plan.generators));
        if let (Ok(usage), Ok(with)) = (&usage, processes.memory())
            && count > 0
        {
            self.note("opened_within", "s", usage.seconds);
            self.metrics.extend(usage.cost("open", count, 0.0));
            self.metrics.extend(memory_per_client(&memory, &with, count));
            self.metrics.extend(KernelMemory::read().since(&kernel, count));
        }
        let done = opened.with_context(|| format!("{count} of {} clients were open", plan.clients))?;
        self.metrics.extend(super::latency("open", &done.times).flatten());
        usage.map(drop)
    }

    /// Names the daemon that has ended, if that is why something went wrong.
    fn reason(&mut self, error: anyhow::Error) -> anyhow::Error {
        let dead = self.clusters.iter_mut().find_map(|cluster| cluster.check().err());
        let dead = dead.or_else(|| self.nats.as_mut()?.check().err());
        match dead {
            Some(dead) => anyhow!("{error:#}: {dead:#}"),
            None => error,
        }
    }
}

/// The flags of a gateway that are not the defaults.
fn gateway_flags(scale: &Scale) -> Vec<String> {
    let limit = u32::from(scale.pings != Pings::Silent);
    let flags = [
        // Links take descriptors from clients. A worker has two, and may come back before the old ones have ended.
        ("--max-links", (4 * scale.workers + 4).to_string()),
        ("--ping-interval", scale.ping_interval.as_secs_f64().to_string()),
        ("--ping-not-response-limit", limit.to_string()),
        ("--ping-frame", (scale.pings == Pings::Frame).to_string()),
    ];
    // A boolean flag has its value behind "=".
    let flags = flags.into_iter().map(|(flag, value)| format!("{flag}={value}"));
    flags.chain([link_timeout()]).chain(scale.gateway_flag.iter().cloned()).collect()
}

/// The flags of a worker that are not the defaults.
fn worker_flags(scale: &Scale) -> Vec<String> {
    [link_timeout()].into_iter().chain(scale.worker_flag.iter().cloned()).collect()
}

/// How long a link may be silent. A hundred processes share the cores of this machine, and one may have to wait for them
/// longer than by the default.
fn link_timeout() -> String {
    "--link-timeout-ms=60000".into()
}
