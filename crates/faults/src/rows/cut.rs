//! Cables that are cut: both ways, one way, slowed, for a while or for good; one of two links; a host that is gone; and
//! registers that do not know of each other's gateways.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::{Row, Script};
use crate::cluster::Daemon;
use crate::network::Cut;
use crate::outcome::Allowance;
use crate::plan::Plan;
use crate::relay::Link;
use crate::stage::Stage;

const SHORT_CUT: &str = "A cut of a few seconds delays messages, and nobody is given up.";
const LONG_CUT: &str = "A worker that is cut off is given up, and its clients are served by another; it comes back \
                        and does nothing twice without the mark.";
const CUT_FOR_GOOD: &str =
    "A worker that is cut off for good is given up, and its clients are served by another.";
const SLOW: &str = "A worker that hears and is heard slowly is not given up.";
const EVENT_LINK: &str =
    "A worker whose event link is cut, and whose call link is not, is given up at that gateway.";
const CALL_LINK: &str =
    "A worker whose call link is cut, and whose event link is not, is given up at that gateway.";
const BOTH_LINKS: &str =
    "A worker whose links to one gateway are cut is given up there, and links itself again.";
const HOST_LOST: &str = "Each client of a gateway whose host is gone gets its on_close.";
const HOST_CUT: &str = "A gateway that is cut off from all workers and registers, and comes back, goes on with its \
                        clients or closes them; each gets one on_close, or more that are marked.";
const SPLIT: &str = "While one of two registers does not answer, no gateway that lives is given up, though only that \
                     register lists it.";

/// What a handler says is at its observers after this time.
const ON_THE_WAY: Duration = Duration::from_millis(500);

pub(super) const ROWS: &[Row] = &[
    short("worker-cut-5s", |stage| Box::pin(cut(stage, Cut::BothWays, Length::Short))),
    long("worker-cut-30s", |stage| Box::pin(cut(stage, Cut::BothWays, Length::Long))),
    for_good("worker-cut-for-good", |stage| Box::pin(cut(stage, Cut::BothWays, Length::Ever))),
    short("worker-deaf-5s", |stage| Box::pin(cut(stage, Cut::ToHost, Length::Short))),
    long("worker-deaf-30s", |stage| Box::pin(cut(stage, Cut::ToHost, Length::Long))),
    for_good("worker-deaf-for-good", |stage| Box::pin(cut(stage, Cut::ToHost, Length::Ever))),
    short("worker-mute-5s", |stage| Box::pin(cut(stage, Cut::FromHost, Length::Short))),
    long("worker-mute-30s", |stage| Box::pin(cut(stage, Cut::FromHost, Length::Long))),
    for_good("worker-mute-for-good", |stage| Box::pin(cut(stage, Cut::FromHost, Length::Ever))),
    slow("worker-slow-5s", |stage| Box::pin(cut(stage, Cut::Slow, Length::Short))),
    slow("worker-slow-30s", |stage| Box::pin(cut(stage, Cut::Slow, Length::Long))),
    slow("worker-slow-for-good", |stage| Box::pin(cut(stage, Cut::Slow, Length::Ever))),
    Row::new("event-link-cut", EVENT_LINK, |stage| Box::pin(links_cut(stage, &[Link::Event])))
        .detected()
        .may_double(),
    Row::new("call-link-cut", CALL_LINK, |stage| Box::pin(links_cut(stage, &[Link::Call])))
        .allowing(Allowance { unreached: true, gone_with_link: true, ..Allowance::NONE })
        .detected()
        .may_double(),
    Row::new("both-links-cut", BOTH_LINKS, |stage| Box::pin(links_cut(stage, &[Link::Event, Link::Call])))
        .detected()
        .may_double(),
    Row::new("gateway-host-lost", HOST_LOST, |stage| Box::pin(gateway_host_lost(stage)))
        .on_hosts()
        .allowing(Allowance { gone_with_gateway: true, ..Allowance::NONE })
        .closes_of_a_lost_gateway()
        .may_double(),
    Row::new("gateway-host-cut-30s", HOST_CUT, |stage| Box::pin(gateway_host_cut(stage)))
        .on_hosts()
        .allowing(Allowance { gone_with_gateway: true, cut_off: true, ..Allowance::NONE })
        .may_double(),
    Row::new("registers-split", SPLIT, |stage| Box::pin(registers_split(stage))),
];

const fn short(name: &'static str, script: Script) -> Row {
    Row::new(name, SHORT_CUT, script).on_hosts().nobody_is_given_up()
}

const fn long(name: &'static str, script: Script) -> Row {
    Row::new(name, LONG_CUT, script).on_hosts().detected().may_double()
}

const fn for_good(name: &'static str, script: Script) -> Row {
    Row::new(name, CUT_FOR_GOOD, script).on_hosts().detected().may_double()
}

const fn slow(name: &'static str, script: Script) -> Row {
    Row::new(name, SLOW, script).on_hosts().nobody_is_given_up()
}

/// How long a cable stays cut. On Linux before 6.15 TCP may lengthen the short cut beyond `link_timeout_ms`:
/// `TCP_RTO_MAX_MS` is missing there.
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

async fn links_cut(stage: &mut Stage, links: &[Link]) -> Result<()> {
    let observed = links == [Link::Call];
    stage.settings.shape.observed = observed;
    stage.begin(Plan { relayed: true, ..Plan::new(if observed { 2 } else { 1 }, 2) }).await?;
    let worker = stage.take_worker()?;
    if let (true, IpAddr::V4(gateway)) = (observed, stage.cluster().gateways[0].listener.ip()) {
        stage.books.open().call_link_cut(worker.process.pid, gateway);
        // What was said before that has arrived by then.
        stage.go_on(ON_THE_WAY).await;
    }
    stage.books.open().worker_cut(worker.process.pid);
    for link in links {
        // The first links are those of the worker that was started first.
        if !stage.cluster().relays[0].cut_first(*link) {
            bail!("the relay has seen no such link");
        }
    }
    stage.cluster().workers.push(worker);
    stage.until_detected(stage.timing().after).await;
    if observed {
        stage.cluster().wait_until_linked().await?;
        stage.books.open().call_links_whole();
        stage.go_on(stage.timing().after / 2).await;
    }
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
