//! SIGKILL of each daemon.

use anyhow::Result;

use super::Row;
use crate::outcome::Allowance;
use crate::plan::Plan;
use crate::process::help;
use crate::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "worker-killed",
        "What a killed worker had not finished goes to another worker, in order and marked.",
        |stage| Box::pin(worker_killed(stage)),
    )
    .detected()
    .may_double(),
    Row::new(
        "only-worker-killed",
        "With no other worker, the events wait until the worker runs again, and go to it in order and marked.",
        |stage| Box::pin(only_worker_killed(stage)),
    )
    .detected()
    .may_double(),
    Row::new(
        "worker-killed-at-most-once",
        "With `delivery = 'at-most-once'`, nothing is handled twice; what the worker had is lost, closes are not.",
        |stage| Box::pin(worker_killed_at_most_once(stage)),
    )
    .allowing(Allowance { lost: true, stale: true, ..Allowance::NONE }),
    Row::new(
        "gateway-killed",
        "Each client of a killed gateway gets its on_close, when the gateway is started again at the latest.",
        |stage| Box::pin(gateway_killed(stage)),
    )
    .allowing(Allowance { gone_with_gateway: true, ..Allowance::NONE })
    .detected()
    .may_double(),
    Row::new("register-killed", "Clients and handlers notice nothing of a killed register.", |stage| {
        Box::pin(register_killed(stage))
    }),
    Row::new(
        "cluster-killed",
        "Messages that were answered are handled. What had no answer is lost, and the closes are lost with the books.",
        |stage| Box::pin(cluster_killed(stage)),
    )
    .allowing(Allowance { gone_with_gateway: true, lost: true, closes_missing: true, ..Allowance::NONE })
    .may_double(),
];

async fn worker_killed(stage: &mut Stage) -> Result<()> {
    stage.settings.shape.observed = true;
    stage.begin(Plan::new(2, 2)).await?;
    let mut worker = stage.take_worker()?;
    stage.kill_worker(&mut worker).await?;
    stage.until_detected(stage.timing().after).await;
    Ok(())
}

async fn worker_killed_at_most_once(stage: &mut Stage) -> Result<()> {
    let mut plan = Plan::new(2, 2);
    if help(&stage.settings.programs.gateway)?.contains("--delivery ") {
        plan.gateway_lines = "delivery = 'at-most-once'\n".into();
    } else {
        stage.broken.push("the gateway has no setting `delivery`".into());
    }
    // A client whose messages are all lost leaves, so that it is not the end of its load.
    stage.settings.shape.patience = Some(stage.timing().patience);
    stage.begin(plan).await?;
    let mut worker = stage.take_worker()?;
    stage.kill_worker(&mut worker).await?;
    stage.go_on(stage.timing().after).await;
    Ok(())
}

async fn only_worker_killed(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(1, 1)).await?;
    let mut worker = stage.take_worker()?;
    stage.kill_worker(&mut worker).await?;
    stage.go_on(stage.timing().short_cut / 2).await;
    stage.cluster().add_worker().await?;
    stage.until_detected(stage.timing().after).await;
    Ok(())
}

async fn gateway_killed(stage: &mut Stage) -> Result<()> {
    stage.settings.shape.observed = true;
    stage.begin(Plan::new(2, 2)).await?;
    let mut gateway = stage.take_gateway()?;
    gateway.daemon.process.kill().await?;
    stage.go_on(stage.timing().short_cut / 2).await;
    stage.cluster().restart_gateway(gateway).await?;
    let listeners = stage.cluster().listeners();
    stage.load().set_gateways(listeners);
    stage.until_detected(stage.timing().after).await;
    Ok(())
}

async fn register_killed(stage: &mut Stage) -> Result<()> {
    stage.settings.shape.observed = true;
    stage.begin(Plan::new(2, 2)).await?;
    let mut register = stage.cluster().registers.remove(0);
    register.process.kill().await?;
    stage.go_on(stage.timing().after / 2).await;
    stage.cluster().restart_register(register).await?;
    stage.go_on(stage.timing().after / 2).await;
    Ok(())
}

async fn cluster_killed(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(1, 2)).await?;
    let mut gateway = stage.take_gateway()?;
    gateway.daemon.process.kill().await?;
    for _ in 0..2 {
        let mut worker = stage.cluster().workers.remove(0);
        stage.kill_worker(&mut worker).await?;
    }
    let mut register = stage.cluster().registers.remove(0);
    register.process.kill().await?;
    stage.cluster().restart_register(register).await?;
    stage.cluster().restart_gateway(gateway).await?;
    let listeners = stage.cluster().listeners();
    stage.load().set_gateways(listeners);
    stage.cluster().add_worker().await?;
    stage.go_on(stage.timing().after).await;
    Ok(())
}
