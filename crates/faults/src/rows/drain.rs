//! Daemons that are asked to stop, or are replaced, under load and with a backlog.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::Row;
use crate::outcome::Allowance;
use crate::plan::Plan;
use crate::stage::Stage;

const DRAINED: &str = "A client moves to another worker without a gap, a double or two handlers at once.";
const GATEWAY_MISSING: &str =
    "A worker that drains while a gateway is frozen waits for the gateway, and loses nothing.";
const AT_LIMIT: &str = "What a worker has not done by the limit of its drain is given to another worker.";
const RELOADED: &str = "`gatewayworker reload` replaces the worker, and clients notice nothing.";
const GATEWAY_DRAINED: &str = "A gateway that stops closes its clients, and each gets its on_close.";
const WITHOUT_WORKER: &str =
    "A gateway that stops without a worker loses the closes that it kept, and logs how many.";
const RESTARTED: &str = "`gatewayworker restart` closes all clients, and each gets its on_close.";

pub(super) const ROWS: &[Row] = &[
    Row::new("worker-drained", DRAINED, |stage| Box::pin(worker_drained(stage))),
    Row::new("worker-drained-gateway-frozen", GATEWAY_MISSING, |stage| {
        Box::pin(worker_drained_gateway_frozen(stage))
    }),
    Row::new("worker-drained-at-its-limit", AT_LIMIT, |stage| Box::pin(worker_drained_at_its_limit(stage)))
        .may_double(),
    Row::new("worker-reloaded", RELOADED, |stage| Box::pin(worker_reloaded(stage))),
    Row::new("gateway-drained", GATEWAY_DRAINED, |stage| Box::pin(gateway_drained(stage)))
        .allowing(Allowance { gone_with_gateway: true, ..Allowance::NONE })
        .detected(),
    Row::new("gateway-drained-without-worker", WITHOUT_WORKER, |stage| {
        Box::pin(gateway_drained_without_worker(stage))
    })
    .allowing(Allowance {
        gone_with_gateway: true,
        lost: true,
        closes_missing: true,
        ..Allowance::NONE
    }),
    Row::new("cluster-restarted", RESTARTED, |stage| Box::pin(cluster_restarted(stage)))
        .allowing(Allowance { gone_with_gateway: true, ..Allowance::NONE }),
];

/// How long a drain may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Among so many last lines of its log a gateway says what it loses.
const LAST_LINES: usize = 10;

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
    stage.settings.shape.observed = true;
    with_backlog(stage, 12);
    stage.begin(Plan::new(2, 2)).await?;
    stage.cluster().add_worker().await?;
    // So that its handlers reach all observers.
    stage.cluster().wait_until_linked().await?;
    drain_worker(stage).await
}

async fn worker_drained_gateway_frozen(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(2, 2)).await?;
    stage.cluster().gateways[1].daemon.process.signal(Signal::SIGSTOP)?;
    let mut worker = stage.take_worker()?;
    worker.process.signal(Signal::SIGTERM)?;
    stage.go_on(stage.timing().short_cut).await;
    stage.cluster().gateways[1].daemon.process.signal(Signal::SIGCONT)?;
    worker.process.wait(LIMIT).await?;
    stage.go_on(stage.timing().after / 2).await;
    Ok(())
}

async fn worker_drained_at_its_limit(stage: &mut Stage) -> Result<()> {
    with_backlog(stage, 40);
    let worker_lines = "shutdown_timeout_ms = 400\n".to_owned();
    stage.begin(Plan { worker_lines, ..Plan::new(2, 2) }).await?;
    drain_worker(stage).await
}

async fn worker_reloaded(stage: &mut Stage) -> Result<()> {
    stage.settings.shape.observed = true;
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

async fn gateway_drained_without_worker(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(1, 1)).await?;
    let mut worker = stage.take_worker()?;
    stage.kill_worker(&mut worker).await?;
    let mut gateway = stage.take_gateway()?;
    gateway.daemon.process.signal(Signal::SIGTERM)?;
    gateway.daemon.process.wait(LIMIT).await?;
    let ended = stage.books.open().counts(stage.books.now());
    let log = gateway.daemon.process.log();
    let says = |line: &&str| line.contains("close") && line.contains(&ended.closes_missing.to_string());
    if log.lines().rev().take(LAST_LINES).find(says).is_none() {
        stage.broken.push(format!("the gateway does not log that {} closes are lost", ended.closes_missing));
    }
    stage.cluster().restart_gateway(gateway).await?;
    stage.cluster().add_worker().await?;
    let listeners = stage.cluster().listeners();
    stage.load().set_gateways(listeners);
    stage.go_on(stage.timing().after / 2).await;
    Ok(())
}

async fn cluster_restarted(stage: &mut Stage) -> Result<()> {
    stage.begin_site().await?;
    let now = stage.books.now();
    // A client that connects before the end of the old gateway does so to number 1 as well.
    for gateway in [1, 0] {
        stage.books.open().gateway_harmed(gateway, now);
    }
    let listener = stage.site_listener();
    stage.load().set_gateways(vec![(1, listener)]);
    stage.control("restart").await?;
    stage.books.open().gateway_back(1, stage.books.now());
    stage.go_on(stage.timing().after / 2).await;
    Ok(())
}
