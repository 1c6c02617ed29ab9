//! What all processes together have seen, and the invariants that only an onlooker can check.
//!
//! Workers and clients report here what their applications see; the gateway's node reports whom it has let go.
//! Nothing flows back: a process learns nothing from the observer.

use std::collections::{BTreeMap, BTreeSet};

use gatewayworker_protocol::ClientId;

use crate::history::{ClientEvent, ClientHistory, HistoryOptions};
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
    /// No worker drains, freezes or dies, so order and closes are asserted.
    pub(super) is_calm: bool,
    pub(super) questions: Questions,
    histories: BTreeMap<ClientId, ClientHistory>,
    /// Connections of which a worker has told the gateway that they are admitted.
    admitted: BTreeSet<ConnectionName>,
    admitted_ids: BTreeSet<ClientId>,
    /// Facts that a client has seen take effect, with the moment since when.
    facts: BTreeMap<Fact, BTreeMap<ClientId, u64>>,
    /// Clients that gateways have let go.
    gone: BTreeSet<ClientId>,
    moment: u64,
}

impl Observer {
    pub(super) fn new(is_calm: bool) -> Self {
        Self {
            is_calm,
            questions: Questions::default(),
            histories: BTreeMap::new(),
            admitted: BTreeSet::new(),
            admitted_ids: BTreeSet::new(),
            facts: BTreeMap::new(),
            gone: BTreeSet::new(),
            moment: 0,
        }
    }

    fn options(&self) -> HistoryOptions {
        HistoryOptions { complete: self.is_calm, no_overlap: self.is_calm }
    }

    /// Hears what an application sees of a client.
    pub(super) fn application_sees(&mut self, id: ClientId, event: ClientEvent) -> Result<(), Violation> {
        let options = self.options();
        self.histories.entry(id).or_default().add(number_of(id), event, options)
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
    pub(super) fn lets_go(&mut self, id: ClientId) {
        self.withdraw(id, |_| true);
        self.gone.insert(id);
    }

    /// Hears that a gateway has died, and its clients with it.
    pub(super) fn gateway_dies(&mut self, is_its: impl Fn(ClientId) -> bool) {
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
        for (id, history) in &self.histories {
            history.check_end(number_of(*id), self.options())?;
        }
        let left = self.facts.iter().find(|(_, clients)| !clients.is_empty());
        ensure(left.is_none(), "nothing-is-left", || format!("{left:?}"))
    }
}

fn number_of(id: ClientId) -> u64 {
    u64::from(id.gateway().ip().octets()[3]) << 32 | u64::from(id.connection_id())
}
