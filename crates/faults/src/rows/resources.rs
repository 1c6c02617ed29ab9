//! Machines that lack something: descriptors, room on the disk for logs, a reader of logs, the right time.

use anyhow::Result;

use super::Row;
use crate::plan::Plan;
use crate::process::LogTo;
use crate::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "no-descriptors",
        "With all descriptors in use, clients that are served lose nothing, also when a worker dies and another \
         takes its place.",
        |stage| Box::pin(no_descriptors(stage)),
    )
    .detected()
    .may_double(),
    Row::new(
        "log-on-full-disk",
        "A full disk for logs stops no daemon, also when a worker dies.",
        |stage| Box::pin(log_to(stage, LogTo::FullDisk)),
    )
    .detected()
    .may_double(),
    Row::new(
        "log-unread",
        "A log into a pipe that nobody reads stops no daemon, also when a worker dies.",
        |stage| Box::pin(log_to(stage, LogTo::UnreadPipe)),
    )
    .detected()
    .may_double(),
    Row::new(
        "clocks-apart",
        "Daemons whose monotonic clocks are days apart work together, also when a worker dies.",
        |stage| Box::pin(clocks_apart(stage)),
    )
    .detected()
    .may_double()
    .on_hosts(),
    Row::new(
        "clock-moved",
        "A clock that is moved changes no decision: daemons decide by the monotonic clock, which nobody can move.",
        |_| Box::pin(async { Ok(()) }),
    )
    .cannot_run(
        "moving the wall clock moves it for the whole machine: a time namespace has monotonic clocks only, and sets \
         them before its first process starts (see clocks-apart)",
    ),
];

/// A limit that leaves a gateway room for fewer clients than there are.
const OPEN_FILES: u32 = 64;

/// A week.
const APART: u32 = 7 * 24 * 3600;

/// Kills a worker, and starts another.
async fn replace_worker(stage: &mut Stage) -> Result<()> {
    let mut worker = stage.take_worker()?;
    stage.kill_worker(&mut worker).await?;
    stage.cluster().add_worker().await?;
    stage.until_detected(stage.timing().after).await;
    Ok(())
}

async fn no_descriptors(stage: &mut Stage) -> Result<()> {
    stage.settings.shape.clients = stage.settings.shape.clients.max(OPEN_FILES);
    stage.begin(Plan { open_files: Some(OPEN_FILES), ..Plan::new(1, 2) }).await?;
    replace_worker(stage).await
}

async fn log_to(stage: &mut Stage, log: LogTo) -> Result<()> {
    stage.begin(Plan { log, ..Plan::new(2, 2) }).await?;
    replace_worker(stage).await
}

async fn clocks_apart(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan { clocks_apart: Some(APART), ..Plan::new(2, 2).on_hosts() }).await?;
    replace_worker(stage).await
}
