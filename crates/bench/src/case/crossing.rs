//! Messages across a mesh: to one client, to groups, and to all. Measures the cost of each kind, and the time until the
//! last recipient has it. `mesh` and `federation` start the servers and call this.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::fanout::{self, Shared};
use super::ledger::Groups;
use super::{ClientTasks, STALL, Target, Usage, Watch, Window, latency};
use crate::args::Load;
use crate::client::Client;
use crate::client_set::ClientSet;
use crate::histogram::Histogram;
use crate::open::frames;
use crate::report::{Metric, Progress};

/// The measurement of one kind of message.
pub(super) struct Measured {
    pub(super) used: Usage,
    messages: u64,
    pub(super) deliveries: u64,
    /// The times until the last recipient has a message.
    times: Histogram,
    pub(super) lost: u64,
}

impl Measured {
    pub(super) fn figures(&self, what: &str) -> Vec<Metric> {
        let cost = self.used.cost("", self.messages);
        let cost = cost.map(|cost| Metric { name: format!("cpu_per_{what}").into(), ..cost });
        let nats = self.used.nats_cost(what, self.messages);
        cost.into_iter().chain(nats).chain(latency(what, &self.times).flatten()).collect()
    }
}

/// Sends from the first client to the second, one message after another. With several gateways, they are on different
/// ones.
pub(super) async fn send_to_one(
    clients: &mut [Client],
    load: &Load,
    target: &Target,
    progress: &Progress,
) -> Result<Measured> {
    let [from, to, ..] = clients else { bail!("a mesh needs at least two clients") };
    let id = RefCell::new(String::new());
    let found = |payload: &[u8]| {
        let rest = payload.strip_prefix(b"I").and_then(|rest| std::str::from_utf8(rest).ok());
        rest.is_some_and(|rest| {
            *id.borrow_mut() = rest.into();
            true
        })
    };
    to.ask(&frames(&["I"]), found).await.context("asking for a client's id")?;
    let message = format!("T{} ", id.borrow());
    let frames = frames(&[&format!("{message:x<0$}", load.size as usize)]);

    let mut sent = 0;
    let mut times = Histogram::new();
    let mut run = async |what: &str, time: Duration| {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let start = Instant::now();
            from.send(&frames).await?;
            let come = to.wait_for(|payload| payload.starts_with(message.as_bytes()));
            tokio::time::timeout(STALL, come).await.context("a message to one client did not arrive")??;
            times.record(start.elapsed());
            sent += 1;
            progress.say(&format!("{what}: {sent} messages to one client"));
        }
        Ok::<_, anyhow::Error>((std::mem::take(&mut sent), std::mem::replace(&mut times, Histogram::new())))
    };
    run("warming up", load.warmup).await?;
    let window = Window::open(target)?;
    let (messages, times) = run("measuring", load.duration).await?;
    let used = window.close()?;
    Ok(Measured { used, messages, deliveries: messages, times, lost: 0 })
}

/// Lets each sender send to its own group, or to all: the next message after all members have the last one.
pub(super) async fn send_to_groups(
    client_set: &ClientSet,
    groups: Groups,
    prefix: impl Fn(usize) -> String,
    load: &Load,
    target: &Target,
    progress: &Progress,
) -> Result<Measured> {
    let shared = Rc::new(Shared::new(groups, 1, false, load.size as usize));
    let mut clients = ClientTasks::new();
    for index in 0..groups.clients as usize {
        let sender = groups.sender(index);
        clients.spawn_local(fanout::drive(client_set.clone(), index, sender, prefix(index), shared.clone()));
    }
    let ledger = &shared.ledger;
    let count = || ledger.borrow().deliveries;
    let expected = || ledger.borrow().expected();
    let mut watch = Watch { clients, progress, unit: "deliveries", count: &count, expected: &expected };
    watch.run("warming up", load.warmup).await?;
    ledger.borrow_mut().since = Instant::now();
    let before = (ledger.borrow().done, count());
    let window = Window::open(target)?;
    watch.run("measuring", load.duration).await?;
    let used = window.close()?;
    let (messages, deliveries) = (ledger.borrow().done - before.0, count() - before.1);
    ledger.borrow_mut().stop();
    let lost = watch.drain().await?;
    watch.clients.shutdown().await;
    let mut ledger = ledger.borrow_mut();
    let times = std::mem::replace(&mut ledger.message_times, Histogram::new());
    Ok(Measured { used, messages, deliveries, times, lost: lost + ledger.misplaced })
}
