//! Fair: how long one client's echoes take while nothing else goes on, and while somebody makes the servers work for
//! many: a listing of all sessions, a broadcast to all, large messages.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::fanout::{self, Shared};
use super::ledger::Groups;
use super::probe::{Probe, Seen};
use super::{Clients, Outcome, Target, Window, latency};
use crate::args::{self, Disturb};
use crate::client::{Client, Lost};
use crate::crowd::Crowd;
use crate::open::frames;
use crate::report::{Metric, Progress};

/// A large message, kind included. Below what a gateway lets wait for one client by default.
const LARGE: usize = 1_000_000;

/// Runs one round.
///
/// # Errors
/// A client could not open or was lost, or a process could not be measured.
pub(crate) async fn run(fair: &args::Fair, target: &Target, progress: &Progress) -> Result<Outcome> {
    let opened = target.opening(&fair.common, fair.clients).run(false, progress).await?;
    let groups = Groups { clients: fair.clients, size: fair.clients, senders: 1 };
    // Nothing is in flight until the broadcasts begin.
    let shared = Rc::new(Shared::new(groups, 0, false, fair.load.size as usize));
    let crowd = Crowd::new(opened.clients);
    let mut clients = Clients::new();
    for index in 0..fair.clients as usize {
        let sender = groups.sender(index);
        clients.spawn_local(fanout::drive(crowd.clone(), index, sender, "B".into(), shared.clone()));
    }
    let one = || target.opening(&fair.common, 1);
    let probe = Probe::start(one(), fair.rate, fair.load.size as usize).await?;
    wait(&mut clients, "warming up", fair.load.warmup, progress).await?;

    probe.begin().await?;
    wait(&mut clients, "measuring undisturbed", fair.load.duration, progress).await?;
    let (probe, quiet) = probe.end().await?;
    let mut metrics: Vec<_> = latency("quiet", &quiet.times).collect();
    if fair.disturb == Disturb::None {
        metrics.push(Some(Metric::new("generator_late_p99", "µs", quiet.late)));
        return Ok(outcome(metrics, &[quiet]));
    }

    let done = Rc::new(Cell::new(0u64));
    match fair.disturb {
        Disturb::Listing | Disturb::Large => {
            let client =
                one().run(false, progress).await?.clients.pop().context("no client to disturb with")?;
            clients.spawn_local(disturb(client, fair.disturb, done.clone()));
        }
        Disturb::Broadcast => shared.ledger.borrow_mut().start(1),
        Disturb::None => {}
    }
    let window = Window::open(target)?;
    probe.begin().await?;
    wait(&mut clients, "measuring disturbed", fair.load.duration, progress).await?;
    let used = window.close()?;
    let count = done.get() + shared.ledger.borrow().done;
    let (_, disturbed) = probe.end().await?;

    metrics.extend(latency("disturbed", &disturbed.times));
    metrics.push(Some(Metric::new("disturbances", "", count as f64)));
    metrics.push(used.cost("cpu_per_disturbance", count));
    metrics.push(Some(Metric::new("generator_late_p99", "µs", disturbed.late)));
    metrics.extend(used.busy());
    Ok(outcome(metrics, &[quiet, disturbed]))
}

fn outcome(metrics: Vec<Option<Metric>>, seen: &[Seen]) -> Outcome {
    let lost: u64 = seen.iter().map(|seen| seen.lost).sum();
    let lost_metric = Metric::new("lost", "", lost as f64);
    Outcome {
        metrics: metrics.into_iter().flatten().chain([lost_metric]).collect(),
        fault: (lost > 0).then(|| format!("{lost} echoes did not come back")),
    }
}

/// Asks over and over, the next time when the answer is there.
async fn disturb(mut client: Client, how: Disturb, done: Rc<Cell<u64>>) -> Lost {
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

async fn wait(clients: &mut Clients, what: &str, time: Duration, progress: &Progress) -> Result<()> {
    progress.say(what);
    tokio::select! {
        Some(ended) = clients.join_next() => {
            Err(anyhow::anyhow!(ended.context("a client task failed")?).context(format!("lost a connection {what}")))
        }
        () = tokio::time::sleep(time) => Ok(()),
    }
}
