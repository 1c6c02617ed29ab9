//! The epochs of a simulated gateway, as `epochs.rs` and the folder `link` of the gateway have them.
//!
//! An event link and a call link are one epoch. Each is judged by its own [`Liveness`]. The end of one ends both:
//! they are read out, what they had to say is handed to the shards, and behind it every shard hears that the
//! worker is gone.

use std::sync::Arc;

use gatewayworker_gateway::internals::{Directory, Gone, LinkTiming, Liveness, Peer};
use gatewayworker_protocol::{Command, Features, Pairing, PingBody};

use super::Gateway;
use super::link::{Attaching, Doing, Link};
use super::shard::ShardMessage;
use crate::cluster::observer::Observer;
use crate::cluster::ports::WorkerLink;
use crate::cluster::timing::{HELLO_TIMEOUT_MS, LINK_TIMEOUT_MS, PING_INTERVAL_MS};
use crate::epochs::{EpochName, Life};
use crate::model::Context;
use crate::network::ReadOutcome;

/// A worker's epoch.
pub(super) struct Epoch {
    key: String,
    features: Features,
    /// The numbers of the links.
    events: u32,
    calls: Option<u32>,
    /// The linked worker, once both links are there.
    worker: Option<Arc<WorkerLink>>,
    /// The worker has said that it stops.
    is_draining: bool,
    /// It is over.
    end: Option<Gone>,
    /// How long the event link waits for its call link.
    until_ms: u64,
}

impl Epoch {
    /// The linked worker.
    pub(super) fn worker(&self) -> Option<&Arc<WorkerLink>> {
        self.worker.as_ref()
    }
}

impl Gateway {
    fn name(&self, number: u32) -> EpochName {
        EpochName { gateway: self.life, number }
    }

    /// A worker has said who it is, on its event link.
    pub(super) fn begin_epoch(
        &mut self,
        link: u32,
        key: String,
        process: u64,
        features: Features,
        context: &mut Context<'_>,
    ) {
        let Some(events) = self.links.get_mut(&link) else { return };
        let (number, replaced) = self.pairings.begin(&key, process, |number| number);
        let pairing = Pairing { instance: self.life.id(), epoch: number };
        let greeting = events.state.greeting(Some(pairing));
        let _ = events.writer.buffer.push(|out| greeting.encode(out));
        events.writer.buffer.flush();
        events.epoch = Some(number);
        context.note(|| format!("epoch {number} of worker {key} begins"));
        let until_ms = context.now_ms + HELLO_TIMEOUT_MS;
        let epoch = Epoch {
            key,
            features,
            events: link,
            calls: None,
            worker: None,
            is_draining: false,
            end: None,
            until_ms,
        };
        self.epochs.insert(number, epoch);
        for older in replaced {
            self.end_epoch(older, Gone::Replaced, context);
        }
    }

    /// A link is to be the call link of an epoch. What its worker has closed is closed before.
    pub(super) fn begin_attach(&mut self, link: u32, epoch: u32, process: u64, context: &mut Context<'_>) {
        let Some(calls) = self.links.get_mut(&link) else { return };
        if let Err(error) = self.pairings.check(epoch, process) {
            context.note(|| format!("link {link} is closed: {error}"));
            // What is behind it still takes effect.
            calls.doing = Doing::ReadOut;
            return;
        }
        let has_closed = calls.state.attach(epoch);
        let shards = if has_closed { self.shards.len() } else { 0 };
        calls.doing = Doing::Attach(Attaching::new(epoch, process, shards));
    }

