//! Daemons that are asked to stop, or are replaced, under load and with a backlog.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::Row;
use crate::cluster::Plan;
use crate::outcome::Allowance;
use crate::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "worker-drained",
        "A client moves to another worker without a gap, a double or two handlers at once.",
        |stage| Box::pin(worker_drained(stage)),
    ),
    Row::new(
        "worker-drained-at-its-limit",
        "What a worker has not done by the limit of its drain is given to another worker.",
        |stage| Box::pin(worker_drained_at_its_limit(stage)),
    ),
    Row::new(
        "worker-reloaded",
        "`gatewayworker reload` replaces the worker, and clients notice nothing.",
        |stage| Box::pin(worker_reloaded(stage)),
    ),
    Row::new(
        "gateway-drained",
        "A gateway that stops closes its clients, and each gets its on_close.",
        |stage| Box::pin(gateway_drained(stage)),
    )
    .allowing(Allowance { gone_with_gateway: true, ..Allowance::NONE })
    .detected(),
    Row::new(
        "cluster-restarted",
        "`gatewayworker restart` closes all clients, and each gets its on_close before the old workers end.",
        |stage| Box::pin(cluster_restarted(stage)),
    )
    .allowing(Allowance { gone_with_gateway: true, ..Allowance::NONE }),
];

/// How long a drain may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A load with a backlog: so many messages of each client wait in its worker.
fn with_backlog(stage: &mut Stage, under_way: u32) {
    stage.settings.shape.under_way = under_way;
}

/// Sends SIGTERM to the first worker, and waits for its end.
async fn drain_worker(stage: &mut Stage) -> Result<()> {
    let mut worker = stage.take_worker()?;
    worker.process.signal(Signal::SIGTERM)?;
    let status = worker.process.wait(LIMIT).await?;
    if !status.success() {
        stage.broken.push(format!("the worker has ended with {status}"));
    }
    stage.go_on(stage.timing().after / 2).await;
    Ok(())
}

async fn worker_drained(stage: &mut Stage) -> Result<()> {
    with_backlog(stage, 12);
    stage.begin(Plan::new(2, 2)).await?;
    stage.cluster().add_worker().await?;
    drain_worker(stage).await
}

async fn worker_drained_at_its_limit(stage: &mut Stage) -> Result<()> {
    with_backlog(stage, 40);
    let worker_lines = "shutdown_timeout_ms = 400\n".to_owned();
    stage.begin(Plan { worker_lines, ..Plan::new(2, 2) }).await?;
    drain_worker(stage).await
}

async fn worker_reloaded(stage: &mut Stage) -> Result<()> {
    with_backlog(stage, 12);
    stage.begin_site().await?;
    for _ in 0..3 {
        stage.control("reload").await?;
        stage.go_on(stage.timing().after / 4).await;
    }
    Ok(())
}

async fn gateway_drained(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(2, 2)).await?;
    let mut gateway = stage.take_gateway()?;
    gateway.daemon.process.signal(Signal::SIGTERM)?;
    let status = gateway.daemon.process.wait(LIMIT).await?;
    if !status.success() {
        stage.broken.push(format!("the gateway has ended with {status}"));
    }
    stage.go_on(stage.timing().after / 2).await;
    Ok(())
}

async fn cluster_restarted(stage: &mut Stage) -> Result<()> {
    stage.begin_site().await?;
    let now = stage.books.now();
    stage.books.open().gateway_harmed(0, now);
    let listener = stage.site_listener();
    stage.load().set_gateways(vec![(1, listener)]);
    stage.control("restart").await?;
    stage.go_on(stage.timing().after / 2).await;
    Ok(())
}
