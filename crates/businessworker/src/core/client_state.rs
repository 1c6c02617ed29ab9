//! The state of one client in the worker: its event queue, the version of its session, and
//! whether it was refused.
//!
//! [`Clients`](super::Clients) keeps one for each client that has an event, a written
//! session or a refusal, and calls every method in here. Plain data: nothing waits, and
//! nothing is sent.

use std::collections::VecDeque;

use bytes::Bytes;
use gatewayworker_client::php;

use super::event::{Event, EventKind};
use super::session_version::{Freshness, SessionHasher, SessionVersion};

/// What the worker knows of one client.
#[derive(Debug, Default)]
pub struct ClientState {
    /// The event whose handler runs, or is about to.
    running: Option<Running>,
    /// The events behind it, in the order in which they left the gateway.
    waiting: VecDeque<Event>,
    session: SessionVersion,
    /// The client was refused and may have messages under way.
    refused: bool,
    /// The gateway has taken the client away from this worker while its events ran or waited here.
    lost: bool,
}

#[derive(Debug)]
struct Running {
    cost: usize,
    /// The event is the client's last.
    is_close: bool,
}

impl Running {
    fn of(event: &Event) -> Self {
        Self { cost: event.cost(), is_close: matches!(event.kind, EventKind::Close(_)) }
    }
}

/// What happens to an event when it is its turn.
#[derive(Debug)]
pub enum Begin {
    /// No handler runs for it: the client was refused.
    Skip,
    /// Its handler runs with this session.
    Run(Bytes),
    /// The gateway is asked for the session first.
    Ask(SessionQuestion),
}

/// A question for a session that the gateway has to be asked.
#[derive(Debug)]
pub struct SessionQuestion {
    /// The number of writes before the question.
    pub(super) writes: u64,
    /// The session for the handler where the gateway cannot say.
    pub(super) newest_known: Bytes,
}

/// What follows the end of an event's handler.
#[derive(Debug)]
pub(super) struct Finished {
    /// The cost that the event had reserved.
    pub(super) cost: usize,
    /// The client's next event.
    pub(super) next: Option<Event>,
}

impl ClientState {
    /// Takes an event; returns it where it is its turn at once.
    pub(super) fn enqueue(&mut self, event: Event) -> Option<Event> {
        // The gateway has linked this worker again, and the client is this worker's again.
        self.lost = false;
        if self.running.is_some() {
            self.waiting.push_back(event);
            return None;
        }
        self.running = Some(Running::of(&event));
        Some(event)
    }

    /// Decides which session the handler of an event gets, if it runs at all.
    pub(super) fn begin(&mut self, kind: &EventKind, session: Bytes, hasher: &SessionHasher) -> Begin {
        match kind {
            EventKind::Connect => {
                // A gateway that restarted may use the id again.
                self.forget();
                Begin::Run(session)
            }
            EventKind::Close(_) => match self.session.check(session, hasher) {
                // The gateway no longer knows the client: there is nobody to ask.
                Freshness::Fresh(session) | Freshness::MaybeStale { newest_known: session, .. } => {
                    Begin::Run(session)
                }
            },
            _ if self.refused => Begin::Skip,
            _ => match self.session.check(session, hasher) {
                Freshness::Fresh(session) => Begin::Run(session),
                Freshness::MaybeStale { writes, newest_known } => {
                    Begin::Ask(SessionQuestion { writes, newest_known })
                }
            },
        }
    }

    pub(super) fn note_answer(&mut self, writes: u64, session: &[u8], hasher: &SessionHasher) {
        self.session.note_answer(writes, session, hasher);
    }

    pub(super) fn note_write(&mut self, session: &[u8], hasher: &SessionHasher) {
        self.session.note_write(session, hasher);
    }

    pub(super) fn note_merge(&mut self, with: &php::Array) {
        self.session.note_merge(with);
    }

    pub(super) fn note_expected_merge(&mut self, merged: Bytes) {
        self.session.note_expected_merge(merged);
    }

    pub(super) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Ends the event that runs, and starts the next. After the client's last event nothing
    /// is known of it any more, not even what `on_close` wrote. The last event is the close,
    /// or whatever is the last here of a client whose gateway has taken it away.
    pub(super) fn finish(&mut self) -> Finished {
        let next = self.waiting.pop_front();
        let ended = std::mem::replace(&mut self.running, next.as_ref().map(Running::of));
        if ended.as_ref().is_some_and(|ended| ended.is_close) || (self.lost && next.is_none()) {
            self.forget();
        }
        Finished { cost: ended.map_or(0, |ended| ended.cost), next }
    }

    /// The client's gateway has taken the client away from this worker. Where events of
    /// the client wait here, what is known of it still holds for them.
    pub(super) fn lost_gateway(&mut self) {
        match self.running {
            None => self.forget(),
            Some(_) => self.lost = true,
        }
    }

    fn forget(&mut self) {
        self.session.forget();
        self.refused = false;
    }

    /// Returns whether there is nothing left to know.
    pub fn is_empty(&self) -> bool {
        self.running.is_none() && !self.refused && self.session.is_unwritten()
    }

    #[cfg(test)]
    pub(crate) fn has_written_session(&self) -> bool {
        !self.session.is_unwritten()
    }
}
