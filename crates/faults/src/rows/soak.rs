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
    "Workers, gateways and registers are killed, drained and frozen for a moment, one after the other, for as long as \
     `--soak` says.",
    |stage| Box::pin(soak(stage)),
)
.allowing(Allowance { gone_with_gateway: true, overlap_at_the_cut: true, ..Allowance::NONE })
.may_double()];

/// How long a drain may take.
const LIMIT: Duration = Duration::from_secs(30);

async fn soak(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(2, 3)).await?;
    let end = Instant::now() + stage.settings.soak;
    let mut faults = 0;
    while Instant::now() < end {
        harm(stage, faults % 5).await?;
        faults += 1;
        stage.go_on(stage.timing().after / 2).await;
    }
    stage.notes.push(format!("{faults} faults"));
    Ok(())
}

async fn harm(stage: &mut Stage, what: u32) -> Result<()> {
    match what {
        0 => {
            let mut worker = stage.take_worker()?;
            stage.kill_worker(&mut worker).await?;
            stage.cluster().add_worker().await?;
        }
        1 => {
            stage.cluster().add_worker().await?;
            stage.cluster().wait_until_linked().await?;
            let mut worker = stage.take_worker()?;
            worker.process.signal(Signal::SIGTERM)?;
            worker.process.wait(LIMIT).await?;
        }
        2 => {
            let worker = stage.take_worker()?;
            stage.freeze_worker(&worker)?;
            stage.go_on(stage.timing().short_cut).await;
            stage.books.open().worker_back(worker.process.pid);
            worker.process.signal(Signal::SIGCONT)?;
            stage.cluster().workers.push(worker);
        }
        3 => {
            let mut gateway = stage.take_gateway()?;
            gateway.daemon.process.signal(Signal::SIGTERM)?;
            gateway.daemon.process.wait(LIMIT).await?;
            stage.cluster().restart_gateway(gateway).await?;
            let listeners = stage.cluster().listeners();
            stage.load().set_gateways(listeners);
            stage.cluster().wait_until_linked().await?;
        }
        _ => {
            let mut register = stage.cluster().registers.remove(0);
            register.process.kill().await?;
            stage.cluster().restart_register(register).await?;
        }
    }
    Ok(())
}
