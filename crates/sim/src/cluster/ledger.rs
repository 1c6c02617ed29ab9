//! What became of each client's events, and the invariants of their delivery: an onlooker's books.
//!
//! Gateways report which clients they have, which messages they have taken, which epochs are over; workers report
//! what their handlers see. Nothing flows back, but how often a poisonous message has ended a worker.

use std::collections::{BTreeMap, BTreeSet};

use gatewayworker_protocol::{ClientId, CloseReason};

use crate::epochs::{EpochName, Epochs, Life};
use crate::history::{ClientEvent, ClientHistory, CloseKind, Handling, HistoryOptions};
use crate::network::ProcessId;
use crate::violation::{Violation, ensure};

/// The books of all clients.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) epochs: Epochs,
    /// No process dies and no link is given up: nothing comes twice, nothing is marked.
    pub(super) is_calm: bool,
    options: HistoryOptions,
    max_deliveries: u32,
    clients: BTreeMap<ClientId, Record>,
    /// Epochs that were over for another reason than a poisonous message.
    innocent_ends: u32,
    /// How often a message has ended a worker.
    aborts: u32,
    /// Gateways that have stopped with closes that no worker has heard of, and have said so.
    gave_up: BTreeSet<Life>,
    /// Workers that know nothing any more.
    gone_workers: BTreeSet<Life>,
    /// What workers say to gateways that come back.
    said_closed: BTreeMap<(Life, Life), Vec<ClientId>>,
}

/// What is known of one client.
#[derive(Debug)]
struct Record {
    gateway: Life,
    history: ClientHistory,
    /// Why its gateway has let it go.
    reason: Option<CloseReason>,
    /// A worker has told its gateway to refuse it.
    is_refused: bool,
    /// How often a message of it has ended a worker.
    aborts: BTreeMap<u64, u32>,
    /// Its gateway is dead, and these workers know that the client was theirs.
    owners: BTreeSet<Life>,
    /// What workers have taken, and have to handle if the gateway dies.
    taken: BTreeMap<Life, Vec<ClientEvent>>,
}

impl Record {
    /// Checks that a worker has not dropped anything that it had taken of a client whose gateway is dead.
    fn check_taken(&self, id: ClientId, worker: Life) -> Result<(), Violation> {
        let taken = self.taken.get(&worker).into_iter().flatten();
        let missing = taken.copied().find(|event| !self.history.has_begun(*event));
        ensure(missing.is_none() || self.history.has_lost_events(), "events-survive-gateways", || {
            format!("client {id}: {worker:?} has dropped {missing:?} of {self:?}")
        })
    }
}

impl Ledger {
    pub(super) fn new(is_calm: bool, late_ms: u64, max_deliveries: u32, options: HistoryOptions) -> Self {
        Self {
            epochs: Epochs::new(late_ms),
            is_calm,
            options,
            max_deliveries,
            clients: BTreeMap::new(),
            innocent_ends: 0,
            aborts: 0,
            gave_up: BTreeSet::new(),
            gone_workers: BTreeSet::new(),
            said_closed: BTreeMap::new(),
        }
    }

    /// Hears that a gateway has a new client.
    pub(super) fn comes(&mut self, gateway: Life, id: ClientId) {
        let record = Record {
            gateway,
            history: ClientHistory::default(),
            reason: None,
            is_refused: false,
            aborts: BTreeMap::new(),
            owners: BTreeSet::new(),
            taken: BTreeMap::new(),
        };
        self.clients.insert(id, record);
    }

    /// Hears that a gateway has taken so many messages of a client by now.
    pub(super) fn accepts(&mut self, id: ClientId, messages: u64) {
        if let Some(record) = self.clients.get_mut(&id) {
            record.history.accepts(messages);
        }
    }

    /// Hears that a gateway has let a client go.
    pub(super) fn lets_go(&mut self, id: ClientId, reason: CloseReason) {
        let Some(record) = self.clients.get_mut(&id) else { return };
        record.reason = Some(reason);
        if matches!(reason, CloseReason::GatewayLost | CloseReason::Refused | CloseReason::NotAdmitted) {
            record.history.is_cut_short();
        }
    }

    /// Hears that a gateway has dropped an event that has ended one worker after another.
    pub(super) fn is_undeliverable(&mut self, id: ClientId, is_close: bool) -> Result<(), Violation> {
        let Some(record) = self.clients.get_mut(&id) else { return Ok(()) };
        record.history.is_cut_short();
        if is_close {
            record.history.drops_close();
        }
        // A last try is made without other suspects beside it, but not without a message that is poisonous
        // and has not ended a worker yet.
        let is_poisonous = self.aborts > 0 || self.innocent_ends > 0;
        ensure(is_poisonous, "only-poison-is-dropped", || format!("client {id}: {record:?}"))
    }

