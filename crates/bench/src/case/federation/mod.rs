//! The case `federation`: clusters that NATS joins, measured in turn with the plain mesh of the same gateways, in which all
//! gateways and workers are one cluster. Or, with `--fault`, a fault of NATS under a steady load.
//!
//! This case starts its servers itself (`side`), and waits until the clusters hear each other (`joined`). `loads` measures
//! messages to groups, uids and all; `fault` measures a fault, whose messages `deliveries` counts.

mod deliveries;
mod fault;
mod joined;
mod loads;
mod side;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::args;
use crate::report::{Metric, Progress, System};
use loads::Loaded;
use side::Side;

#[cfg(target_os = "linux")]
pub(super) use joined::{ClusterEntry, wait_until_joined};
#[cfg(target_os = "linux")]
pub(super) use side::{check_worker, federation_flags};

/// How long clients are left alone after they have joined groups.
const SETTLE: Duration = Duration::from_secs(1);

/// Starts everything, measures it, and ends it.
///
/// # Errors
/// The programs are missing or too old, a process has ended, a client has lost its connection, or the clusters do not
/// hear each other.
pub(crate) async fn run(flags: &args::Federation, progress: &Progress) -> Result<Vec<System>> {
    side::check_worker().await?;
    let mut clusters = Side::start_federation(flags, progress).await?;
    if let Some(fault) = flags.fault {
        let measured = fault::run(flags, fault, &mut clusters, progress).await;
        progress.say("ending the processes");
        clusters.stop().await;
        return measured;
    }
    let mut mesh = Side::start_mesh(flags, progress).await?;
    let measured = measure(flags, &mut clusters, &mut mesh, progress).await;
    progress.say("ending the processes");
    clusters.stop().await;
    mesh.stop().await;
    measured
}

/// Measures the clusters and the plain mesh in turn. Both run all the time, and one is idle.
async fn measure(
    flags: &args::Federation,
    clusters: &mut Side,
    mesh: &mut Side,
    progress: &Progress,
) -> Result<Vec<System>> {
    let mut systems = [&*clusters, &*mesh].map(|side| System {
        name: side.name.clone(),
        pids: side.pids(),
        ..System::default()
    });
    let loaded = [Loaded::open(flags, clusters, progress).await?, Loaded::open(flags, mesh, progress).await?];
    let idle = idle_cpu(flags.idle, [clusters, mesh], progress).await?;
    for _ in 0..flags.rounds {
        for ((loaded, system), idle) in loaded.iter().zip(&mut systems).zip(&idle) {
            let mut round = idle.clone();
            let lost = loaded.measure(flags, &mut round).await?;
            if lost > 0 {
                system.faults.push(format!(
                    "{}: {lost} deliveries did not arrive, or arrived twice or out of order",
                    system.name
                ));
            }
            system.rounds.push(round);
        }
    }
    clusters.check()?;
    mesh.check()?;
    Ok(systems.into())
}

/// The CPU of both sides while clients are silent: of all processes, and of nats-servers.
async fn idle_cpu(time: Duration, sides: [&Side; 2], progress: &Progress) -> Result<[Vec<Metric>; 2]> {
    progress.say("measuring the idle processes");
    let read = |side: &Side| Ok::<_, anyhow::Error>((side.processes().cpu()?, side.nats_processes().cpu()?));
    let before = [read(sides[0])?, read(sides[1])?];
    let start = Instant::now();
    tokio::time::sleep(time).await;
    let seconds = start.elapsed().as_secs_f64();
    let mut all = [Vec::new(), Vec::new()];
    for ((side, before), metrics) in sides.iter().zip(&before).zip(&mut all) {
        let after = read(side)?;
        let rate = |name, nanos: u64| Metric::new(name, "ms/s", nanos as f64 / seconds / 1e6);
        metrics.push(rate("idle_cpu", after.0.since(&before.0)?));
        if !side.nats_processes().is_empty() {
            metrics.push(rate("idle_cpu_nats", after.1.since(&before.1)?));
        }
    }
    Ok(all)
}
