//! What the epochs of gateways do to the clients of a worker: clients come from other workers and go to
//! them, are given back when the worker drains, and are closed when their gateway is lost.
//!
//! The event link and the shell around it call these methods; the way of an event is in `clients`.

use gatewayworker_client::ClientId;
use gatewayworker_protocol::{EventCounts, Origin};

use super::clients::Clients;
use super::epoch::{Epoch, Phase};
use super::event::{Event, EventKind};
use super::table::ClientTable;

/// The events that have not finished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// All that run or wait.
    pub events: usize,
    /// Those of gateways that acknowledge events.
    pub given_to_others: usize,
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

    /// Takes out of the queues the events of an epoch whose handlers have not begun, as the worker drains.
    /// The gateway is told with RETURN. A started event whose handler has not begun is returned by
    /// [`return_started`](Self::return_started).
    pub fn take_unbegun(&self, epoch: &Epoch) -> EventCounts {
        let (mut counts, mut cost) = (Vec::new(), 0);
        self.table().update_all(|id, state| {
            let taken = state.take_unbegun(epoch.serial());
            if taken.events > 0 {
                counts.push((id.connection_id(), taken.events));
                cost += taken.cost;
            }
        });
        self.budget().give_back(cost);
        // The order of a hashed map is nobody's business.
        counts.sort_unstable();
        EventCounts(counts)
    }

    /// Returns a started event whose handler has not begun, with all of its epoch behind it: how many
    /// the gateway is told of, and the client's next event, which is started by that.
    pub fn return_started(&self, id: ClientId, event: &Event, epoch: &Epoch) -> (EventCounts, Option<Event>) {
        let mut behind = 0;
        self.table().update(id, |state| {
            let taken = state.take_unbegun(epoch.serial());
            self.budget().give_back(taken.cost);
            behind = taken.events;
            if matches!(event.kind, EventKind::Connect) {
                state.leave();
            }
        });
        let next = self.drop_started(id);
        (EventCounts(vec![(id.connection_id(), 1 + behind)]), next)
    }

    /// Whether something depends on what has become of the gateway of an epoch that is over: one of its
    /// clients is this worker's.
    pub fn has_clients_of(&self, epoch: &Epoch) -> bool {
        self.clients_of(epoch) > 0
    }

    /// Returns how many clients are this worker's in an epoch.
    pub fn clients_of(&self, epoch: &Epoch) -> usize {
        let mut clients = 0;
        self.table().update_all(|_, state| clients += usize::from(state.is_booked_in(epoch.serial())));
        clients
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

    /// The same gateway process is back: drops what was held of the epoch, and its books. The gateway has
    /// given these clients to others, or says anew that they are this worker's.
    pub fn supersede(&self, epoch: &Epoch) {
        epoch.decide(Phase::Superseded);
        self.table().update_all(|id, state| {
            if id.gateway() == epoch.gateway() {
                state.supersede(epoch.serial(), self.budget());
            }
        });
    }

    /// The gateway of an epoch is lost: its events that were held run, which have their part of the budget
    /// again, even if it is not left; and the clients in its books are closed. Returns those, for each of
    /// which [`close_lost`](Self::close_lost) is to be called: a few at a time, as nothing else bounds
    /// their number.
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

    /// Queues the close of a client whose gateway is lost, unless that was done already. Returns the
    /// event where it is its turn at once. It needs no budget.
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
