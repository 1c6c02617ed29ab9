//! What the handlers of one client id have done: which events have begun and ended, how often, in which order, and
//! which handlers are open.
//!
//! `Ledger` enters each record of the journal here. Nothing of the client's side is known here.

use std::time::Duration;

use super::order::{Come, Order};
use super::recent::{Recent, What};
use super::record::{Connection, Event, Kind};

/// Events in order: `on_connect`, `on_websocket_connect`, then messages 1, 2, 3, …; the close has its own counts.
#[derive(Debug, Default)]
pub(super) struct Handled {
    /// Which connection this client id is, as soon as an event has said it.
    pub(super) connection: Option<Connection>,
    /// The worker that has begun the latest event.
    pub(super) worker: Option<u32>,
    steps: Vec<Step>,
    pub(super) close: Step,
    open: Vec<Open>,
    order: Order,
    pub(super) violations: Violations,
    pub(super) recent: Recent,
}

/// How often one event was handled.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Step {
    begun: Come,
    /// Whether the first of them was marked: the worker before has not written that it had begun.
    is_first_marked: bool,
    /// How many of them were repeated and marked as given out before.
    marked: u16,
    pub(super) ended: u16,
}

/// A handler that has begun and not ended.
#[derive(Debug)]
struct Open {
    position: usize,
    worker: u32,
    redelivered: bool,
    /// It ran when its worker was frozen or cut off: it may overlap with its successor.
    at_the_cut: bool,
    /// It has overlapped, and is counted.
    is_counted: bool,
}

/// What went wrong, as counts.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Violations {
    /// Events behind a later one, without the mark.
    pub(super) reordered: u64,
    /// The same with the mark.
    pub(super) reordered_marked: u64,
    /// Events that were begun for the first time behind the close.
    pub(super) behind_close: u64,
    /// Handlers that have begun while another ran, neither of them with the mark.
    pub(super) overlapped: u64,
    /// The same with the mark on one of them at least.
    pub(super) overlapped_marked: u64,
    pub(super) overlapped_at_the_cut: u64,
    pub(super) stale: u64,
}

impl Violations {
    /// Their number, without those that a cut explains.
    fn without_the_cut(self) -> u64 {
        let Self { reordered, reordered_marked, behind_close, overlapped, overlapped_marked, stale, .. } =
            self;
        reordered + reordered_marked + behind_close + overlapped + overlapped_marked + stale
    }
}

/// The position of the close, behind every message.
const CLOSE: usize = usize::MAX;

fn position(kind: Kind) -> usize {
    match kind {
        Kind::Connect => 0,
        Kind::Handshake => 1,
        Kind::Message(number) => number as usize + 1,
        Kind::Close => CLOSE,
    }
}

impl Step {
    /// How often a handler has begun with it.
    pub(super) fn begun(self) -> u16 {
        self.begun.times
    }

    /// How often it was handled again.
    pub(super) fn doubled(self) -> u64 {
        u64::from(self.begun.times.saturating_sub(1))
    }

    /// How often it was handled again without a mark.
    pub(super) fn doubled_unmarked(self) -> u64 {
        self.doubled().saturating_sub(u64::from(self.marked))
    }
}

impl Handled {
    fn step(&mut self, position: usize) -> &mut Step {
        if position == CLOSE {
            return &mut self.close;
        }
        if self.steps.len() <= position {
            self.steps.resize(position + 1, Step::default());
        }
        &mut self.steps[position]
    }

    /// Enters the begin of a handler. A `dead` worker was killed: its handler does not stay open.
    pub(super) fn begin(&mut self, event: &Event, dead: bool, at_the_cut: bool, now: Duration) {
        let Event { worker, redelivered, .. } = *event;
        let position = position(event.kind);
        let before = self.violations.without_the_cut() + self.step(position).doubled_unmarked();
        self.recent.enter(What::Begins, event, now);
        self.check_session(event);
        let mut others = self.open.iter().filter(|open| !open.at_the_cut).peekable();
        if others.peek().is_some() {
            match redelivered || others.all(|open| open.redelivered) {
                true => self.violations.overlapped_marked += 1,
                false => self.violations.overlapped += 1,
            }
        } else {
            // Such a handler may stay open for as long as its worker is frozen.
            for open in self.open.iter_mut().filter(|open| !open.is_counted) {
                open.is_counted = true;
                self.violations.overlapped_at_the_cut += 1;
            }
        }
        let mut step = *self.step(position);
        let is_first = step.begun() == 0;
        match is_first {
            true => step.is_first_marked = redelivered,
            false => step.marked += u16::from(redelivered),
        }
        if !self.order.enter(position, &mut step.begun) {
            let is_behind_close = is_first && self.close.begun() > 0;
            match (is_behind_close, redelivered) {
                (true, _) => self.violations.behind_close += 1,
                (false, true) => self.violations.reordered_marked += 1,
                (false, false) => self.violations.reordered += 1,
            }
        }
        *self.step(position) = step;
        if self.violations.without_the_cut() + step.doubled_unmarked() > before {
            self.recent.has_violation();
        }
        self.worker = Some(worker);
        if !dead {
            self.open.push(Open { position, worker, redelivered, at_the_cut, is_counted: false });
        }
    }

