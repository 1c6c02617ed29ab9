//! What all processes together have seen, and the invariants that only an onlooker can check.
//!
//! Workers and clients report here what their applications see; the gateway's node reports whom it has let go.
//! `ledger` has the events of clients. Nothing flows back: a process learns nothing from the observer, but what
//! the registers say.

use std::collections::{BTreeMap, BTreeSet};

use gatewayworker_protocol::{ClientId, CloseReason};

use super::ledger::Ledger;
use super::witness::Witness;
use crate::client_script::{ClientAction, Request};
use crate::epochs::{EpochName, Life};
use crate::network::ProcessId;
use crate::questions::Questions;
use crate::violation::{Violation, ensure};

/// A connection of a simulated client: its process, and how often that has connected before.
pub(super) type ConnectionName = (ProcessId, u64);

/// Something that an answer has to say of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fact {
    /// It is connected and admitted.
    Listed,
    /// It is a member of the group.
    Group(u8),
    /// It is bound to the uid.
    Uid(u8),
}

/// The onlooker.
#[derive(Debug)]
pub(super) struct Observer {
    /// What processes may ask: the registers.
    pub(super) registers: Witness,
    pub(super) ledger: Ledger,
    pub(super) questions: Questions,
    /// Connections of which a worker has told the gateway that they are admitted.
    admitted: BTreeSet<ConnectionName>,
    admitted_ids: BTreeSet<ClientId>,
    /// Facts that a client has seen take effect, with the moment since when.
    facts: BTreeMap<Fact, BTreeMap<ClientId, u64>>,
    /// Clients that gateways have let go.
    gone: BTreeSet<ClientId>,
    /// Gateways and workers that have lost a link: what was said on it may be lost.
    parted: BTreeSet<(ProcessId, Life)>,
    moment: u64,
    /// What was seen where nothing can be returned.
    violation: Option<Violation>,
}

