//! Moving clients from one worker to another.
//!
//! A client moves only while no worker has an event of it, so that two handlers of one client never
//! run side by side and no order is lost. That is so when its worker has finished or returned all, or
//! when the worker is gone and its events were [settled](Shard::worker_gone). The new worker hears of
//! the client by ADOPT, an acknowledged event without a handler; when that is done, the old one, if
//! it lives, is told to FORGET the client.
//!
//! Many clients may have to move at once. A *sweep* looks at all clients and stubs, a slice in each
//! input, so that no input fills links with megabytes.

use std::ops::Bound;
use std::sync::Arc;

use gatewayworker_protocol::command::code;
use gatewayworker_protocol::frame::FLAG_PLAIN;

use super::Shard;
use super::client::Waits;
use super::event_spans;
use super::link_buffer::LinkBuffer;
use super::ports::{Directory, Ports};
use super::source::{self, Source};
use super::worker_link::{Gone, TakenBack, WorkerLink};

/// What one input of a sweep does at most: it looks at so many clients,
pub(super) const SWEEP_CLIENTS: usize = 10_000;
/// and appends so many bytes to links.
pub(super) const SWEEP_BYTES: usize = 1024 * 1024;

/// A look at all clients and stubs that is under way.
pub(super) struct Sweep<B> {
    /// The next slot of the table,
    slot: usize,
    /// and then the last stub.
    stub: Option<u32>,
    /// Something has changed since the sweep began: when it ends, another one begins.
    again: bool,
    /// Draining links that are held until the sweep has ended,
    drained: Vec<Arc<WorkerLink<B>>>,
    /// and those that are held until the next one has, as this one has passed some of their clients.
    drained_late: Vec<Arc<WorkerLink<B>>>,
}

impl<B> Default for Sweep<B> {
    fn default() -> Self {
        Self { slot: 0, stub: None, again: false, drained: Vec::new(), drained_late: Vec::new() }
    }
}

impl<B> Sweep<B> {
    /// Whether it has looked at a client or stub.
    fn is_under_way(&self) -> bool {
        (self.slot, self.stub) != (0, None)
    }

    /// Releases the links whose clients it has all looked at. Returns the sweep that begins next.
    fn end(self) -> Option<Self>
    where
        B: LinkBuffer,
    {
        self.drained.iter().for_each(|link| link.release());
        self.again.then(|| Self { drained: self.drained_late, ..Self::default() })
    }
}

#[cfg(any(test, feature = "internals"))]
impl<B> Sweep<B> {
    /// The draining links that are held.
    pub(super) fn drained(&self) -> impl Iterator<Item = &Arc<WorkerLink<B>>> {
        self.drained.iter().chain(&self.drained_late)
    }
}

impl<P: Ports> Shard<P> {
    /// Whether a client or stub has a worker that takes events. It moves to another where it has to and
    /// can.
    pub(super) fn has_open_worker(&mut self, id: u32) -> bool {
        let found = source::find(&mut self.table, &mut self.stubs, self.settings.address, id);
        let Some(Source { worker, log, is_pending, key, .. }) = found else { return false };
        if worker.is_open() {
            return true;
        }
        if log.as_ref().is_some_and(|log| log.given() > 0) {
            // They are finished, returned or settled first.
            return false;
        }
        if key.is_none() && log.is_none() {
            // The close of a stub is done.
            return false;
        }
        if is_pending && !log.as_ref().is_some_and(|log| log.has_handshake()) {
            // Another worker would take it for a client that is admitted.
            return false;
        }
        let ours_first = is_pending || log.as_ref().is_some_and(|log| log.was_given_before());
        let Some(link) = self.directory.choose(Some(worker.key()), ours_first) else {
            self.is_starved = true;
            if let Some(from) = log.as_mut().and_then(|log| log.moved_from.take()) {
                // The ADOPT was lost. The worker that had the client before does not wait for another,
                // which may never come. It is not told to FORGET the client: its books keep it until it is let go.
                // When it was, the note of that is one too many. It may mark an `on_close` that runs for the first
                // time, which is harmless.
                self.free_logs.recycle(log);
                self.leave_behind(id, &from);
                from.release();
            }
            return false;
        };
        self.move_to(id, link);
        true
    }

    fn move_to(&mut self, id: u32, link: Arc<WorkerLink<P::Buffer>>) {
        let found = source::find(&mut self.table, &mut self.stubs, self.settings.address, id);
        let Some(Source { worker, log, key, .. }) = found else { return };
        let acknowledges = link.acknowledges();
        if key.is_some() {
            link.bind();
            worker.unbind();
        }
        let old = std::mem::replace(worker, link);
        if let Some(log) = log {
            log.is_returned = false;
            if log.next_cmd() == Some(code::ADOPT) {
                // Its link failed before it could be given.
                log.remove_next();
            }
        }
        let next = log.as_ref().and_then(|log| log.next_cmd());
        let is_adopted = acknowledges && next != Some(code::ON_CONNECT);
        if is_adopted {
            let log = self.free_logs.log(log, self.now_ms);
            log.push_adopt(FLAG_PLAIN);
            if log.moved_from.is_none() && old.acknowledges() && !old.is_over() {
                old.hold();
                log.moved_from = Some(old);
                return;
            }
        }
        let from = if is_adopted { None } else { log.as_mut().and_then(|log| log.moved_from.take()) };
        self.forget(id, &old);
        if let Some(from) = from {
            self.end_move(id, &from);
        }
    }

