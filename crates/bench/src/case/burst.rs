//! The case `burst`: many clients connect within a short time, and all leave, while one other client echoes. The
//! servers' memory is read before, with all clients, and after.
//!
//! Only the first round meets fresh processes. Allocators keep freed memory, so later rounds show less.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::idle::close_all;
use super::probe::Probe;
use super::{Outcome, Target, Window, latency, memory_metrics};
use crate::args;
use crate::procfs::Memory;
use crate::report::{Metric, Progress};

/// The size of an echo, in bytes.
const SIZE: usize = 64;
/// How often memory is read while it settles.
const SAMPLE: Duration = Duration::from_millis(250);
/// Memory has settled when this many readings differ by at most 1 %.
const STEADY: usize = 5;
/// How many clients close at the same time.
const CLOSING: usize = 500;

/// Runs one round.
///
/// # Errors
/// A client could not open, or a process could not be measured.
pub(crate) async fn run(burst: &args::Burst, target: &Target, progress: &Progress) -> Result<Outcome> {
    let probe = Probe::start(target.opening(&burst.common, 1), burst.rate, SIZE).await?;
    let before = settled(target, burst.settle, progress).await?;

    probe.begin().await?;
    let mut opening = target.opening(&burst.common, burst.clients);
    opening.over = Some(burst.over);
    let window = Window::open(target)?;
    let opened = opening.run(false, progress).await?;
    let used = window.close()?;
    let (probe, seen) = probe.end().await?;
    let with = settled(target, burst.settle, progress).await?;

    let lost = opened.clients.iter().filter(|client| client.is_lost()).count() as u64;
    probe.begin().await?;
    close_all(opened.clients, CLOSING, progress).await;
    let (probe, leaving) = probe.end().await?;
    // Allocators return freed memory some seconds later, so equal readings prove nothing yet.
    progress.say("settling");
    tokio::time::sleep(burst.settle).await;
    let after = target.memory()?;
    drop(probe);

    let clients = u64::from(burst.clients);
    let ratio = |name, read: fn(&Memory) -> Option<u64>| {
        let (before, after) = (read(before.as_ref()?)?, read(after.as_ref()?)?);
        (before > 0).then(|| Metric::new(name, "", after as f64 / before as f64))
    };
    let figures = [
        used.cost("cpu_per_open", clients),
        Some(Metric::new("opened_within", "ms", used.seconds * 1000.0)),
        Some(Metric::new("generator_late_p99", "µs", seen.late)),
        Some(Metric::new("lost", "", (lost + seen.lost + leaving.lost) as f64)),
        ratio("rss_after/before", |memory| Some(memory.rss)),
        ratio("pss_after/before", |memory| memory.pss),
    ];
    let memory = memory_metrics(["rss_before", "pss_before"], before)
        .chain(memory_metrics(["rss_with", "pss_with"], with))
        .chain(memory_metrics(["rss_after", "pss_after"], after));
    let times = latency("echo", &seen.times)
        .chain(latency("echo_leaving", &leaving.times))
        .chain(latency("open", &opened.times));
    let lost = lost + seen.lost + leaving.lost;
    Ok(Outcome {
        metrics: times.chain(figures).chain(used.busy()).chain(memory).flatten().collect(),
        fault: (lost > 0).then(|| format!("{lost} clients or echoes were lost")),
    })
}

/// Returns the servers' memory when it has settled, or at the time limit.
async fn settled(target: &Target, limit: Duration, progress: &Progress) -> Result<Option<Memory>> {
    let end = Instant::now() + limit;
    let mut readings = Vec::new();
    loop {
        let Some(memory) = target.memory()? else { return Ok(None) };
        readings.push(memory.pss.unwrap_or(memory.rss));
        progress.say(&format!("settling: {} KB", memory.rss));
        if is_steady(&readings) || Instant::now() >= end {
            return Ok(Some(memory));
        }
        tokio::time::sleep(SAMPLE).await;
    }
}

fn is_steady(readings: &[u64]) -> bool {
    let Some(start) = readings.len().checked_sub(STEADY) else { return false };
    let last = &readings[start..];
    let (least, most) = last.iter().fold((u64::MAX, 0), |(a, b), &now| (a.min(now), b.max(now)));
    most - least <= most / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_settled_when_the_last_readings_agree() {
        assert!(!is_steady(&[100, 100, 100, 100]));
        assert!(is_steady(&[900, 1000, 1001, 999, 1005, 1000]));
        assert!(!is_steady(&[1000, 1001, 999, 1005, 980]));
    }
}