    /// The call link has handed over what stands before ATTACH.
    pub(super) fn attach(
        &mut self,
        link: u32,
        number: u32,
        process: u64,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) {
        let Some(calls) = self.links.get_mut(&link) else { return };
        if let Err(error) = self.pairings.attach(number, process) {
            context.note(|| format!("link {link} is closed: {error}"));
            // What is behind it still takes effect.
            calls.doing = Doing::ReadOut;
            return;
        }
        calls.doing = Doing::Read;
        calls.epoch = Some(number);
        let now_ms = context.now_ms;
        calls.liveness = Some(Liveness::new(TIMING, now_ms));
        let Some(epoch) = self.epochs.get_mut(&number) else { return };
        epoch.calls = Some(link);
        let Some(events) = self.links.get_mut(&epoch.events) else { return };
        events.liveness = Some(Liveness::new(TIMING, now_ms));
        events.next_ping_ms = Some(now_ms);
        let peer = Peer { features: epoch.features, epoch: number, process: Some(process) };
        observer.attaches(Life::of_id(process), self.life);
        let joined = self.directory.join(&epoch.key, events.writer.clone(), peer);
        context.note(|| format!("worker {} is linked in epoch {number}", epoch.key));
        epoch.worker = Some(joined.link.clone());
        let is_draining = epoch.is_draining;
        if let Some(older) = joined.replaced.filter(|older| older.process() != Some(process)) {
            self.drain(&older, context);
        }
        if is_draining {
            // Its event link was read first.
            self.drain(&joined.link, context);
        }
    }

    /// A worker says on a link that it stops. One whose call link is not attached yet drains when it is.
    pub(super) fn worker_drains(&mut self, link: u32, context: &mut Context<'_>) {
        if let Some(worker) = self.set_draining(link) {
            self.drain(&worker, context);
        }
    }

    /// Notes that the worker of a link stops. Returns the worker, where it is linked.
    pub(super) fn set_draining(&mut self, link: u32) -> Option<Arc<WorkerLink>> {
        let number = self.links.get(&link)?.epoch?;
        let epoch = self.epochs.get_mut(&number)?;
        epoch.is_draining = true;
        epoch.worker.clone()
    }

    fn drain(&mut self, worker: &Arc<WorkerLink>, context: &mut Context<'_>) {
        if self.directory.drain(worker, self.shards.len()) {
            context.note(|| format!("worker {} drains", worker.key()));
            for shard in 0..self.shards.len() {
                self.send(shard, ShardMessage::WorkerDrains(worker.clone()), context);
            }
        }
    }

    /// An epoch is over: both of its links are read out, and end.
    pub(super) fn end_epoch(&mut self, number: u32, how: Gone, context: &mut Context<'_>) {
        let Some(epoch) = self.epochs.get_mut(&number) else { return };
        if epoch.end.is_some() {
            return;
        }
        context.note(|| format!("epoch {number} of worker {} is over: {how:?}", epoch.key));
        epoch.end = Some(how);
        self.pairings.end(number);
        if let Some(worker) = &epoch.worker {
            epoch.is_draining |= worker.is_draining();
            self.directory.close(worker);
        }
        for link in [Some(epoch.events), epoch.calls].into_iter().flatten() {
            if let Some(task) = self.links.get_mut(&link) {
                task.doing = Doing::ReadOut;
                task.wake(link, context);
            }
        }
    }

    /// A link of an epoch that is over is read out. With the second one, the worker is gone.
    pub(super) fn is_read_out(&mut self, link: u32, observer: &mut Observer, context: &mut Context<'_>) {
        let number = self.links.get(&link).and_then(|link| link.epoch);
        self.forget_link(link);
        let Some(number) = number else { return };
        let Some(epoch) = self.epochs.get(&number) else { return };
        let links = [Some(epoch.events), epoch.calls];
        if links.into_iter().flatten().any(|link| self.links.contains_key(&link)) {
            return;
        }
        let Some(epoch) = self.epochs.remove(&number) else { return };
        let Epoch { worker: Some(worker), end: Some(how), is_draining, .. } = epoch else { return };
        if is_draining {
            worker.set_said_stop();
        }
        self.worker_is_gone(number, &worker, how.of_worker(is_draining), observer, context);
    }

    fn worker_is_gone(
        &mut self,
        number: u32,
        worker: &Arc<WorkerLink>,
        how: Gone,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) {
        let (name, process) = (self.name(number), worker.process().unwrap_or_default());
        observer.epoch_ends(name, Life::of_id(process), context.now_ms);
        context.note(|| format!("worker {} is gone: {how:?}", worker.key()));
        self.directory.leave(worker);
        for shard in 0..self.shards.len() {
            self.send(shard, ShardMessage::WorkerGone(worker.clone(), how), context);
        }
    }

