//! What the epochs of gateways do to the clients of a worker: clients come from other workers and go to
//! them, are given back when the worker drains, and are closed when their gateway is lost.
//!
//! The event link and the shell around it call these methods; the way of an event is in `clients`.

use gatewayworker_client::ClientId;
use gatewayworker_protocol::{EventCounts, Origin};

use super::clients::Clients;
use super::epoch::{Epoch, Phase};
use super::event::Event;
use super::table::ClientTable;

/// The events that have not finished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// All that run or wait.
    pub events: usize,
    /// Those of gateways that acknowledge events.
    pub given_to_others: usize,
}

/// What a worker has in case a gateway is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Its clients, whose `on_close` runs then.
    pub clients: usize,
    /// Their events that were given back, which are handled then.
    pub returned: usize,
}

impl<T: ClientTable> Clients<T> {
    /// Takes a client over from another worker. No handler runs for it, and it is done at once: the
    /// gateway is told so with the next DONE. Returns an event to start, where a client of a lost gateway
    /// had the same id, whose close is first.
    pub fn adopt(&self, origin: &Origin, session: &[u8], epoch: &Epoch) -> Option<Event> {
        let id = ClientId::new(origin.gateway, origin.connection_id);
        let start = self.table().upsert(id, |state| state.adopt(origin, epoch.serial(), session));
        epoch.done().push(origin.connection_id, None);
        start
    }

    /// Forgets clients that are another worker's now, or nobody's. No handler runs for that.
    pub fn forget(&self, epoch: &Epoch, connection_ids: &[u32]) {
        for connection_id in connection_ids {
            self.table().update(ClientId::new(epoch.gateway(), *connection_id), |state| {
                if state.is_booked_in(epoch.serial()) {
                    state.leave();
                }
            });
        }
    }

    /// Gives the events of an epoch back that wait, as the worker drains. Returns what the gateway is told
    /// with RETURN. A started event whose handler has not begun is given back by
    /// [`return_started`](Self::return_started), one that comes later by
    /// [`return_arrived`](Self::return_arrived).
    ///
    /// What is given back is kept, as the gateway may die before another worker has it: until the client
    /// is [forgotten](Self::forget), or the epoch [superseded](Self::supersede) or [lost](Self::lose). It
    /// takes nothing of the budget. So for the time of a drain the worker may hold as much again as the budget
    /// is, and what was on its way: a gateway gives nothing more to a worker that has given something back.
    pub fn return_unbegun(&self, epoch: &Epoch) -> EventCounts {
        let (mut counts, mut cost) = (Vec::new(), 0);
        self.table().update_all(|id, state| {
            if epoch.phase() == Phase::Lost {
                return;
            }
            let unbegun = state.return_unbegun(epoch.serial());
            if unbegun.events > 0 {
                counts.push((id.connection_id(), unbegun.events));
                cost += unbegun.cost;
            }
        });
        self.budget().give_back(cost);
        // The order of a hashed map is nobody's business.
        counts.sort_unstable();
        EventCounts(counts)
    }

    /// Gives a started event back whose handler has not begun, with all of its epoch behind it. Returns
    /// what the gateway is told, and the client's next event, which is started by that.
    #[expect(clippy::result_large_err, reason = "the event goes on at once")]
    pub fn return_started(&self, event: Event, epoch: &Epoch) -> (EventCounts, Option<Event>) {
        let id = event.client_id();
        let returned = self.table().update(id, |state| {
            // Its gateway may be lost just now. The phase is set before the states are changed: either it is
            // seen here, or what is given back here is found.
            if epoch.phase() == Phase::Lost {
                Err(event)
            } else {
                Ok(state.return_started(event, epoch.serial()))
            }
        });
        match returned {
            None => (EventCounts::default(), None),
            Some(Err(event)) => (EventCounts::default(), Some(event)),
            Some(Ok((unbegun, finished))) => {
                self.budget().give_back(unbegun.cost);
                (EventCounts(vec![(id.connection_id(), unbegun.events)]), self.ended(finished))
            }
        }
    }

    /// Gives an event back that comes while the worker drains, and for which no budget is reserved. The
    /// gateway is told so. Returns an event to start, as [`adopt`](Self::adopt) does.
    pub fn return_arrived(&self, event: Event, epoch: &Epoch) -> Option<Event> {
        self.table().upsert(event.client_id(), |state| state.return_arrived(event, epoch.serial()))
    }

    /// Whether something depends on what has become of the gateway of an epoch that is over: one of its
    /// clients is this worker's.
    pub fn has_clients_of(&self, epoch: &Epoch) -> bool {
        self.kept_for(epoch).clients > 0
    }

    /// Returns what this worker has in case the gateway of an epoch is lost.
    pub fn kept_for(&self, epoch: &Epoch) -> Kept {
        let mut kept = Kept::default();
        self.table().update_all(|_, state| {
            if state.is_booked_in(epoch.serial()) {
                kept.clients += 1;
                kept.returned += state.kept_events();
            }
        });
        kept
    }

    /// The links of an epoch that is over have been read to their ends: its events are held until it is
    /// known what has become of the gateway. Meanwhile they take no room from the events of gateways that
    /// live. A gateway can have no more of them here than the budget allows, as it is not read while its
    /// events are held.
    pub fn hold(&self, epoch: &Epoch) {
        if epoch.phase() == Phase::Over {
            self.table().update_all(|_, state| state.hold(epoch.serial(), self.budget()));
        }
    }

    /// The same gateway process is back, or has let this worker go: drops what was held or given back of the
    /// epoch, and its books. The gateway has given these clients to others, or says anew that they are this
    /// worker's.
    pub fn supersede(&self, epoch: &Epoch) {
        epoch.decide(Phase::Superseded);
        self.table().update_all(|id, state| {
            if id.gateway() == epoch.gateway() {
                state.supersede(epoch.serial(), self.budget());
            }
        });
    }

    /// The gateway of an epoch is lost: its events that were held or given back run, which have their part of
    /// the budget again, even if it is not left; and the clients in its books are closed. Returns those for
    /// each of which [`close_lost`](Self::close_lost) is to be called: a few at a time, as nothing else
    /// bounds their number.
    pub fn lose(&self, epoch: &Epoch) -> Vec<ClientId> {
        epoch.decide(Phase::Lost);
        let mut closed = Vec::new();
        self.table().update_all(|id, state| {
            if id.gateway() == epoch.gateway() && state.lose(epoch.serial(), self.budget()) {
                closed.push(id);
            }
        });
        closed.sort_unstable();
        closed
    }

    /// Queues the close of a client whose gateway is lost, unless that was done already. It needs no
    /// budget. Returns an event to start: the close, or the first that was given back.
    pub fn close_lost(&self, id: ClientId) -> Option<Event> {
        self.table().update(id, |state| state.close_lost(id.gateway(), id.connection_id())).flatten()
    }

    /// Returns the number of events that run or wait, and how many of them their gateways give to other
    /// workers where this one does not finish them.
    pub fn unfinished(&self) -> Unfinished {
        let mut unfinished = Unfinished::default();
        self.table().update_all(|_, state| {
            unfinished.events += state.events();
            unfinished.given_to_others += if state.is_booked() { state.events() } else { 0 };
        });
        unfinished
    }
}
