//! The parts of `scale` besides opening: heartbeats, messages to groups, broadcasts, and clients that arrive and leave.
//!
//! Each part counts the CPU from its first command to its last answer, and divides it by what was done in that time.
//! Heartbeats go on meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::generators::Watch;
use super::usage::memory_per_client;
use super::{Guard, Run, SETTLE};
use crate::args::Part;
use crate::case::latency;
use crate::generator::protocol::{Command, Outcome};
use crate::histogram::Histogram;
use crate::report::{Metric, Progress};

/// The members of a group.
const GROUP: u32 = 10;
/// How many clients join at the same time.
const JOIN_AT_ONCE: u32 = 2048;
/// How often the run is looked after while it is idle.
const LOOK: Duration = Duration::from_millis(500);

/// Measures the CPU while clients are silent and gateways ping them. Returns the servers' nanoseconds in each second; 0
/// if this part is not wanted.
///
/// # Errors
/// A client has lost its connection, or a process has ended.
pub(super) async fn heartbeats(run: &mut Run<'_>, progress: &Progress) -> Result<f64> {
    if !run.has(Part::Heartbeats) {
        return Ok(0.0);
    }
    let time = run.scale.idle.unwrap_or(run.scale.ping_interval * 2);
    let processes = run.processes();
    let all = run.generators.len();
    run.generators.tell_all(|_| Command::CountPings).await?;
    let mut guard = Guard::new(&mut run.clusters, progress, "processes that count heartbeats");
    run.generators.gather(all, &mut guard).await?;
    let window = processes.window()?;
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()) {
        guard.look(left.as_secs())?;
        tokio::time::sleep(left.min(LOOK)).await;
    }
    let usage = window.close()?;
    run.generators.tell_all(|_| Command::CountPings).await?;
    let pings = run.generators.gather(all, &mut guard).await?.count;
    run.note("pings", "/s", pings as f64 / usage.seconds);
    run.metrics.extend(usage.rates("heartbeat"));
    run.metrics.extend(usage.cost("ping", pings, 0.0));
    Ok(usage.servers() / usage.seconds)
}

/// Lets all clients join groups of ten, and sends to these groups: one message at a time, and then many.
///
/// # Errors
/// A message was not delivered to all members once, or a client or process was lost.
pub(super) async fn groups(run: &mut Run<'_>, idle: f64, progress: &Progress) -> Result<()> {
    join(run, idle, progress).await?;
    // One message under way in one process.
    let one = send(run, 1, 1, "group", idle, progress).await?;
    let all = run.generators.len();
    let many = send(run, all, run.scale.in_flight, "busy_group", idle, progress).await?;
    match one.fault().or_else(|| many.fault()) {
        Some(fault) => bail!("messages to groups: {fault}"),
        None => Ok(()),
    }
}

async fn join(run: &mut Run<'_>, idle: f64, progress: &Progress) -> Result<()> {
    let processes = run.processes();
    let memory = processes.memory()?;
    let window = processes.window()?;
    let all = run.generators.len();
    let at_once = JOIN_AT_ONCE.div_ceil(all as u32);
    run.generators.tell_all(|_| Command::Join { size: GROUP, at_once }).await?;
    let mut guard = Guard::new(&mut run.clusters, progress, "clients in groups");
    let joined = run.generators.gather(all, &mut guard).await?.count;
    run.metrics.extend(window.close()?.cost("join", joined, idle));
    tokio::time::sleep(SETTLE).await;
    let more = memory_per_client(&memory, &processes.memory()?, joined);
    let named = more.into_iter().filter(|metric| metric.name != "generator_per_client");
    run.metrics.extend(named.map(|metric| {
        let name = metric.name.replace("_per_client", "_per_membership");
        Metric::new(name, metric.unit, metric.value)
    }));
    Ok(())
}

/// Sends to groups from the first `processes` of the load generator, with `in_flight` messages under way in all.
async fn send(
    run: &mut Run<'_>,
    processes: usize,
    in_flight: u32,
    what: &'static str,
    idle: f64,
    progress: &Progress,
) -> Result<Outcome> {
    let all = run.processes();
    let window = all.window()?;
    for index in 0..processes {
        let (time, bytes) = (run.scale.duration, run.scale.size);
        let share = in_flight / processes as u32 + u32::from((index as u32) < in_flight % processes as u32);
        run.generators
            .tell(index, &Command::SendToGroups { size: GROUP, in_flight: share, time, bytes })
            .await?;
    }
    let mut guard = Guard::new(&mut run.clusters, progress, "messages to groups");
    let sent = run.generators.gather(processes, &mut guard).await?;
    let usage = window.close()?;
    run.metrics.extend(usage.cost(what, sent.count, idle));
    run.metrics.push(Metric::new(format!("{what}_rate"), "/s", sent.count as f64 / usage.seconds));
    run.metrics.extend(latency(what, &sent.times).flatten());
    Ok(sent)
}

/// Sends to all clients, one message after another: of each cluster, or, if NATS joins the clusters, of all at once.
///
/// # Errors
/// A client did not get a message once, or a client or process was lost.
pub(super) async fn broadcast(run: &mut Run<'_>, progress: &Progress) -> Result<()> {
    let (all, bytes) = (run.generators.len(), run.scale.size);
    let processes = run.processes();
    let (mut deliveries, mut last) = (Outcome::new(), Histogram::new());
    let window = processes.window()?;
    for number in 1..=run.scale.broadcasts {
        let mut guard = Guard::new(&mut run.clusters, progress, "deliveries of a broadcast");
        run.generators.tell_all(|_| Command::ExpectBroadcast { number }).await?;
        run.generators.begun(&mut guard).await?;
        // The first process of each cluster sends; where NATS joins clusters, one alone.
        let senders = if run.scale.federation { 1 } else { run.plan.clusters as usize };
        for index in 0..senders {
            run.generators.tell(index, &Command::Broadcast { number, bytes }).await?;
        }
        let one = run.generators.gather(all, &mut guard).await?;
        if let Some(fault) = one.fault() {
            bail!("broadcast {number}: {fault}");
        }
        last.record(Duration::from_secs_f64(one.times.max() / 1e6));
        deliveries.merge(&one);
    }
    let usage = window.close()?;
    run.metrics.extend(usage.cost("delivery", deliveries.deliveries, 0.0));
    run.metrics.extend(latency("delivery", &deliveries.times).flatten());
    run.metrics.extend(latency("broadcast", &last).flatten());
    Ok(())
}

/// Opens further clients at a rate, each of which leaves again, while the others stay.
///
/// # Errors
/// A client did not open, or a client or process was lost.
pub(super) async fn arrivals(run: &mut Run<'_>, idle: f64, progress: &Progress) -> Result<()> {
    let all = run.generators.len();
    let processes = run.processes();
    let window = processes.window()?;
    let per_second = f64::from(run.scale.arrivals) / all as f64;
    let time = run.scale.duration;
    run.generators.tell_all(|_| Command::Arrive { per_second, time }).await?;
    let mut guard = Guard::new(&mut run.clusters, progress, "clients that arrived");
    let arrived = run.generators.gather(all, &mut guard).await?;
    let usage = window.close()?;
    run.note("arrivals", "/s", arrived.count as f64 / usage.seconds);
    run.metrics.extend(usage.cost("arrival", arrived.count, idle));
    run.metrics.extend(latency("arrival", &arrived.times).flatten());
    Ok(())
}
