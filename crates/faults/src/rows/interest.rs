//! Groups that come and go while daemons die or freeze: workers send only to gateways that may have members, and the
//! first join of a group waits until they know of it.

use std::time::Duration;

use anyhow::Result;

use super::Row;
use crate::outcome::Allowance;
use crate::plan::Plan;
use crate::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "joins-and-a-worker-frozen",
        "What is said to a group behind a join reaches who has joined; a join waits for a frozen worker for a third of \
         `link_timeout_ms` at most.",
        |stage| Box::pin(worker_frozen(stage)),
    )
    .allowing(Allowance { overlap_at_the_cut: true, ..Allowance::NONE })
    .detected()
    .may_double(),
    Row::new(
        "joins-and-a-worker-killed",
        "What is said to a group behind a join reaches who has joined; a join waits for a killed worker no longer than for \
         a frozen one.",
        |stage| Box::pin(worker_killed(stage)),
    )
    .detected()
    .may_double(),
    Row::new(
        "joins-and-a-gateway-killed",
        "What is said to a group behind a join reaches who has joined, also at a gateway that has started again.",
        |stage| Box::pin(gateway_killed(stage)),
    )
    .allowing(Allowance { gone_with_gateway: true, ..Allowance::NONE })
    .detected()
    .may_double(),
];

/// How much later than it should a join may take effect: the machine is loaded, and a handler measures it.
const LATE: Duration = Duration::from_millis(700);

async fn worker_frozen(stage: &mut Stage) -> Result<()> {
    begin(stage).await?;
    let worker = stage.take_worker()?;
    stage.freeze_worker(&worker)?;
    stage.cluster().retired.push(worker);
    stage.until_detected(stage.timing().after).await;
    stage.end_joins(stage.timing().lease() + LATE).await;
    Ok(())
}

async fn worker_killed(stage: &mut Stage) -> Result<()> {
    begin(stage).await?;
    let mut worker = stage.take_worker()?;
    stage.kill_worker(&mut worker).await?;
    stage.until_detected(stage.timing().after).await;
    // The system resets its interest links where something was unread: then its leases run out.
    stage.end_joins(stage.timing().lease() + LATE).await;
    Ok(())
}

async fn gateway_killed(stage: &mut Stage) -> Result<()> {
    begin(stage).await?;
    let mut gateway = stage.take_gateway()?;
    gateway.daemon.process.kill().await?;
    stage.go_on(stage.timing().short_cut / 2).await;
    stage.cluster().restart_gateway(gateway).await?;
    let listeners = stage.cluster().listeners();
    stage.load().set_gateways(listeners);
    stage.until_detected(stage.timing().after).await;
    stage.end_joins(stage.timing().lease() + LATE).await;
    Ok(())
}

/// Two gateways and three workers, all of which send to groups all the time.
async fn begin(stage: &mut Stage) -> Result<()> {
    stage.settings.shape.observed = true;
    stage.begin(Plan::new(2, 3)).await?;
    stage.begin_joins();
    stage.go_on(stage.timing().warm_up * 2).await;
    Ok(())
}
