//! The case `idle`: the memory of a silent client, and the memory that remains after all have left.
//!
//! Only the first round meets fresh processes. Allocators keep freed memory, so later rounds show less.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;

use super::{Outcome, Target, Window, memory_metrics};
use crate::args;
use crate::client::Client;
use crate::procfs::Memory;
use crate::report::{Metric, Progress};

/// Runs one round.
///
/// # Errors
/// A client could not open, or a process could not be measured.
pub(crate) async fn run(idle: &args::Idle, target: &Target, progress: &Progress) -> Result<Outcome> {
    let before = target.memory()?;
    let window = Window::open(target)?;
    let mut open = target.opening(&idle.common, idle.clients);
    open.group_size = idle.group_size;
    let opened = open.run(false, progress).await?;
    let opening = window.close()?;

    let window = Window::open(target)?;
    settle(idle.settle, progress).await;
    let silent = window.close()?;
    let with = target.memory()?;

    let lost = opened.clients.iter().filter(|client| client.is_lost()).count();
    let count = opened.clients.len();
    close_all(opened.clients, idle.common.parallel as usize, progress).await;
    settle(idle.settle, progress).await;
    let after = target.memory()?;

    let clients = f64::from(idle.clients);
    let each = |name, from: Option<u64>, to: Option<u64>| {
        from.zip(to).map(|(from, to)| Metric::new(name, "KB", (to as f64 - from as f64) / clients))
    };
    let (rss, pss) = (|memory: &Memory| memory.rss, |memory: &Memory| memory.pss);
    let busy = silent.busy().next().flatten().map(|busy| Metric::new("idle_cpu", "%", busy.value));
    let metrics = [
        each("rss_per_client", before.as_ref().map(rss), with.as_ref().map(rss)),
        each("pss_per_client", before.as_ref().and_then(pss), with.as_ref().and_then(pss)),
        each("rss_remains_per_client", before.as_ref().map(rss), after.as_ref().map(rss)),
        each("pss_remains_per_client", before.as_ref().and_then(pss), after.as_ref().and_then(pss)),
        opening.cost("cpu_per_open", u64::from(idle.clients)),
        opening.rate("opens", u64::from(idle.clients)),
        busy,
        Some(Metric::new("lost", "", lost as f64)),
    ];
    let memory = memory_metrics(["rss_before", "pss_before"], before)
        .chain(memory_metrics(["rss_with", "pss_with"], with))
        .chain(memory_metrics(["rss_after", "pss_after"], after));
    Ok(Outcome {
        metrics: metrics.into_iter().chain(memory).flatten().collect(),
        fault: (lost > 0).then(|| format!("{lost} of {count} silent clients were lost")),
    })
}

/// Closes all clients, `parallel` at a time.
pub(super) async fn close_all(mut clients: Vec<Client>, parallel: usize, progress: &Progress) {
    while !clients.is_empty() {
        progress.say(&format!("{} clients left to close", clients.len()));
        let some = clients.split_off(clients.len().saturating_sub(parallel));
        let mut closing = JoinSet::new();
        some.into_iter().for_each(|client| _ = closing.spawn_local(client.close()));
        closing.join_all().await;
    }
}

async fn settle(time: Duration, progress: &Progress) {
    progress.say("settling");
    tokio::time::sleep(time).await;
}