    /// Hears that a worker has taken an event from a gateway. Whether it begins with it or gives it back, the event
    /// outlives the gateway.
    pub(super) fn takes(&mut self, id: ClientId, event: ClientEvent, worker: Life) {
        if let Some(record) = self.clients.get_mut(&id) {
            record.taken.entry(worker).or_default().push(event);
        }
    }

    /// Hears that a gateway has told a worker that a client is not the worker's any more.
    pub(super) fn is_forgotten(&mut self, id: ClientId, worker: Life) {
        if let Some(record) = self.clients.get_mut(&id) {
            record.taken.remove(&worker);
        }
    }

    /// Hears that a gateway has let a worker go, or has paired with it again and tells it anew what is its own.
    pub(super) fn all_are_forgotten(&mut self, gateway: Life, worker: Life) {
        for record in self.clients.values_mut().filter(|record| record.gateway == gateway) {
            record.taken.remove(&worker);
        }
    }

    /// Hears that a worker refuses a client, and whether it could tell the client's gateway so.
    pub(super) fn refuses(&mut self, id: ClientId, is_told: bool) {
        if let Some(record) = self.clients.get_mut(&id) {
            record.is_refused |= is_told;
            record.history.is_cut_short();
        }
    }

    /// Hears that a handler begins.
    pub(super) fn begins(
        &mut self,
        id: ClientId,
        event: Seen,
        handling: Handling,
        now_ms: u64,
    ) -> Result<(), Violation> {
        let Some(record) = self.clients.get_mut(&id) else {
            return Err(Violation::new("clients-are-known", format!("client {id} of nowhere: {event:?}")));
        };
        let mut handling = handling;
        if handling.epoch.number == 0 {
            // It is the worker's own: the gateway that had the client is lost.
            handling.epoch.gateway = record.gateway;
        }
        let details = || format!("client {id}: {event:?} by {handling:?}, reason {:?}", record.reason);
        // Closes that a gateway gives up as it stops run as those of a lost gateway.
        let is_calm = self.is_calm && !self.gave_up.contains(&record.gateway);
        ensure(!is_calm || !handling.is_marked, "nothing-is-marked-in-peace", details)?;
        let event = match event {
            Seen::Event(event) => event,
            Seen::Close(reason) => {
                let said = record.reason.filter(|_| reason != CloseReason::GatewayLost);
                ensure(said.is_none_or(|said| said == reason), "closes-say-why", details)?;
                ClientEvent::Close(match reason {
                    CloseReason::GatewayLost => CloseKind::GatewayLost,
                    CloseReason::Refused | CloseReason::NotAdmitted | CloseReason::Undeliverable => {
                        CloseKind::CutShort
                    }
                    _ if record.is_refused || record.history.has_lost_events() => CloseKind::CutShort,
                    _ => CloseKind::Complete,
                })
            }
        };
        if let ClientEvent::Message(_) = event {
            let is_refused = record.is_refused && record.reason == Some(CloseReason::Refused);
            ensure(!is_refused, "refused-clients-are-not-served", details)?;
        }
        if let ClientEvent::Close(_) = event {
            record.owners.clear();
        }
        record.history.begin(number_of(id), event, handling, &self.epochs, now_ms, self.options)
    }

    /// Hears that the handler that a worker has begun last for a client has ended.
    pub(super) fn returned(&mut self, id: ClientId, worker: Life) {
        if let Some(record) = self.clients.get_mut(&id) {
            record.history.returned(worker);
        }
    }

    /// Hears which session the handler of a message gets: one that says how many messages were handled.
    pub(super) fn sees_session(
        &self,
        id: ClientId,
        number: u64,
        handled: Option<i64>,
        handling: Handling,
    ) -> Result<(), Violation> {
        // What is held of a gateway that is lost runs with what its worker knows.
        if self.epochs.may_be_lost(handling.epoch.gateway) || self.epochs.is_over(handling.epoch) {
            return Ok(());
        }
        let is_right = match handled {
            None => false,
            // An earlier handler of this message, and of those behind it, may have written.
            Some(handled) if handling.is_marked => handled >= number as i64,
            Some(handled) => handled == number as i64,
        };
        ensure(is_right || self.options.at_most_once, "sessions-are-the-newest", || {
            format!("client {id}: message {number} finds {handled:?}, by {handling:?}")
        })
    }

