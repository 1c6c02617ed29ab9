//! Cables that are cut: both ways, one way, slowed, for a while or for good; one of two links; a host that is gone; and
//! registers that do not know of each other's gateways.

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::Row;
use crate::cluster::{Daemon, Plan};
use crate::network::Cut;
use crate::outcome::Allowance;
use crate::relay::Link;
use crate::stage::Stage;

const SHORT_CUT: &str =
    "A cut that is shorter than `link_timeout_ms` delays messages, and nobody is given up.";
const LONG_CUT: &str = "A worker that is cut off is given up, and its clients are served by another; it comes back \
                        and does nothing twice without the mark.";
const CUT_FOR_GOOD: &str =
    "A worker that is cut off for good is given up, and its clients are served by another.";
const SLOW: &str = "A worker that hears and is heard slowly is not given up.";

pub(super) const ROWS: &[Row] = &[
    Row::new("worker-cut-5s", SHORT_CUT, |stage| Box::pin(cut(stage, Cut::BothWays, Length::Short))).on_hosts(),
    Row::new("worker-cut-30s", LONG_CUT, |stage| Box::pin(cut(stage, Cut::BothWays, Length::Long)))
        .on_hosts()
        .detected(),
    Row::new("worker-cut-for-good", CUT_FOR_GOOD, |stage| Box::pin(cut(stage, Cut::BothWays, Length::Ever)))
        .on_hosts()
        .detected(),
    Row::new("worker-deaf-5s", SHORT_CUT, |stage| Box::pin(cut(stage, Cut::ToHost, Length::Short))).on_hosts(),
    Row::new("worker-deaf-30s", LONG_CUT, |stage| Box::pin(cut(stage, Cut::ToHost, Length::Long)))
        .on_hosts()
        .detected(),
    Row::new("worker-deaf-for-good", CUT_FOR_GOOD, |stage| Box::pin(cut(stage, Cut::ToHost, Length::Ever)))
        .on_hosts()
        .detected(),
    Row::new("worker-mute-5s", SHORT_CUT, |stage| Box::pin(cut(stage, Cut::FromHost, Length::Short))).on_hosts(),
    Row::new("worker-mute-30s", LONG_CUT, |stage| Box::pin(cut(stage, Cut::FromHost, Length::Long)))
        .on_hosts()
        .detected(),
    Row::new("worker-mute-for-good", CUT_FOR_GOOD, |stage| Box::pin(cut(stage, Cut::FromHost, Length::Ever)))
        .on_hosts()
        .detected(),
    Row::new("worker-slow-5s", SLOW, |stage| Box::pin(cut(stage, Cut::Slow, Length::Short))).on_hosts(),
    Row::new("worker-slow-30s", SLOW, |stage| Box::pin(cut(stage, Cut::Slow, Length::Long))).on_hosts(),
    Row::new("worker-slow-for-good", SLOW, |stage| Box::pin(cut(stage, Cut::Slow, Length::Ever))).on_hosts(),
    Row::new(
        "event-link-cut",
        "A worker whose event link is cut, and whose call link is not, is given up at that gateway; its clients are \
         served.",
        |stage| Box::pin(one_link_cut(stage, Link::Event)),
    )
    .detected(),
    Row::new(
        "call-link-cut",
        "A worker whose call link is cut, and whose event link is not, is given up at that gateway; its clients are \
         served.",
        |stage| Box::pin(one_link_cut(stage, Link::Call)),
    )
    .detected(),
    Row::new(
        "gateway-host-lost",
        "Each client of a gateway whose host is gone gets its on_close.",
        |stage| Box::pin(gateway_host_lost(stage)),
    )
    .on_hosts()
    .allowing(Allowance { gone_with_gateway: true, ..Allowance::NONE })
    .closes_of_a_lost_gateway(),
    Row::new(
        "gateway-host-cut-30s",
        "A gateway that is cut off from all workers and registers, and comes back, goes on with its clients or closes \
         them with 1012; each gets one on_close, or more that are marked.",
        |stage| Box::pin(gateway_host_cut(stage)),
    )
    .on_hosts()
    .allowing(Allowance { gone_with_gateway: true, cut_off: true, ..Allowance::NONE }),
    Row::new(
        "registers-split",
        "Workers know the gateways of both registers; while one register does not answer, no gateway that lives is \
         given up.",
        |stage| Box::pin(registers_split(stage)),
    ),
];