impl Observer {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self {
            registers: Witness::default(),
            ledger,
            questions: Questions::default(),
            admitted: BTreeSet::new(),
            admitted_ids: BTreeSet::new(),
            facts: BTreeMap::new(),
            gone: BTreeSet::new(),
            parted: BTreeSet::new(),
            moment: 0,
            violation: None,
        }
    }

    /// Hears of a broken invariant where nothing can be returned.
    pub(super) fn sees(&mut self, invariant: &'static str, details: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(|| Violation::new(invariant, details()));
    }

    /// Returns what was seen where nothing could be returned.
    ///
    /// # Errors
    /// When it breaks an invariant.
    pub(super) fn check(&mut self) -> Result<(), Violation> {
        self.violation.take().map_or(Ok(()), Err)
    }

    /// Hears that a handler begins with a request, perhaps not for the first time: what it undoes is not sure.
    pub(super) fn begins_request(&mut self, id: ClientId, request: Request) {
        match request.action {
            ClientAction::LeaveGroup(name) => {
                self.withdraw(id, |fact| fact == Fact::Group(name));
                if name == 0 {
                    self.withdraw(id, |fact| matches!(fact, Fact::Uid(_)));
                }
            }
            ClientAction::Bind(_) => self.withdraw(id, |fact| matches!(fact, Fact::Uid(_))),
            _ => {}
        }
    }

    /// Hears that a worker is linked to a gateway.
    pub(super) fn attaches(&mut self, worker: Life, gateway: Life) {
        if let Err(violation) = self.ledger.attaches(worker, gateway) {
            self.violation.get_or_insert(violation);
        }
    }

    /// Hears that a gateway has ended an epoch of a worker.
    pub(super) fn epoch_ends(&mut self, epoch: EpochName, worker: Life, now_ms: u64) {
        self.ledger.epoch_ends(epoch, now_ms);
        self.parted.insert((epoch.gateway.process, worker));
    }

    /// Says whether what a worker has told a gateway may be lost.
    pub(super) fn are_parted(&self, gateway: ProcessId, worker: Life) -> bool {
        self.parted.contains(&(gateway, worker))
    }

    /// Hears that a worker was stopped before it had done everything, with these questions open.
    pub(super) fn worker_ends_early(&mut self, worker: Life, open: Vec<u64>) {
        for question in open {
            // Each is open: it cannot have been settled before.
            let _ = self.questions.failed(question);
        }
        self.ledger.worker_dies(worker);
    }

    /// Hears that a worker has told the gateway to admit a client.
    pub(super) fn admits(&mut self, id: ClientId, connection: ConnectionName) {
        self.admitted.insert(connection);
        self.admitted_ids.insert(id);
    }

    /// Hears that a client has got something that is meant for many.
    pub(super) fn gets_for_many(&self, connection: ConnectionName) -> Result<(), Violation> {
        ensure(self.admitted.contains(&connection), "nothing-for-many-before-admission", || {
            format!("client {} on its connection {}", connection.0, connection.1)
        })
    }

    /// Hears that something has taken effect for a client; it holds until it is [withdrawn](Self::withdraw).
    pub(super) fn confirm(&mut self, id: ClientId, fact: Fact) {
        self.moment += 1;
        if !self.gone.contains(&id) {
            self.facts.entry(fact).or_default().entry(id).or_insert(self.moment);
        }
    }

    /// Hears that somebody has begun to undo it.
    pub(super) fn withdraw(&mut self, id: ClientId, is_meant: impl Fn(Fact) -> bool) {
        for (fact, clients) in &mut self.facts {
            if is_meant(*fact) {
                clients.remove(&id);
            }
        }
    }

    /// Hears that a gateway has let a client go.
    pub(super) fn lets_go(&mut self, id: ClientId, reason: CloseReason) {
        self.withdraw(id, |_| true);
        self.gone.insert(id);
        self.ledger.lets_go(id, reason);
    }

    /// Hears that a gateway has dropped an event that has ended one worker after another.
    pub(super) fn is_undeliverable(&mut self, id: ClientId, command: &str) {
        if let Err(violation) = self.ledger.is_undeliverable(id, command == "ON_CLOSE") {
            self.violation.get_or_insert(violation);
        }
    }

    /// Hears that a gateway has died, and its clients with it.
    pub(super) fn gateway_dies(&mut self, gateway: Life, now_ms: u64, is_its: impl Fn(ClientId) -> bool) {
        self.ledger.gateway_dies(gateway, now_ms);
        self.registers.ends(gateway.process);
        for clients in self.facts.values_mut() {
            clients.retain(|id, _| !is_its(*id));
        }
    }

    /// Returns the moment, for a question that is asked now.
    pub(super) fn now(&self) -> u64 {
        self.moment
    }

    /// Hears a whole answer to a question that was asked at the moment `since`: these clients.
    pub(super) fn is_answered(&self, fact: Fact, since: u64, listed: &[ClientId]) -> Result<(), Violation> {
        let listed: BTreeSet<&ClientId> = listed.iter().collect();
        let facts = self.facts.get(&fact).into_iter().flatten();
        for (id, _) in facts.filter(|(_, confirmed)| **confirmed <= since) {
            let details = || format!("{fact:?}: client {id} is missing among {listed:?}");
            ensure(listed.contains(id), "answers-are-whole", details)?;
        }
        if fact == Fact::Listed {
            let pending = listed.iter().find(|id| !self.admitted_ids.contains(id));
            let details = || format!("client {pending:?} is listed, and not admitted");
            ensure(pending.is_none(), "nobody-is-listed-before-admission", details)?;
        }
        Ok(())
    }

    /// Checks what holds when all clients are gone and all is quiet.
    pub(super) fn check_end(&self) -> Result<(), Violation> {
        self.questions.check_end()?;
        self.ledger.check_end()?;
        let left = self.facts.iter().find(|(_, clients)| !clients.is_empty());
        ensure(left.is_none(), "nothing-is-left", || format!("{left:?}"))
    }
}
