//! The case `webhook`: the cost of an echo that a backend makes over HTTP, beside that of a handler in Rust, at the same rate.
//!
//! It starts a register, a gateway and a worker for each (`cluster`): `bench_worker`, and the stock worker with the backend
//! `bench_backend`. `echo` loads and measures them. The CPU of gateway, worker and backend is shown apart; `cpu_per_echo` is
//! that of gateway and worker.

use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow};

use super::{Target, echo};
use crate::args::{self, Common, Load};
use crate::cluster::{Cluster, Daemon, Setup};
use crate::procfs::Processes;
use crate::report::{Progress, System};

/// Measures both, in turns.
///
/// # Errors
/// A process did not start or has ended, or a client has lost its connection.
pub(crate) async fn run(flags: &args::Webhook, progress: &Progress) -> Result<Vec<System>> {
    let mut systems = ["http", "rust"].map(|name| System { name: name.into(), ..System::default() });
    for _ in 0..flags.rounds {
        for system in &mut systems {
            let mut backend = match system.name == "http" {
                true => Some(Daemon::start("the backend".into(), "examples/bench_backend", &[], None)?),
                false => None,
            };
            let measured = with_backend(flags, backend.as_mut(), system, progress).await;
            if let Some(backend) = backend {
                backend.end().await;
            }
            measured.with_context(|| system.name.clone())?;
        }
    }
    Ok(systems.into())
}

async fn with_backend(
    flags: &args::Webhook,
    backend: Option<&mut Daemon>,
    system: &mut System,
    progress: &Progress,
) -> Result<()> {
    let mut setup = Setup::default();
    let mut parts = Vec::new();
    if let Some(backend) = backend {
        let address: SocketAddr =
            backend.ready().await?.parse().context("the backend says where it listens")?;
        setup.worker_program = Some("businessworker");
        setup.worker_flags = vec![format!("--events-url=http://{address}/"), "--events-send=message".into()];
        parts.push(("backend", Processes::new(&[backend.pid()], false)));
    }
    let mut cluster = Cluster::start_with(setup).await?;
    let measured = with_cluster(flags, &mut cluster, parts, system, progress).await;
    cluster.stop().await;
    measured
}

async fn with_cluster(
    flags: &args::Webhook,
    cluster: &mut Cluster,
    mut parts: Vec<(&'static str, Processes)>,
    system: &mut System,
    progress: &Progress,
) -> Result<()> {
    cluster.add_gateway()?;
    cluster.add_worker()?;
    cluster.workers[0].ready().await?;
    // A gateway prints `websocket://`.
    let address = cluster.gateways[0].daemon.ready().await?.replace("websocket://", "ws://");
    let url: crate::address::Url = address.parse().map_err(|error: String| anyhow!("{address}: {error}"))?;
    let (gateway, worker) = (cluster.gateways[0].daemon.pid(), cluster.workers[0].pid());
    parts.extend([
        ("gateway", Processes::new(&[gateway], false)),
        ("worker", Processes::new(&[worker], false)),
    ]);
    let target = Target {
        url: url.clone(),
        processes: Processes::new(&[gateway, worker], false),
        nats: Processes::new(&[], false),
        parts,
    };
    let &Load { duration, warmup, size } = &flags.load;
    let common = Common {
        url,
        pid: Vec::new(),
        pid_tree: false,
        name: system.name.clone(),
        against: Vec::new(),
        rounds: None,
        json: None,
        no_greeting: true,
        parallel: 16,
    };
    let load = Load { duration, warmup, size };
    let echo = args::Echo { common, load, clients: flags.clients, in_flight: 1, rate: Some(flags.rate) };
    let outcome = echo::run(&echo, &target, progress).await?;
    cluster.check()?;
    system.pids = cluster.pids();
    system.rounds.push(outcome.metrics);
    system.faults.extend(outcome.fault.map(|fault| format!("{}: {fault}", system.name)));
    Ok(())
}
