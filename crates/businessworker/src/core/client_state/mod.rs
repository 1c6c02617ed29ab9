//! The state of one client in the worker: its event queue, the version of its session, whether it
//! was refused, and its book.
//!
//! [`Clients`](super::Clients) keeps one for each client that has an event, a written
//! session, a refusal or a book, and calls every method in here. Plain data: nothing waits, and
//! nothing is sent. What epochs do to the client is in `epochs`.

mod epochs;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_client::php;
use gatewayworker_protocol::{MAX_FRAME_LEN, Origin};

use super::book::Book;
use super::epoch::Epoch;
use super::event::{Event, EventKind, Standing};
use super::event_budget::EventBudget;
use super::session_version::{Freshness, SessionHasher, SessionVersion};

/// How many waiting events a queue has room for when it is made.
const FIRST_ROOM: usize = 8;

/// What the worker knows of one client.
// A client that does nothing costs 72 bytes with its id, beside its session.
#[derive(Debug, Default)]
pub struct ClientState {
    /// The newest session that is known here. Kept while there is a book, or the last write may have to
    /// stand in for an answer of the gateway.
    known: Option<Box<[u8]>>,
    /// The events behind the one that runs, in the order in which they left the gateway. Those that were
    /// given back are the last.
    #[expect(clippy::box_collection, reason = "most clients have none, and this is four times as small")]
    waiting: Option<Box<VecDeque<Event>>>,
    session: SessionVersion,
    /// The client is this worker's, at a gateway that acknowledges events.
    book: Option<Book>,
    /// What the event that runs costs.
    cost: u32,
    running: Running,
    /// The gateway of the event that runs is missing, and the event is not charged to the budget.
    is_held: bool,
    /// The client was refused and may have messages under way.
    refused: bool,
    departure: Departure,
}

/// How the client goes, beside its close.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Departure {
    #[default]
    None,
    /// The gateway has taken it away from this worker while its events ran or waited here.
    Taken,
    /// Its gateway is lost, and `on_close` has not been queued yet.
    CloseDue,
    /// The close here is that of an earlier client with the same id. The book is that of the client that
    /// this worker has taken over behind it.
    Followed,
}

/// The event whose handler runs, or is about to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Running {
    #[default]
    Nothing,
    Event,
    /// The client's last event.
    Close,
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
    pub(super) writes: u32,
    /// The session for the handler where the gateway cannot say.
    pub(super) newest_known: Bytes,
    /// The session in the event.
    in_event: Bytes,
}

impl SessionQuestion {
    /// Takes the session back that the event came with: the question is to be asked anew.
    pub fn into_session_of_event(self) -> Bytes {
        self.in_event
    }
}

/// What follows the end of an event's handler.
#[derive(Debug)]
pub(super) struct Finished {
    /// What the event was charged to the budget.
    pub(super) cost: usize,
    /// The client's next event.
    pub(super) next: Option<Event>,
}

/// Whether the handler of an enqueued event can run.
#[derive(Debug)]
pub enum Enqueued {
    /// This one's can: no other event of the client is there.
    Start(Event),
    /// The event waits until those of its client before it have finished.
    Queued,
    /// Those of its client before it were given back to the gateway, and so is this one: the gateway of
    /// the epoch is to be told.
    Returned(Arc<Epoch>),
}

impl ClientState {
    /// Takes an event, for which the budget was reserved.
    pub(super) fn enqueue(&mut self, event: Event, budget: &EventBudget) -> Enqueued {
        let mut start = None;
        match &event.epoch {
            Some(epoch) if self.has_returned(epoch.serial()) => {
                let epoch = epoch.clone();
                budget.give_back(event.cost());
                self.keep_returned(event);
                return Enqueued::Returned(epoch);
            }
            Some(epoch) => start = self.enter(&event.origin, epoch.serial()),
            None => self.come_back(),
        }
        self.queue(event).or(start).map_or(Enqueued::Queued, Enqueued::Start)
    }

    /// Puts an event into the queue; returns one to start.
    fn queue(&mut self, event: Event) -> Option<Event> {
        if self.running == Running::Nothing && self.waiting.is_none() {
            self.run(&event);
            return Some(event);
        }
        self.push_back(event);
        self.start_next()
    }

