//! What epochs do to one client: it is given back as the worker drains, goes to another worker, is held
//! while its gateway is missing, and closed when that is lost.
//!
//! `epoch_clients` calls these methods. The way of an event is in the parent.

use std::net::SocketAddrV4;
use std::num::NonZeroU32;

use bytes::Bytes;

use super::super::event::{Event, Standing};
use super::super::event_budget::EventBudget;
use super::{ClientState, Departure, Finished, Running};

/// Events that are given back to their gateway.
#[derive(Debug, Default)]
pub(in super::super) struct Unbegun {
    pub(in super::super) events: u32,
    /// What they had taken of the budget.
    pub(in super::super) cost: usize,
}

impl ClientState {
    /// Gives back the events of an epoch that wait.
    pub(in super::super) fn return_unbegun(&mut self, epoch: NonZeroU32) -> Unbegun {
        let mut unbegun = Unbegun::default();
        for event in self.waiting_of(epoch).filter(|event| event.standing != Standing::Returned) {
            unbegun.events += 1;
            unbegun.cost += event.charged();
            event.standing = Standing::Returned;
        }
        if !self.is_booked() {
            // The gateway has taken the client away.
            self.drop_returned();
        }
        unbegun
    }

    /// Gives back the started event, whose handler has not begun, with all of its epoch behind it.
    pub(in super::super) fn return_started(
        &mut self,
        mut event: Event,
        epoch: NonZeroU32,
    ) -> (Unbegun, Finished) {
        let mut unbegun = self.return_unbegun(epoch);
        unbegun.events += 1;
        let finished = self.skip();
        if self.is_booked_in(epoch) {
            event.standing = Standing::Returned;
            self.waiting_mut().push_front(event);
        }
        (unbegun, finished)
    }

    /// Gives back an event that comes now. Returns an event to start, as [`enter`](Self::enter) does.
    pub(in super::super) fn return_arrived(&mut self, event: Event, epoch: NonZeroU32) -> Option<Event> {
        let start = self.enter(&event.origin, epoch);
        self.keep_returned(event);
        start
    }

    /// Keeps an event that is given back, behind all others of its client.
    pub(super) fn keep_returned(&mut self, mut event: Event) {
        event.standing = Standing::Returned;
        self.push_back(event);
    }

    /// Whether events of the epoch were given back.
    pub(super) fn has_returned(&self, epoch: NonZeroU32) -> bool {
        let last = self.waiting.as_ref().and_then(|waiting| waiting.back());
        last.is_some_and(|last| last.standing == Standing::Returned && last.is_of(epoch))
    }

    /// Drops what was given back: the gateway has it.
    fn drop_returned(&mut self) {
        self.retain_waiting(|event| event.standing != Standing::Returned);
    }

    /// The client is another worker's, or nobody's. Where events of the client are here, what is
    /// known of it still holds for them.
    pub(in super::super) fn leave(&mut self) {
        self.book = None;
        self.drop_returned();
        self.depart();
        if self.running == Running::Nothing {
            self.forget_client();
        }
    }

    fn depart(&mut self) {
        self.departure = match self.running {
            Running::Nothing => Departure::None,
            Running::Event | Running::Close => Departure::Taken,
        };
    }

    /// The gateway of an epoch is missing: takes what the events of the epoch cost out of the budget.
    pub(in super::super) fn hold(&mut self, epoch: NonZeroU32, budget: &EventBudget) {
        if self.running != Running::Nothing && self.is_booked_in(epoch) && !self.is_held {
            self.is_held = true;
            budget.give_back(self.cost as usize);
        }
        for event in self.waiting_of(epoch).filter(|event| event.standing == Standing::Charged) {
            event.standing = Standing::Held;
            budget.give_back(event.cost());
        }
    }

    /// The epoch is superseded, and the gateway tells anew whose the client is: drops the events of the
    /// epoch that wait behind another or were given back.
    pub(in super::super) fn supersede(&mut self, epoch: NonZeroU32, budget: &EventBudget) {
        self.retain_waiting(|event| {
            if event.is_of(epoch) {
                budget.give_back(event.charged());
            }
            !event.is_of(epoch)
        });
        if self.is_booked_in(epoch) {
            self.book = None;
            // What the event that runs still writes is forgotten behind it.
            self.depart();
            self.forget_client();
        }
    }

    /// The client's gateway is lost: its close is due, unless it is here already. The events of the epoch run
    /// now, and are charged to the budget again. Returns whether [`close_lost`](Self::close_lost) is to be
    /// called: the close is due, or events that were given back have nobody who starts them.
    pub(in super::super) fn lose(&mut self, epoch: NonZeroU32, budget: &EventBudget) -> bool {
        let mut had_returned = false;
        for event in self.waiting_of(epoch).filter(|event| event.standing != Standing::Charged) {
            had_returned |= event.standing == Standing::Returned;
            event.standing = Standing::Charged;
            budget.charge(event.cost());
        }
        if !self.is_booked_in(epoch) {
            return false;
        }
        if std::mem::take(&mut self.is_held) {
            budget.charge(self.cost as usize);
        }
        let has_close = self.has_close() && self.departure != Departure::Followed;
        self.departure = if has_close { Departure::None } else { Departure::CloseDue };
        !has_close || had_returned
    }

    fn retain_waiting(&mut self, is_kept: impl FnMut(&Event) -> bool) {
        let Some(waiting) = &mut self.waiting else { return };
        waiting.retain(is_kept);
        if waiting.is_empty() {
            self.waiting = None;
        }
    }

    /// The events of an epoch behind the one that runs.
    fn waiting_of(&mut self, epoch: NonZeroU32) -> impl Iterator<Item = &mut Event> {
        self.waiting.iter_mut().flat_map(|waiting| waiting.iter_mut()).filter(move |event| event.is_of(epoch))
    }

    /// Queues the close that is due. Returns the client's next event where it is its turn at once.
    pub(in super::super) fn close_lost(
        &mut self,
        gateway: SocketAddrV4,
        connection_id: u32,
    ) -> Option<Event> {
        if self.departure == Departure::CloseDue {
            self.departure = Departure::None;
            if let Some(book) = self.book.take() {
                let origin = book.origin(gateway, connection_id);
                let session = self.known.as_deref().map(Bytes::copy_from_slice);
                return self.queue(Event::loss(origin, session.unwrap_or_default()));
            }
        }
        self.start_next()
    }

    /// Whether the client is entered in the books of an epoch.
    pub(in super::super) fn is_booked_in(&self, epoch: NonZeroU32) -> bool {
        self.book.as_ref().is_some_and(|book| book.epoch == epoch)
    }

    /// Whether the client is in the books of any epoch.
    pub(in super::super) fn is_booked(&self) -> bool {
        self.book.is_some()
    }
}
