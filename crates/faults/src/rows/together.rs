//! Faults that come together: a gateway that dies beside a drain, a gateway that comes back to workers which do not know
//! it, and workers that die in turns.

use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::Row;
use crate::outcome::Allowance;
use crate::plan::Plan;
use crate::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "gateway-killed-in-drain",
        "A gateway that is killed at the very moment at which a worker begins to drain costs nothing that it had passed \
         on. Each client gets its on_close. For a client that was on its way to another worker both workers may run it, \
         and what events they have, with the mark, also side by side.",
        |stage| Box::pin(gateway_killed_in_drain(stage)),
    )
    .allowing(Allowance {
        gone_with_gateway: true,
        in_two_workers: true,
        behind_close: true,
        ..Allowance::NONE
    })
    .may_double(),
    Row::new(
        "gateway-lost-and-awake",
        "A gateway that was taken for lost, and comes back when all workers have been replaced, goes on with the clients \
         it has; their second on_close is marked.",
        |stage| Box::pin(gateway_lost_and_awake(stage)),
    )
    .allowing(Allowance { behind_close: true, ..Allowance::NONE })
    .closes_of_a_lost_gateway()
    .may_double(),
    Row::new(
        "workers-flicker",
        "Workers that are killed in turns, each a moment after the last, lose nothing.",
        |stage| Box::pin(workers_flicker(stage)),
    )
    .may_double(),
];

/// How long a drain may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a worker drains before the gateway is killed, at most: it has given back what it had not begun, and its
/// handlers still run.
const IN_DRAIN_MS: u64 = 60;

/// The longest pause between two deaths of workers.
const FLICKER_MS: u64 = 800;

fn up_to(ms: u64) -> Duration {
    Duration::from_millis(rand::random_range(0..=ms))
}

async fn gateway_killed_in_drain(stage: &mut Stage) -> Result<()> {
    // A backlog: the worker gives back what it has not begun.
    stage.settings.shape.under_way = 40;
    stage.begin(Plan::new(2, 2)).await?;
    let pause = stage.timing().after / 20;
    for _ in 0..stage.timing().repeats {
        stage.cluster().add_worker().await?;
        stage.cluster().wait_until_linked().await?;
        // New clients go to the new worker as well.
        stage.go_on(pause).await;
        let mut worker = stage.cluster().workers.remove(0);
        let (mut gateway, clients) = stage.remove_gateway();
        if clients == 0 {
            bail!("{} has no clients", gateway.daemon.process.launch.name);
        }
        stage.books.remark(format_args!("process {} drains", worker.process.pid));
        worker.process.signal(Signal::SIGTERM)?;
        stage.go_on(up_to(IN_DRAIN_MS)).await;
        gateway.daemon.process.kill().await?;
        stage.cluster().restart_gateway(gateway).await?;
        let listeners = stage.cluster().listeners();
        stage.load().set_gateways(listeners);
        worker.process.wait(LIMIT).await?;
        stage.cluster().wait_until_linked().await?;
        stage.go_on(pause).await;
    }
    Ok(())
}

async fn gateway_lost_and_awake(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(2, 2)).await?;
    let gateway = stage.take_gateway()?;
    gateway.daemon.process.signal(Signal::SIGSTOP)?;
    let (limit, books) = (stage.timing().gateway_lost_limit, stage.books.clone());
    if !stage.wait_for(limit, || books.open().is_detected()).await {
        bail!("the gateway was not taken for lost in {limit:?}");
    }
    // Its other clients' closes run as well.
    stage.go_on(stage.timing().after / 4).await;
    let old = stage.cluster().workers.len();
    for _ in 0..old {
        stage.cluster().add_worker().await?;
    }
    stage.go_on(stage.timing().after / 2).await;
    for _ in 0..old {
        let mut worker = stage.cluster().workers.remove(0);
        worker.process.signal(Signal::SIGTERM)?;
        worker.process.wait(LIMIT).await?;
    }
    gateway.daemon.process.signal(Signal::SIGCONT)?;
    stage.books.open().gateway_back(gateway.number, stage.books.now());
    stage.books.remark(format_args!("gateway {} is awake", gateway.number));
    stage.cluster().gateways.push(gateway);
    let listeners = stage.cluster().listeners();
    stage.load().set_gateways(listeners);
    stage.cluster().wait_until_linked().await?;
    stage.go_on(stage.timing().after / 2).await;
    Ok(())
}

async fn workers_flicker(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan::new(2, 3)).await?;
    for _ in 0..stage.timing().repeats * 2 {
        let mut worker = stage.cluster().workers.remove(0);
        stage.kill_worker(&mut worker).await?;
        stage.cluster().add_worker().await?;
        stage.go_on(up_to(FLICKER_MS)).await;
    }
    Ok(())
}
