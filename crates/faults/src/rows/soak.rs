//! A long run: clients come and go, and every few seconds something happens to a daemon.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::Row;
use crate::outcome::Allowance;
use crate::plan::Plan;
use crate::stage::Stage;

pub(super) const ROWS: &[Row] = &[Row::new(
    "soak",
    "Workers, gateways and registers are killed, drained and frozen, one after the other, for as long as `--soak` says.",
    |stage| Box::pin(soak(stage)),
)
.allowing(Allowance { gone_with_gateway: true, overlap_at_the_cut: true, ..Allowance::NONE })
.may_double()];

/// How long a drain may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A worker that drains is killed after this time, while handlers still run.
const IN_DRAIN: Duration = Duration::from_millis(15);

/// What happens, in turns. The first is drawn.
const FAULTS: [Fault; 9] = [
    Fault::WorkerKilled,
    Fault::GatewayDrained,
    Fault::WorkerFrozen,
    Fault::WorkerDrained,
    Fault::RegisterKilled,
    Fault::WorkerKilledInDrain,
    Fault::GatewayKilled,
    Fault::WorkerFrozenAndGivenUp,
    Fault::GatewayFrozen,
];

#[derive(Debug, Clone, Copy)]
enum Fault {
    WorkerKilled,
    WorkerDrained,
    WorkerKilledInDrain,
    WorkerFrozen,
    WorkerFrozenAndGivenUp,
    GatewayDrained,
    GatewayKilled,
    GatewayFrozen,
    RegisterKilled,
}

async fn soak(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(2, 3)).await?;
    let end = Instant::now() + stage.settings.soak;
    let first = rand::random_range(0..FAULTS.len());
    let mut faults = Vec::new();
    for fault in FAULTS.iter().cycle().skip(first) {
        if Instant::now() > end {
            break;
        }
        stage.books.remark(format_args!("{fault:?}"));
        harm(stage, *fault).await?;
        faults.push(*fault);
        stage.go_on(stage.timing().after / 2).await;
    }
    stage.notes.push(format!("{} faults, from {first}", faults.len()));
    Ok(())
}

async fn harm(stage: &mut Stage, fault: Fault) -> Result<()> {
    let timing = stage.timing();
    match fault {
        Fault::WorkerKilled => {
            let mut worker = stage.cluster().workers.remove(0);
            stage.kill_worker(&mut worker).await?;
            stage.cluster().add_worker().await
        }
        Fault::WorkerDrained | Fault::WorkerKilledInDrain => {
            stage.cluster().add_worker().await?;
            stage.cluster().wait_until_linked().await?;
            let mut worker = stage.cluster().workers.remove(0);
            worker.process.signal(Signal::SIGTERM)?;
            if matches!(fault, Fault::WorkerKilledInDrain) {
                stage.go_on(IN_DRAIN).await;
                // It may have ended already.
                let _ = stage.kill_worker(&mut worker).await;
            }
            worker.process.wait(LIMIT).await.map(drop)
        }
        Fault::WorkerFrozen => freeze_worker(stage, timing.short_cut).await,
        Fault::WorkerFrozenAndGivenUp => freeze_worker(stage, timing.freeze).await,
        Fault::GatewayDrained | Fault::GatewayKilled => {
            let (mut gateway, _) = stage.remove_gateway();
            let killed = matches!(fault, Fault::GatewayKilled);
            gateway.daemon.process.signal(if killed { Signal::SIGKILL } else { Signal::SIGTERM })?;
            gateway.daemon.process.wait(LIMIT).await?;
            stage.cluster().restart_gateway(gateway).await?;
            let listeners = stage.cluster().listeners();
            stage.load().set_gateways(listeners);
            stage.cluster().wait_until_linked().await
        }
        Fault::GatewayFrozen => {
            stage.cluster().gateways[0].daemon.process.signal(Signal::SIGSTOP)?;
            stage.go_on(timing.freeze).await;
            stage.cluster().gateways[0].daemon.process.signal(Signal::SIGCONT)
        }
        Fault::RegisterKilled => {
            let mut register = stage.cluster().registers.remove(0);
            register.process.kill().await?;
            stage.cluster().restart_register(register).await
        }
    }
}

/// Freezes a worker for a time, and lets it go on.
async fn freeze_worker(stage: &mut Stage, time: Duration) -> Result<()> {
    let worker = stage.cluster().workers.remove(0);
    stage.freeze_worker(&worker)?;
    stage.go_on(time).await;
    stage.books.open().worker_awake(worker.process.pid);
    worker.process.signal(Signal::SIGCONT)?;
    stage.cluster().workers.push(worker);
    Ok(())
}
