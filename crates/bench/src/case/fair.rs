//! The case `fair`: the latency of one client's echoes without load, and during a disturbance: a listing of all
//! sessions, a broadcast to all, or large messages.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::fanout::{self, Shared};
use super::ledger::Groups;
use super::probe::{Probe, ProbeResult};
use super::{ClientTasks, Outcome, Target, Window, latency};
use crate::args::{self, Disturb};
use crate::client::{Client, ClientError};
use crate::client_set::ClientSet;
use crate::open::frames;
use crate::report::{Metric, Progress};

/// The length of a large message. It fits the default outbox of a client.
const LARGE: usize = 1_000_000;

/// Runs one round.
///
/// # Errors
/// A client could not open or was lost, or a process could not be measured.
pub(crate) async fn run(fair: &args::Fair, target: &Target, progress: &Progress) -> Result<Outcome> {
    let opened = target.opening(&fair.common, fair.clients).run(false, progress).await?;
    let groups = Groups { clients: fair.clients, size: fair.clients, senders: 1 };
    // No message is in flight until the broadcasts begin.
    let shared = Rc::new(Shared::new(groups, 0, false, fair.load.size as usize));
    let client_set = ClientSet::new(opened.clients);
    let mut clients = ClientTasks::new();
    for index in 0..fair.clients as usize {
        let sender = groups.sender(index);
        clients.spawn_local(fanout::drive(client_set.clone(), index, sender, "B".into(), shared.clone()));
    }
    let one = || target.opening(&fair.common, 1);
    let probe = Probe::start(one(), fair.rate, fair.load.size as usize).await?;
    let asked = Rc::new(Cell::new(0u64));
    let done = || asked.get() + shared.ledger.borrow().done;
    wait(&mut clients, "warming up", fair.load.warmup, progress, done).await?;

    probe.begin().await?;
    wait(&mut clients, "measuring undisturbed", fair.load.duration, progress, done).await?;
    let (probe, quiet) = probe.end().await?;
    let mut metrics: Vec<_> = latency("quiet", &quiet.times).collect();
    if fair.disturb == Disturb::None {
        metrics.push(Some(Metric::new("generator_late_p99", "µs", quiet.late)));
        return Ok(outcome(metrics, &[quiet], None));
    }

    match fair.disturb {
        Disturb::Listing | Disturb::Large => {
            let client =
                one().run(false, progress).await?.clients.pop().context("no client to disturb with")?;
            clients.spawn_local(disturb(client, fair.disturb, asked.clone()));
        }
        Disturb::Broadcast => shared.ledger.borrow_mut().start(1),
        Disturb::None => {}
    }
    let window = Window::open(target)?;
    probe.begin().await?;
    wait(&mut clients, "measuring disturbed", fair.load.duration, progress, done).await?;
    let used = window.close()?;
    let count = done();
    let (_, disturbed) = probe.end().await?;

    metrics.extend(latency("disturbed", &disturbed.times));
    metrics.push(Some(Metric::new("disturbances", "", count as f64)));
    metrics.push(used.cost("cpu_per_disturbance", count));
    metrics.push(Some(Metric::new("generator_late_p99", "µs", disturbed.late)));
    metrics.extend(used.busy());
    Ok(outcome(metrics, &[quiet, disturbed], Some(count)))
}

fn outcome(metrics: Vec<Option<Metric>>, seen: &[ProbeResult], disturbances: Option<u64>) -> Outcome {
    let lost: u64 = seen.iter().map(|seen| seen.lost).sum();
    let lost_metric = Metric::new("lost", "", lost as f64);
    Outcome {
        metrics: metrics.into_iter().flatten().chain([lost_metric]).collect(),
        fault: match (lost, disturbances) {
            (0, Some(0)) => Some("no disturbance has ended in time".into()),
            (0, _) => None,
            _ => Some(format!("{lost} echoes did not arrive")),
        },
    }
}

/// Disturbs repeatedly: each time after the answer to the last message.
async fn disturb(mut client: Client, how: Disturb, done: Rc<Cell<u64>>) -> ClientError {
    let large = "E".repeat(LARGE);
    let (message, answer) = if how == Disturb::Large { (large.as_str(), b'E') } else { ("S", b'S') };
    let frames = frames(&[message]);
    loop {
        if let Err(lost) = client.ask(&frames, |payload| payload.first() == Some(&answer)).await {
            return lost;
        }
        done.set(done.get() + 1);
    }
}

/// Lets the clients run for `time`. `done` counts disturbances.
async fn wait(
    clients: &mut ClientTasks,
    what: &str,
    time: Duration,
    progress: &Progress,
    done: impl Fn() -> u64,
) -> Result<()> {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        progress.say(&format!("{what}: {} disturbances", done()));
        tokio::select! {
            Some(ended) = clients.join_next() => {
                let lost = ended.context("a client task failed")?;
                return Err(anyhow!(lost).context(format!("lost a connection {what}")));
            }
            () = tokio::time::sleep(left.min(Duration::from_millis(250))) => {}
        }
    }
    Ok(())
}