    /// A client that moved is its new worker's: the old one forgets it.
    pub(super) fn end_move(&mut self, id: u32, from: &Arc<WorkerLink<P::Buffer>>) {
        self.forget(id, from);
        from.release();
    }

    /// The worker of a link drains: its clients move to others, each as soon as no event of it is
    /// unfinished there. To be called once for each link that
    /// [drains](super::worker_table::WorkerTable::drain).
    pub fn worker_drains(&mut self, link: &Arc<WorkerLink<P::Buffer>>) {
        let sweep = self.begin_sweep();
        let drained = if sweep.is_under_way() { &mut sweep.drained_late } else { &mut sweep.drained };
        drained.push(link.clone());
        self.advance_sweep();
        self.close_pending();
    }

    /// A link with acknowledged events is over, and what came from it has been executed: what its
    /// worker has not finished is given to others, or dropped, as `delivery` says.
    pub fn worker_gone(&mut self, link: &Arc<WorkerLink<P::Buffer>>, how: Gone) -> TakenBack {
        let mut taken = TakenBack::default();
        for slot in 0..self.table.slots() {
            if let Some(client) = self.table.at_mut(slot as u32)
                && Arc::ptr_eq(&client.worker, link)
            {
                client.is_taken_over |= how == Gone::Silent;
                let id = client.connection_id;
                taken += self.settle(id, how);
            }
        }
        let stubs = self.stubs.by_id.values().filter(|stub| Arc::ptr_eq(&stub.worker, link));
        let stubs: Vec<u32> = stubs.map(|stub| stub.origin.connection_id).collect();
        for id in stubs {
            taken += self.settle(id, how);
        }
        self.close_orphans();
        self.begin_sweep();
        self.advance_sweep();
        self.close_pending();
        taken
    }

    /// Takes the events of a client or stub back from a worker that is gone.
    fn settle(&mut self, id: u32, how: Gone) -> TakenBack {
        let delivery = self.settings.delivery;
        let found = source::find(&mut self.table, &mut self.stubs, self.settings.address, id);
        let Some(Source { worker, log: Some(log), .. }) = found else { return TakenBack::default() };
        if log.given() == 0 {
            return TakenBack::default();
        }
        let has_spans = self.event_spans.has_open();
        let spans = has_spans.then(|| (event_spans::contexts(log), worker.clone()));
        let settled = log.settle(delivery.mode, how == Gone::Ended);
        let has_room = worker.end_events(settled.ended.events, settled.ended.bytes);
        self.after_ended(settled.ended, has_room);
        let counts = self.directory.counts();
        counts.count_redelivered(settled.again);
        counts.count_dropped(settled.dropped);
        if settled.tries >= delivery.max_deliveries.max(1) {
            self.drop_undeliverable(id);
        }
        if let Some((spans, worker)) = spans {
            self.end_spans_that_left(id, &worker, spans);
        }
        TakenBack { again: settled.again, dropped: settled.dropped }
    }

    /// Looks at all clients and stubs from the start, in this input and in others. A sweep that is under
    /// way goes on to its end first: changes that come one after another must not keep it from the last
    /// clients.
    pub(super) fn begin_sweep(&mut self) -> &mut Sweep<P::Buffer> {
        self.effects.signals.deadline = true;
        let sweep = self.sweep.get_or_insert_default();
        sweep.again = sweep.is_under_way();
        sweep
    }

    /// Looks at the next clients and stubs of a sweep.
    pub(super) fn advance_sweep(&mut self) {
        let Some(mut sweep) = self.sweep.take() else { return };
        if !sweep.is_under_way() {
            self.is_starved = false;
        }
        self.appended = 0;
        let until = sweep.slot + SWEEP_CLIENTS;
        while sweep.slot < self.table.slots().min(until) && self.appended < SWEEP_BYTES {
            let client = self.table.at_mut(sweep.slot as u32);
            sweep.slot += 1;
            if let Some(client) = client
                && (!client.worker.is_open()
                    || client.waits == Waits::ForTurn
                    || client.log.as_ref().is_some_and(|log| log.has_waiting()))
            {
                let id = client.connection_id;
                self.go_on(id);
            }
        }
        if sweep.slot < self.table.slots() {
            self.sweep = Some(sweep);
            return;
        }
        let mut looked_at = 0;
        while self.appended < SWEEP_BYTES && looked_at < SWEEP_CLIENTS {
            let after = sweep.stub.map_or(Bound::Unbounded, Bound::Excluded);
            let Some((id, stub)) = self.stubs.by_id.range((after, Bound::Unbounded)).next() else {
                self.sweep = sweep.end();
                return;
            };
            let (id, waits) = (*id, stub.log.as_ref().is_some_and(|log| log.has_waiting()));
            sweep.stub = Some(id);
            looked_at += 1;
            if waits {
                self.go_on(id);
            }
        }
        self.sweep = Some(sweep);
    }
}