/// How long a cable stays cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    /// Shorter than any time-out.
    Short,
    /// Longer than the links' time-out.
    Long,
    /// It is not mended.
    Ever,
}

async fn cut(stage: &mut Stage, how: Cut, length: Length) -> Result<()> {
    stage.begin(Plan::new(2, 2).on_hosts()).await?;
    let timing = stage.timing();
    let worker = stage.take_worker()?;
    let Daemon { process, host: Some(host) } = &worker else { bail!("the worker has no host") };
    host.cut(how)?;
    if how != Cut::Slow {
        stage.books.open().worker_cut(process.pid);
    }
    match length {
        Length::Short => stage.go_on(timing.short_cut).await,
        Length::Long => stage.go_on(timing.long_cut).await,
        Length::Ever if how == Cut::Slow => stage.go_on(timing.after).await,
        Length::Ever => stage.until_detected(timing.after).await,
    }
    if length == Length::Ever {
        stage.cluster().retired.push(worker);
        return Ok(());
    }
    host.mend()?;
    stage.books.open().worker_back(process.pid);
    stage.cluster().workers.push(worker);
    stage.go_on(timing.after).await;
    Ok(())
}

async fn one_link_cut(stage: &mut Stage, link: Link) -> Result<()> {
    stage.begin(Plan { relayed: true, ..Plan::new(1, 2) }).await?;
    let worker = stage.take_worker()?;
    stage.books.open().worker_cut(worker.process.pid);
    if !stage.cluster().relays[0].cut_first(link) {
        bail!("the relay has seen no such link");
    }
    stage.cluster().workers.push(worker);
    stage.until_detected(stage.timing().after).await;
    Ok(())
}

async fn gateway_host_lost(stage: &mut Stage) -> Result<()> {
    stage.settings.shape.patience = Some(stage.timing().patience);
    stage.begin(Plan::new(2, 2).on_hosts()).await?;
    let mut gateway = stage.take_gateway()?;
    let Some(host) = &gateway.daemon.host else { bail!("the gateway has no host") };
    host.cut(Cut::BothWays)?;
    // What lay in its memory is gone, and its end is not heard.
    gateway.daemon.process.kill().await?;
    stage.cluster().retired.push(gateway.daemon);
    stage.until_gateway_is_lost().await
}

async fn gateway_host_cut(stage: &mut Stage) -> Result<()> {
    stage.settings.shape.patience = Some(stage.timing().patience);
    stage.begin(Plan::new(2, 2).on_hosts()).await?;
    let gateway = stage.take_gateway()?;
    let Some(host) = &gateway.daemon.host else { bail!("the gateway has no host") };
    host.cut(Cut::BothWays)?;
    stage.go_on(stage.timing().long_cut).await;
    host.mend()?;
    stage.books.open().gateway_back(gateway.number, stage.books.now());
    stage.cluster().gateways.push(gateway);
    let listeners = stage.cluster().listeners();
    stage.load().set_gateways(listeners);
    stage.go_on(stage.timing().after).await;
    Ok(())
}

async fn registers_split(stage: &mut Stage) -> Result<()> {
    stage.begin(Plan { registers: 2, split_registers: true, ..Plan::new(2, 2) }).await?;
    stage.cluster().registers[0].process.signal(Signal::SIGSTOP)?;
    // Long enough for a worker to give up gateways that no register lists.
    let long = stage.timing().gateway_lost_limit.min(stage.timing().after * 5);
    stage.go_on(long).await;
    stage.cluster().registers[0].process.signal(Signal::SIGCONT)?;
    stage.go_on(stage.timing().after / 2).await;
    Ok(())
}
