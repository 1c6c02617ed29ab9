//! Handlers that harm their worker: one that kills it, and one that blocks its thread.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::Row;
use crate::ledger::Ending;
use crate::message::Action;
use crate::outcome::Allowance;
use crate::plan::Plan;
use crate::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "poison",
        "A message that kills each worker is dropped after 5 deliveries and its client closed with 1011; others lose \
         nothing.",
        |stage| Box::pin(poison(stage)),
    )
    .may_double(),
    Row::new(
        "handler-blocks",
        "A worker whose handlers block their threads is not given up; the messages are late. A new client that waits \
         for such a worker for `admission_timeout_ms` is closed with 1013.",
        |stage| Box::pin(handler_blocks(stage)),
    )
    .allowing(Allowance { not_admitted: true, ..Allowance::NONE })
    .nobody_is_given_up(),
];

/// `max_deliveries`, by default.
const MAX_DELIVERIES: usize = 5;

/// How often a dead worker is looked for: it is started again, as a supervisor does.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

async fn poison(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(1, 2)).await?;
    stage.load().act(0, Action::Abort);
    let deadline = Instant::now() + stage.timing().after * 2;
    let mut deaths = 0;
    while Instant::now() < deadline {
        let cluster = stage.cluster();
        let before = cluster.workers.len();
        cluster.workers.retain_mut(|worker| !worker.process.has_ended());
        for _ in cluster.workers.len()..before {
            deaths += 1;
            cluster.add_worker().await?;
        }
        stage.go_on(LOOK_INTERVAL).await;
    }
    stage.notes.push(format!("{deaths} workers have died"));
    if deaths == 0 || deaths > MAX_DELIVERIES {
        stage.broken.push(format!("the message has killed {deaths} workers"));
    }
    for ending in stage.books.open().endings_of_poisoned() {
        if ending != Some(Ending::Closed(1011)) {
            stage.broken.push(format!("the connection that sent it has ended so: {ending:?}"));
        }
    }
    Ok(())
}

async fn handler_blocks(stage: &mut Stage) -> Result<()> {
    let block = stage.timing().block;
    stage.settings.shape.settle += block;
    stage.begin(Plan::new(1, 2)).await?;
    stage.watch_worker(0)?;
    for client in 0..4 {
        stage.load().act(client, Action::Block(block.as_millis() as u32));
    }
    stage.go_on(block + stage.timing().after / 2).await;
    Ok(())
}