    fn push_back(&mut self, event: Event) {
        if self.departure == Departure::Followed && event.is_close() {
            // The last close here is that of the client that has followed.
            self.departure = Departure::None;
        }
        self.waiting_mut().push_back(event);
    }

    fn waiting_mut(&mut self) -> &mut VecDeque<Event> {
        self.waiting.get_or_insert_with(|| Box::new(VecDeque::with_capacity(FIRST_ROOM)))
    }

    /// Starts the next event, unless one runs.
    fn start_next(&mut self) -> Option<Event> {
        if self.running != Running::Nothing {
            return None;
        }
        let next = self.pop_next();
        if let Some(next) = &next {
            self.run(next);
        }
        next
    }

    /// Takes the next event out of the queue that is not given back.
    fn pop_next(&mut self) -> Option<Event> {
        let waiting = self.waiting.as_mut()?;
        if waiting.front()?.standing == Standing::Returned {
            return None;
        }
        let next = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting = None;
        }
        next
    }

    fn run(&mut self, event: &Event) {
        self.cost = event.cost().try_into().unwrap_or(u32::MAX);
        self.is_held = event.standing == Standing::Held;
        self.running = if event.is_close() { Running::Close } else { Running::Event };
    }

    /// Enters the client into the books, as its gateway says in an epoch that it is this worker's.
    /// Returns an event to start: where a client of a lost gateway had the same id, its close is first.
    fn enter(&mut self, origin: &Origin, epoch: NonZeroU32) -> Option<Event> {
        let is_another = self.book.as_ref().is_some_and(|book| book.epoch != epoch);
        let start = if is_another { self.close_lost(origin.gateway, origin.connection_id) } else { None };
        self.book = Some(Book::new(origin, epoch));
        self.come_back();
        start
    }

    /// The gateway has linked this worker again, and the client is this worker's again.
    fn come_back(&mut self) {
        if self.departure == Departure::Taken {
            self.departure = Departure::None;
        }
    }

    /// Takes the client over from another worker, with the session of now. Returns an event to start,
    /// as [`enter`](Self::enter) does.
    pub(super) fn adopt(&mut self, origin: &Origin, epoch: NonZeroU32, session: &[u8]) -> Option<Event> {
        let start = self.enter(origin, epoch);
        if self.has_close() {
            // What is known here is of the client before, whose events are still to be handled.
            self.departure = Departure::Followed;
            return start;
        }
        // Whatever is known here is from before it went to the other worker. That it was refused, too: a
        // gateway that has not read so gives its handshake again, and one that has closes it.
        self.forget_client();
        self.learn(session);
        start
    }

    /// Whether the last event here is the client's close.
    fn has_close(&self) -> bool {
        let last = self.waiting.as_ref().and_then(|waiting| waiting.back());
        last.map_or(self.running == Running::Close, Event::is_close)
    }

    /// Decides which session the handler of an event gets, if it runs at all.
    pub(super) fn begin(&mut self, kind: &EventKind, session: Bytes, hasher: &SessionHasher) -> Begin {
        match kind {
            EventKind::Connect => {
                // A gateway that restarted may use the id again.
                self.forget_client();
                self.learn(&session);
                Begin::Run(session)
            }
            // The gateway no longer knows the client: there is nobody to ask.
            EventKind::Close(_) => match self.check(session, hasher) {
                Begin::Ask(question) => Begin::Run(question.newest_known),
                fresh => fresh,
            },
            // It comes again only where the gateway has not heard the answer.
            EventKind::WebSocketConnect { .. } => {
                self.refused = false;
                self.check(session, hasher)
            }
            _ if self.refused => Begin::Skip,
            _ => self.check(session, hasher),
        }
    }

    fn check(&mut self, session: Bytes, hasher: &SessionHasher) -> Begin {
        match self.session.check(&session, hasher) {
            Freshness::Unwritten => self.learn(&session),
            Freshness::Same => {}
            // A client with a book has it all its life.
            Freshness::Confirmed if self.book.is_none() => self.known = None,
            Freshness::Confirmed => {}
            Freshness::MaybeStale(writes) => {
                let known = self.known.as_deref().map(Bytes::copy_from_slice);
                let newest_known = known.unwrap_or_else(|| session.clone());
                return Begin::Ask(SessionQuestion { writes, newest_known, in_event: session });
            }
        }
        Begin::Run(session)
    }

    /// Remembers a session that was seen, for a client with a book.
    fn learn(&mut self, session: &[u8]) {
        if self.book.is_some() {
            self.know(session);
        }
    }

    fn know(&mut self, session: &[u8]) {
        match &mut self.known {
            Some(known) if known.len() == session.len() => known.copy_from_slice(session),
            known => *known = Some(session.into()),
        }
    }

    pub(super) fn note_answer(&mut self, writes: u32, session: &[u8], hasher: &SessionHasher) {
        if self.session.note_answer(writes, session, hasher) {
            self.know(session);
        }
    }

    pub(super) fn note_write(&mut self, session: &[u8], hasher: &SessionHasher) {
        self.session.note_write(session, hasher);
        self.know(session);
    }

    pub(super) fn note_merge(&mut self, with: &php::Array) {
        let with = php::serialize(&php::Value::Array(with.clone()));
        self.session.note_merge();
        let merged =
            self.known.take().and_then(|known| php::merge_sessions(&known, &with, MAX_FRAME_LEN).ok());
        self.known = merged.map(Vec::into_boxed_slice);
    }

    /// Notes the session that the last merge is expected to have produced. It is used only if
    /// the gateway does not answer.
    pub(super) fn note_expected_merge(&mut self, merged: &[u8]) {
        if self.session.is_merged() {
            self.know(merged);
        }
    }

    pub(super) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Ends the event that runs, and starts the next. After the client's last event nothing
    /// is known of it any more, not even what `on_close` wrote.
    pub(super) fn finish(&mut self) -> Finished {
        let was_close = self.running == Running::Close;
        let departure = self.departure;
        let finished = self.skip();
        let is_last = finished.next.is_none() && self.waiting.is_none();
        match departure {
            // What is behind the close is of another client that has got its id.
            Departure::Followed | Departure::CloseDue if was_close => self.forget_client(),
            _ if was_close => {
                self.forget_client();
                if is_last {
                    self.book = None;
                }
            }
            _ => {}
        }
        finished
    }

    /// Ends an event for which no handler was to run, and starts the next. Behind the last one of a client
    /// that its gateway has taken away, nothing is known of it any more.
    pub(super) fn skip(&mut self) -> Finished {
        let cost = if std::mem::take(&mut self.is_held) { 0 } else { self.cost as usize };
        self.cost = 0;
        let next = self.pop_next();
        if self.running == Running::Close && self.departure == Departure::Followed {
            self.departure = Departure::None;
        }
        match &next {
            Some(next) => self.run(next),
            None => {
                self.running = Running::Nothing;
                if self.departure == Departure::Taken {
                    self.forget_client();
                }
            }
        }
        Finished { cost, next }
    }

    /// The number of events that run or wait, without those that were given back.
    pub(super) fn events(&self) -> usize {
        let waiting = self.waiting.iter().map(|waiting| waiting.len()).sum::<usize>();
        waiting - self.kept_events() + usize::from(self.running != Running::Nothing)
    }

    /// The number of events that were given back, and are kept in case their gateway is lost.
    pub(super) fn kept_events(&self) -> usize {
        let waiting = self.waiting.iter().flat_map(|waiting| waiting.iter());
        waiting.filter(|event| event.standing == Standing::Returned).count()
    }

    fn forget_session(&mut self) {
        self.session.forget();
        self.known = None;
    }

    /// Forgets everything but the book.
    fn forget_client(&mut self) {
        self.forget_session();
        self.refused = false;
    }

    /// Returns whether there is nothing left to know.
    pub fn is_empty(&self) -> bool {
        self.running == Running::Nothing
            && self.waiting.is_none()
            && self.book.is_none()
            && !self.refused
            && self.session.is_unwritten()
    }

    #[cfg(test)]
    pub(crate) fn has_written_session(&self) -> bool {
        !self.session.is_unwritten()
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker_client::ClientId;

    use super::*;

    #[test]
    fn a_client_that_does_nothing_costs_72_bytes_beside_its_session() {
        assert!(size_of::<(ClientId, ClientState)>() <= 72, "{}", size_of::<(ClientId, ClientState)>());
    }
}
