//! The clients of a worker: decides when each event's handler runs, with which session,
//! and what the client's gateway is told afterwards.
//!
//! Links enqueue events, handlers ask for sessions and report how they ended; the
//! [cycle](super) has the order of calls. The states are behind a [`ClientTable`], so the
//! same code runs on the worker's concurrent map and in a simulation.

use std::net::SocketAddrV4;

use bytes::Bytes;
use gatewayworker_client::{ClientId, php};
use gatewayworker_protocol::Command;

use super::admission::{Admission, Verdict};
use super::client_state::{Begin, Enqueued, Finished, SessionQuestion};
use super::epoch::{Epoch, Phase};
use super::event::{Event, EventKind};
use super::event_budget::EventBudget;
use super::session_version::SessionHasher;
use super::table::ClientTable;

/// The clients of a worker, and the budget of their events.
#[derive(Debug)]
pub struct Clients<T> {
    table: T,
    budget: EventBudget,
    hasher: SessionHasher,
}

/// How the handler of an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerOutcome {
    /// It returned `Ok`.
    Done,
    /// It returned `Err`.
    Failed,
    /// It panicked or was cancelled, with its work half done.
    Interrupted,
}

/// What a handler has done to its client's session.
#[derive(Debug, Default)]
pub struct SessionChanges {
    /// The session that should have come of the merges which the gateway was told of.
    pub merged: Option<Bytes>,
    /// The session that is to be written, where the handler has changed it.
    pub changed: Option<Bytes>,
}

/// What came of an event.
#[derive(Debug)]
pub enum Handled {
    /// A handler for a connect or a message has ended.
    Event {
        /// How it ended.
        outcome: HandlerOutcome,
        /// What it did to the session.
        changes: SessionChanges,
    },
    /// A handler for a handshake has ended.
    WebSocketConnect {
        /// How it ended.
        outcome: HandlerOutcome,
        /// What it did to the session.
        changes: SessionChanges,
        /// What it returned, if it did.
        admission: Option<Admission>,
        /// Whether the gateway waits for the answer, as the event said.
        gateway_asks: bool,
    },
    /// A handler for a close has ended. Its changes to the session are not kept.
    Close,
}

/// What the client's gateway is told after a handler: the session first, then the verdict.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Reply {
    /// The session to write.
    pub session: Option<Bytes>,
    /// The verdict on the handshake.
    pub verdict: Option<Verdict>,
}

impl Reply {
    /// Returns the reply as commands for the call link to the gateway of client `id`.
    pub fn into_commands(self, id: ClientId) -> Vec<Command> {
        let connection_id = id.connection_id();
        let session = self.session.map(|session| Command::SetSession { connection_id, session });
        let verdict = self.verdict.map(|verdict| match verdict {
            Verdict::Admit => Command::Admit(connection_id),
            Verdict::Refuse { message, code, .. } => {
                let message = message.map(|message| message.payload().clone());
                Command::Refuse { connection_id, message, code }
            }
        });
        session.into_iter().chain(verdict).collect()
    }
}

impl<T: ClientTable> Clients<T> {
    /// No clients, whose events may cost `budget` together, in bytes.
    pub fn new(table: T, budget: usize) -> Self {
        Self { table, budget: EventBudget::new(budget), hasher: SessionHasher::default() }
    }

    /// Reserves the cost of an event before it is [enqueued](Self::enqueue). False where
    /// the budget does not suffice: the caller keeps the event, reads no more from its
    /// gateway, and tries again after an event has [finished](Self::finish).
    pub fn try_reserve(&self, event: &Event) -> bool {
        self.budget.try_reserve(event.cost())
    }

    /// Puts an event, for which the budget was [reserved](Self::try_reserve), into its
    /// client's queue.
    pub fn enqueue(&self, event: Event) -> Enqueued {
        self.table.upsert(event.client_id(), |state| state.enqueue(event, &self.budget))
    }

