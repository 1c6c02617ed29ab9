//! What a worker that stops gives back, and the closes of clients whose gateway is lost: the parts of the
//! event queues that `serve` and `link` begin, not an event.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gatewayworker_client::ClientId;
use gatewayworker_protocol::EventCounts;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::Events;
use crate::core::{Epoch, Event, Previous};
use crate::event_queues::EventQueues;

/// How many clients of a lost gateway are closed side by side, at most.
const CLOSES_AT_ONCE: usize = 256;

impl<E: Events> EventQueues<E> {
    /// Gives back the events of an epoch whose handlers have not begun. Those that a task is about to
    /// begin, it gives back itself. `core` keeps them, in case the gateway dies beside the drain.
    pub(crate) fn return_unbegun(&self, epoch: &Epoch) {
        let counts = self.clients.return_unbegun(epoch);
        self.wake_for_room();
        self.tell_return(epoch, counts, false);
    }

    /// Gives back an event that has come while the worker drains.
    pub(crate) fn return_arrived(self: &Arc<Self>, event: Event, epoch: &Epoch) {
        let id = event.client_id();
        if let Some(started) = self.clients.return_arrived(event, epoch) {
            self.spawn(started);
        }
        self.tell_returned(epoch, id);
    }

    /// Gives back a started event whose handler has not begun, or has given it back. Returns the client's next event.
    pub(crate) fn return_started(&self, event: Event) -> Option<Event> {
        // Only events of an epoch are given back.
        let Some(epoch) = event.epoch.clone() else { return Some(event) };
        // Its gateway knows already of a mark of its own.
        let is_begun = event.redelivered;
        let (counts, next) = self.clients.return_started(event, &epoch);
        self.tell_return(&epoch, counts, is_begun);
        next
    }

    /// Tells a gateway that it gets one event of a client back.
    pub(crate) fn tell_returned(&self, epoch: &Epoch, id: ClientId) {
        self.tell_return(epoch, EventCounts(vec![(id.connection_id(), 1)]), false);
    }

    /// Tells a gateway which events it gets back, and whether the first of each client was begun.
    fn tell_return(&self, epoch: &Epoch, counts: EventCounts, is_begun: bool) {
        let events: u64 = counts.0.iter().map(|(_, events)| u64::from(*events)).sum();
        if events > 0 {
            self.handler.stats.returned.fetch_add(events, Ordering::Relaxed);
            // Where the call link has ended, the gateway takes them back by itself.
            let _ = self.handler.worker.tell_return(epoch.gateway(), epoch.number(), counts, is_begun);
        }
    }

    /// Carries out what has become of an epoch, as its gateway is paired again.
    pub(crate) fn settle(self: &Arc<Self>, previous: &Previous) {
        match previous {
            Previous::Superseded(epoch) => self.supersede(epoch),
            Previous::Lost(epoch) => self.lose_replaced(epoch),
        }
    }

    /// Holds the events of an epoch whose event link has been read to its end, in no other gateway's room.
    pub(crate) fn hold(&self, epoch: &Epoch) {
        self.clients.hold(epoch);
        self.wake_for_room();
    }

    /// Drops the events of an epoch that are held or were given back, as the gateway lives or nothing depends
    /// on it.
    pub(crate) fn supersede(&self, epoch: &Epoch) {
        self.clients.supersede(epoch);
        self.wake_for_room();
        self.epochs.wake();
    }

    /// A gateway that does not acknowledge events has this address now. If another one had it, that is
    /// lost.
    pub(crate) fn replaced(self: &Arc<Self>, gateway: SocketAddrV4) {
        let lost = self.epochs.pairings().lose(gateway);
        if let Some(epoch) = lost {
            self.lose_replaced(&epoch);
        }
    }

    fn lose_replaced(self: &Arc<Self>, epoch: &Epoch) {
        warn!(
            gateway = %epoch.gateway(),
            "another process has taken the gateway's place: its clients are closed as gateway-lost"
        );
        // It does not come back under this address, so nobody has to be told.
        drop(self.lose(epoch));
    }

    /// Runs the events of a lost gateway that were held or given back, and `on_close` for its clients.
    /// Returns their connections.
    pub(crate) fn lose(self: &Arc<Self>, epoch: &Epoch) -> Vec<u32> {
        let clients = self.clients.lose(epoch);
        let connections = clients.iter().map(ClientId::connection_id).collect();
        self.epochs.wake();
        if !clients.is_empty() {
            self.tasks.spawn_on(self.clone().close_clients(epoch.gateway(), clients), &self.runtime);
        }
        connections
    }

    /// Gives up a gateway whose epoch is over, and that is gone as far as can be known.
    pub(crate) fn give_up(self: &Arc<Self>, gateway: SocketAddrV4) {
        // A worker that stops waits until nothing is undecided, and then for what that has begun.
        let _begins = self.tasks.token();
        let Some(epoch) = self.epochs.pairings().lose(gateway) else { return };
        warn!(
            %gateway,
            "the gateway is lost: it is not linked, and no register has listed it for gateway_lost_after_ms. \
             Its clients are closed as gateway-lost"
        );
        let connections = self.lose(&epoch);
        self.epochs.pairings().remember_closed(gateway, epoch.instance(), connections);
    }

    async fn close_clients(self: Arc<Self>, gateway: SocketAddrV4, clients: Vec<ClientId>) {
        let count = clients.len();
        let mut closing = JoinSet::new();
        for id in clients {
            // Where an event of its client runs, the queue of that client runs it.
            let Some(event) = self.clients.close_lost(id) else { continue };
            if closing.len() >= CLOSES_AT_ONCE {
                closing.join_next().await;
            }
            closing.spawn(self.clone().run(event));
        }
        while closing.join_next().await.is_some() {}
        info!(%gateway, clients = count, "on_close has run for the clients of the lost gateway");
    }
}