    /// Says whether a message that ends workers `times` times ends this one.
    pub(super) fn aborts(&mut self, id: ClientId, number: u64, times: u8) -> Result<bool, Violation> {
        let max = 3 * self.max_deliveries;
        let Some(record) = self.clients.get_mut(&id) else { return Ok(false) };
        let aborts = record.aborts.entry(number).or_default();
        if times < u8::MAX && *aborts >= times.into() {
            return Ok(false);
        }
        self.aborts += 1;
        *aborts += 1;
        let aborts = *aborts;
        ensure(aborts <= max, "poison-is-dropped", || {
            format!("client {id}: message {number}, {aborts} times")
        })?;
        Ok(true)
    }

    /// Says whether an event of a client was begun more than once.
    pub(super) fn has_repeats(&self, id: ClientId) -> bool {
        self.clients.get(&id).is_some_and(|record| record.history.has_repeats())
    }

    /// Says whether an event may be missing: it is given out once only.
    pub(super) fn may_miss_events(&self) -> bool {
        self.options.at_most_once
    }

    /// Hears that a worker says to a gateway for which clients on_close has run, as it was taken for lost.
    pub(super) fn says_closed(&mut self, worker: Life, gateway: Life, ids: impl Iterator<Item = ClientId>) {
        self.said_closed.insert((worker, gateway), ids.collect());
    }

    /// Hears that a worker is linked to a gateway: clients that it has closed are gone by then.
    pub(super) fn attaches(&mut self, worker: Life, gateway: Life) -> Result<(), Violation> {
        let ids = self.said_closed.remove(&(worker, gateway)).unwrap_or_default();
        let is_served = |id: &&ClientId| self.clients.get(id).is_some_and(|record| record.reason.is_none());
        let served = ids.iter().find(is_served);
        ensure(served.is_none(), "lost-clients-are-not-served", || format!("client {served:?}"))
    }

    /// Hears that a gateway has ended an epoch.
    pub(super) fn epoch_ends(&mut self, epoch: EpochName, now_ms: u64) {
        self.epochs.ends(epoch, now_ms);
    }

    /// Hears that something went wrong that is no message's fault.
    pub(super) fn has_trouble(&mut self) {
        self.innocent_ends += 1;
    }

    /// Hears that a worker has died.
    pub(super) fn worker_dies(&mut self, worker: Life) {
        for record in self.clients.values_mut() {
            record.history.returned(worker);
        }
        self.worker_leaves(worker);
    }

    /// Hears that a worker knows nothing of any client any more.
    pub(super) fn worker_leaves(&mut self, worker: Life) {
        self.gone_workers.insert(worker);
        for record in self.clients.values_mut() {
            record.owners.remove(&worker);
            record.taken.remove(&worker);
        }
    }

    /// Hears that a worker has drained and ends: no gateway that has died counts on it.
    pub(super) fn worker_has_drained(&mut self, worker: Life) -> Result<(), Violation> {
        let owned = self.clients.iter().find(|(_, record)| record.owners.contains(&worker));
        ensure(owned.is_none(), "closes-survive-gateways", || {
            format!("worker {worker:?} ends, and is the last that knows of {owned:?}")
        })?;
        self.clients.iter().try_for_each(|(id, record)| record.check_taken(*id, worker))?;
        self.worker_leaves(worker);
        Ok(())
    }

    /// Hears that a gateway has died.
    pub(super) fn gateway_dies(&mut self, gateway: Life, now_ms: u64) {
        self.epochs.gateway_dies(gateway, now_ms);
    }

    /// Hears that a gateway has died while this worker knew that the client was its own.
    pub(super) fn is_owned(&mut self, id: ClientId, worker: Life) {
        if !self.gone_workers.contains(&worker)
            && let Some(record) = self.clients.get_mut(&id)
            && record.history.is_connected()
            && !record.history.is_closed()
        {
            record.owners.insert(worker);
        }
    }

    /// Hears that a gateway that stops has given up closes, and has said so.
    pub(super) fn gives_up(&mut self, gateway: Life) {
        self.gave_up.insert(gateway);
    }

    /// Checks what holds when all clients are gone and all is quiet.
    pub(super) fn check_end(&self) -> Result<(), Violation> {
        for (id, record) in &self.clients {
            if self.gave_up.contains(&record.gateway) {
                continue;
            }
            if self.epochs.is_dead(record.gateway) {
                let is_told = record.owners.is_empty() || record.history.is_closed();
                ensure(is_told, "closes-survive-gateways", || format!("client {id}: {record:?}"))?;
                record.taken.keys().try_for_each(|worker| record.check_taken(*id, *worker))?;
                continue;
            }
            record.history.check_end(number_of(*id), &self.epochs, self.options)?;
        }
        Ok(())
    }
}

/// What an application sees: an event, or a close with its reason.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seen {
    Event(ClientEvent),
    Close(CloseReason),
}

fn number_of(id: ClientId) -> u64 {
    let process: ProcessId = super::process_of(id.gateway());
    (process as u64) << 32 | u64::from(id.connection_id())
}