    /// Decides whether the handler of a started event runs, and with which session.
    /// `session` is the one that came with the event.
    pub fn begin(&self, id: ClientId, kind: &EventKind, session: Bytes) -> Begin {
        // A started event has a state until it has finished.
        self.table.update(id, |state| state.begin(kind, session, &self.hasher)).unwrap_or(Begin::Skip)
    }

    /// Returns the session for a handler out of the gateway's answer to a question; `None`
    /// stands for a gateway that knows no such client, or has not answered.
    pub fn answered(&self, id: ClientId, question: SessionQuestion, answer: Option<Bytes>) -> Bytes {
        let Some(session) = answer else { return question.newest_known };
        self.table.update(id, |state| state.note_answer(question.writes, &session, &self.hasher));
        session
    }

    /// Notes that a gateway was told to replace a client's session, once that was handed
    /// to its link.
    ///
    /// Only clients with something going on are noted: those whose own handlers write.
    /// (Sessions written from elsewhere, or those of another worker's clients, would be
    /// kept for ever.)
    pub fn note_write(&self, id: ClientId, session: &[u8]) {
        self.table.update(id, |state| state.note_write(session, &self.hasher));
    }

    /// Notes that a gateway was told to merge `with` into a client's session, likewise.
    pub fn note_merge(&self, id: ClientId, with: &php::Array) {
        self.table.update(id, |state| state.note_merge(with));
    }

    /// Returns what the client's gateway is told after a handler has ended, for an event of this epoch.
    /// The write of the session is [noted](Self::note_write) when the gateway was told.
    pub fn complete(&self, id: ClientId, handled: Handled, epoch: Option<&Epoch>) -> Reply {
        match handled {
            Handled::Event { outcome, changes } => {
                Reply { session: self.session_to_write(id, outcome, changes), verdict: None }
            }
            Handled::WebSocketConnect { outcome, changes, admission, gateway_asks } => {
                let session = self.session_to_write(id, outcome, changes);
                let verdict = Verdict::of(admission, gateway_asks);
                if let Some(Verdict::Refuse { .. }) = verdict {
                    self.table.update(id, |state| {
                        // The gateway is not told any more, and asks anew: another worker may admit the
                        // client, and it may come back.
                        if epoch.is_none_or(|epoch| epoch.phase() != Phase::Superseded) {
                            state.refuse();
                        }
                    });
                }
                Reply { session, verdict }
            }
            Handled::Close => Reply::default(),
        }
    }

    fn session_to_write(
        &self,
        id: ClientId,
        outcome: HandlerOutcome,
        changes: SessionChanges,
    ) -> Option<Bytes> {
        if outcome == HandlerOutcome::Interrupted {
            return None;
        }
        if let Some(merged) = changes.merged {
            self.table.update(id, |state| state.note_expected_merge(&merged));
        }
        changes.changed
    }

    /// Ends the client's started event, whatever came of it: gives back its cost, and
    /// returns the client's next event, which is started by that.
    pub fn finish(&self, id: ClientId) -> Option<Event> {
        self.ended(self.table.update(id, |state| state.finish())?)
    }

    /// [`finish`](Self::finish) for a started event that is [dropped](super::Turn::Drop) instead: as if it
    /// had never come.
    pub fn drop_started(&self, id: ClientId) -> Option<Event> {
        self.ended(self.table.update(id, |state| state.skip())?)
    }

    pub(super) fn ended(&self, finished: Finished) -> Option<Event> {
        self.budget.give_back(finished.cost);
        finished.next
    }

    /// Forgets the clients of a gateway that does not acknowledge events, which are no longer this
    /// worker's. Events of theirs that have come are still handled.
    pub fn forget_gateway(&self, gateway: SocketAddrV4) {
        self.table.update_all(|id, state| {
            // Those with a book belong to an epoch, and to what becomes of that.
            if id.gateway() == gateway && !state.is_booked() {
                state.leave();
            }
        });
    }

    /// Returns the states.
    pub fn table(&self) -> &T {
        &self.table
    }

    /// Returns the budget of events.
    pub fn budget(&self) -> &EventBudget {
        &self.budget
    }
}