    /// The core has finished the event link of a worker that drains: its call link goes on alone.
    pub(super) fn let_go(&mut self, link: u32, observer: &mut Observer, context: &mut Context<'_>) {
        let Some(events) = self.links.get_mut(&link) else { return };
        events.liveness = None;
        events.next_ping_ms = None;
        events.doing = Doing::Finish { until_ms: context.now_ms + super::link::FINISH_TIMEOUT_MS };
        let Some(number) = events.epoch.take() else { return };
        let Some(epoch) = self.epochs.remove(&number) else { return };
        self.pairings.end(number);
        if let Some(calls) = epoch.calls.and_then(|calls| self.links.get_mut(&calls)) {
            calls.epoch = None;
            calls.liveness = None;
        }
        if let Some(worker) = epoch.worker {
            context.note(|| format!("worker {} has drained", worker.key()));
            self.worker_is_gone(number, &worker, Gone::Stopped, observer, context);
        }
    }

    /// The gateway stops: nothing attaches to an epoch any more.
    pub(super) fn close_epochs(&mut self) {
        for (number, epoch) in std::mem::take(&mut self.epochs) {
            self.pairings.end(number);
            if let Some(worker) = epoch.worker {
                self.directory.leave(&worker);
            }
        }
        for link in self.links.values_mut() {
            (link.epoch, link.liveness, link.next_ping_ms) = (None, None, None);
        }
    }

    /// Pings workers, and judges whether they are alive.
    pub(super) fn keep_alive(&mut self, context: &mut Context<'_>) {
        let now_ms = context.now_ms;
        let mut over = Vec::new();
        for link in self.links.values_mut() {
            if link.next_ping_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                link.next_ping_ms = Some(now_ms + PING_INTERVAL_MS);
                if link.writer.buffer.waiting() == 0 {
                    let ping = Command::Ping(PingBody::Empty.encode());
                    let _ = link.writer.buffer.push(|out| ping.encode(out));
                    link.writer.buffer.flush();
                }
            }
            if link.is_silent(context)
                && let Some(epoch) = link.epoch
            {
                over.push((epoch, Gone::Silent));
            }
        }
        let has_no_call_link = |epoch: &Epoch| epoch.worker.is_none() && epoch.until_ms <= now_ms;
        let alone = self.epochs.iter().filter(|(_, epoch)| has_no_call_link(epoch));
        over.extend(alone.map(|(number, _)| (*number, Gone::Ended)));
        over.into_iter().for_each(|(number, how)| self.end_epoch(number, how, context));
    }

    pub(super) fn epoch_deadline(&self) -> Option<u64> {
        let waiting = self.epochs.values().filter(|epoch| epoch.worker.is_none() && epoch.end.is_none());
        let liveness = self.links.values().filter_map(|link| link.liveness.map(|of| of.deadline_ms()));
        let pings = self.links.values().filter_map(|link| link.next_ping_ms);
        waiting.map(|epoch| epoch.until_ms).chain(liveness).chain(pings).min()
    }
}

const TIMING: LinkTiming = LinkTiming { ping_interval_ms: PING_INTERVAL_MS, timeout_ms: LINK_TIMEOUT_MS };

impl Link {
    /// Judges a link whose deadline has come, after a last try to read.
    fn is_silent(&mut self, context: &mut Context<'_>) -> bool {
        let now_ms = context.now_ms;
        let Some(liveness) = self.liveness.filter(|liveness| liveness.deadline_ms() <= now_ms) else {
            return false;
        };
        let mut liveness = liveness;
        let is_silent = match self.read() {
            ReadOutcome::Bytes(_) => {
                liveness.heard(now_ms);
                context.read_again(self.socket.id());
                false
            }
            ReadOutcome::Empty => liveness.is_over(now_ms),
            // Its task finds out.
            ReadOutcome::End | ReadOutcome::Reset => {
                context.read_again(self.socket.id());
                liveness.heard(now_ms);
                false
            }
        };
        self.liveness = Some(liveness);
        is_silent
    }
}
