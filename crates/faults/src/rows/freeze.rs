//! SIGSTOP of each daemon, for good or for a while.

use anyhow::Result;
use nix::sys::signal::Signal;

use super::Row;
use crate::outcome::Allowance;
use crate::plan::Plan;
use crate::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "worker-frozen",
        "A frozen worker is found out, and its clients are served by another.",
        |stage| Box::pin(worker_frozen(stage)),
    )
    .allowing(Allowance { overlap_at_the_cut: true, ..Allowance::NONE })
    .detected()
    .may_double(),
    Row::new(
        "worker-frozen-and-awake",
        "A worker that was frozen and found out begins no event that was given to another; the handlers that it was \
         frozen in may overlap with their successors.",
        |stage| Box::pin(worker_frozen_and_awake(stage)),
    )
    .allowing(Allowance { overlap_at_the_cut: true, ..Allowance::NONE })
    .detected()
    .may_double(),
    Row::new(
        "gateway-frozen",
        "Each client of a gateway that is frozen for good gets its on_close.",
        |stage| Box::pin(gateway_frozen(stage)),
    )
    .allowing(Allowance { gone_with_gateway: true, ..Allowance::NONE })
    .closes_of_a_lost_gateway()
    .may_double(),
    Row::new(
        "gateway-frozen-and-awake",
        "A gateway that was frozen goes on with the clients it has.",
        |stage| Box::pin(gateway_frozen_and_awake(stage)),
    )
    .may_double(),
    Row::new(
        "register-frozen",
        "Clients and handlers notice nothing of a frozen register.",
        |stage| Box::pin(register_frozen(stage)),
    ),
];

async fn worker_frozen(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(2, 2)).await?;
    let worker = stage.take_worker()?;
    stage.freeze_worker(&worker)?;
    stage.cluster().retired.push(worker);
    stage.until_detected(stage.timing().after).await;
    Ok(())
}

async fn worker_frozen_and_awake(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(2, 2)).await?;
    let worker = stage.take_worker()?;
    stage.freeze_worker(&worker)?;
    stage.go_on(stage.timing().freeze).await;
    stage.books.open().worker_awake(worker.process.pid);
    worker.process.signal(Signal::SIGCONT)?;
    stage.cluster().workers.push(worker);
    stage.go_on(stage.timing().after).await;
    Ok(())
}

async fn gateway_frozen(stage: &mut Stage) -> Result<()> {
    stage.settings.shape.patience = Some(stage.timing().patience);
    stage.begin(Plan::new(2, 2)).await?;
    let gateway = stage.take_gateway()?;
    gateway.daemon.process.signal(Signal::SIGSTOP)?;
    stage.cluster().retired.push(gateway.daemon);
    stage.until_gateway_is_lost().await?;
    Ok(())
}

async fn gateway_frozen_and_awake(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(2, 2)).await?;
    let pid = &stage.cluster().gateways[0].daemon.process;
    pid.signal(Signal::SIGSTOP)?;
    stage.go_on(stage.timing().freeze).await;
    stage.cluster().gateways[0].daemon.process.signal(Signal::SIGCONT)?;
    stage.go_on(stage.timing().after).await;
    Ok(())
}

async fn register_frozen(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(2, 2)).await?;
    stage.cluster().registers[0].process.signal(Signal::SIGSTOP)?;
    stage.go_on(stage.timing().freeze).await;
    stage.cluster().registers[0].process.signal(Signal::SIGCONT)?;
    stage.go_on(stage.timing().after / 2).await;
    Ok(())
}