    /// Enters the begin of a handler that its worker was about to run when it was frozen, if another worker has begun
    /// the event meanwhile: it was the first, and overlaps with its successor. Returns whether that is so.
    pub(super) fn begin_late(&mut self, event: &Event, now: Duration) -> bool {
        let position = position(event.kind);
        let step = self.step(position);
        if step.begun() == 0 {
            return false;
        }
        self.recent.enter(What::Begins, event, now);
        let step = self.step(position);
        step.begun.times = step.begun.times.saturating_add(1);
        // The successor's mark was not counted, as it seemed to be the first.
        step.marked += u16::from(step.is_first_marked);
        self.violations.overlapped_at_the_cut += 1;
        let Event { worker, redelivered, .. } = *event;
        self.open.push(Open { position, worker, redelivered, at_the_cut: true, is_counted: true });
        true
    }

    /// A message's handler finds in the session what the last handler before it that has ended has put there, or more
    /// if the message comes again.
    fn check_session(&mut self, event: &Event) {
        let Kind::Message(number) = event.kind else { return };
        let last = (1..number).rev().find(|earlier| self.has_handled(*earlier));
        if last.is_some_and(|last| event.session < last) {
            self.violations.stale += 1;
        }
    }

    /// Enters the end of a handler.
    pub(super) fn end(&mut self, event: &Event, now: Duration) {
        let position = position(event.kind);
        self.recent.enter(What::Ends, event, now);
        self.close_one(position, event.worker);
        let step = self.step(position);
        step.ended = step.ended.saturating_add(1);
    }

    /// Enters that a handler was cancelled: it does not count as handled.
    pub(super) fn abandon(&mut self, event: &Event, now: Duration) {
        self.recent.enter(What::IsCancelled, event, now);
        self.close_one(position(event.kind), event.worker);
    }

    fn close_one(&mut self, position: usize, worker: u32) {
        if let Some(n) = self.open.iter().position(|open| open.position == position && open.worker == worker)
        {
            self.open.remove(n);
        }
    }

    /// Enters that a worker was killed: its handlers run no more.
    pub(super) fn worker_killed(&mut self, worker: u32) {
        self.open.retain(|open| open.worker != worker);
    }

    /// Enters that a worker was frozen or cut off.
    pub(super) fn worker_cut(&mut self, worker: u32) {
        for open in self.open.iter_mut().filter(|open| open.worker == worker) {
            open.at_the_cut = true;
        }
    }

    /// Whether a handler runs.
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether a message was handled to its end.
    pub(super) fn has_handled(&self, number: u32) -> bool {
        self.steps.get(position(Kind::Message(number))).is_some_and(|step| step.ended > 0)
    }

    /// Returns how often a handler has begun with a message.
    pub(super) fn times_begun(&self, number: u32) -> u16 {
        self.steps.get(position(Kind::Message(number))).map_or(0, |step| step.begun())
    }

    /// The highest number of a message that a handler has begun with; 0 for none.
    pub(super) fn highest(&self) -> u32 {
        let begun = self.steps.iter().rposition(|step| step.begun() > 0).unwrap_or_default();
        begun.saturating_sub(1) as u32
    }

    /// The highest number of a message that was handled to its end; 0 for none.
    pub(super) fn last(&self) -> u32 {
        let ended = self.steps.iter().rposition(|step| step.ended > 0).unwrap_or_default();
        ended.saturating_sub(1) as u32
    }

    /// Whether `on_connect` or the handshake's handler has run, so that a close is owed.
    pub(super) fn was_connected(&self) -> bool {
        self.steps.iter().take(2).any(|step| step.ended > 0)
    }

    /// How many of `on_connect` and the handshake's handler have not run, though later events were handled.
    pub(super) fn connects_missing(&self) -> u64 {
        let first = |n: usize| self.steps.get(n).is_none_or(|step| step.ended == 0);
        if self.highest() == 0 { 0 } else { (0..2).filter(|n| first(*n)).count() as u64 }
    }

    /// The events that were handled more than once, closes excepted.
    pub(super) fn doubled(&self) -> u64 {
        self.steps.iter().map(|step| step.doubled()).sum()
    }

    /// Those that were handled again without a mark.
    pub(super) fn doubled_unmarked(&self) -> u64 {
        self.steps.iter().map(|step| step.doubled_unmarked()).sum()
    }
}
