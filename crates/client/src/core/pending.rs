//! The questions of one call link, in the order in which they were asked.
//!
//! An answer has neither a header nor an id: its place in the stream alone says which
//! question it belongs to. So the gateway has one question at a time (the question *in
//! flight*), and the others are queued. [`CallLink`](super::CallLink) sends them; this file
//! only keeps them, and never touches a connection.

use std::collections::VecDeque;
use std::time::Instant;

use gatewayworker_protocol::Frame;

/// How many questions may wait for their answers on one link.
pub(super) const MAX_PENDING: usize = 1024;

/// The number of a question on its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuestionId(u64);

/// A question that was not sent yet.
#[derive(Debug)]
pub(super) struct Queued<A> {
    id: QuestionId,
    pub(super) question: Frame,
    pub(super) ticket: Ticket<A>,
}

/// The asker of a question, and the time by which it wants the answer.
#[derive(Debug)]
pub(super) struct Ticket<A> {
    pub(super) asker: A,
    deadline: Instant,
}

/// The question that the gateway has and has not answered.
#[derive(Debug)]
struct InFlight<A> {
    id: QuestionId,
    /// `None` once the asker waits no more. The answer comes nevertheless.
    ticket: Option<Ticket<A>>,
    /// Before that time the gateway may still be at work on it.
    answer_due: Instant,
}

/// The question in flight and the queue behind it.
#[derive(Debug)]
pub(super) struct PendingQuestions<A> {
    in_flight: Option<InFlight<A>>,
    /// Oldest first, so their deadlines and ids ascend.
    queued: VecDeque<Queued<A>>,
    next_id: u64,
}

impl<A> PendingQuestions<A> {
    pub(super) fn new() -> Self {
        Self { in_flight: None, queued: VecDeque::new(), next_id: 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.queued.len() + usize::from(self.in_flight.is_some()) >= MAX_PENDING
    }

    /// Queues a question.
    pub(super) fn push(&mut self, question: Frame, asker: A, deadline: Instant) -> QuestionId {
        let id = QuestionId(self.next_id);
        self.next_id += 1;
        self.queued.push_back(Queued { id, question, ticket: Ticket { asker, deadline } });
        id
    }

    /// Takes the oldest queued question, if none is in flight.
    pub(super) fn next_to_send(&mut self) -> Option<(QuestionId, Frame, Ticket<A>)> {
        if self.in_flight.is_some() {
            return None;
        }
        self.queued.pop_front().map(|Queued { id, question, ticket }| (id, question, ticket))
    }

    /// Notes that the question from [`next_to_send`](Self::next_to_send) was sent.
    pub(super) fn sent(&mut self, id: QuestionId, ticket: Ticket<A>, answer_due: Instant) {
        self.in_flight = Some(InFlight { id, ticket: Some(ticket), answer_due });
    }

    /// Notes that a question of the link's own was sent, which has no asker.
    pub(super) fn sent_probe(&mut self, answer_due: Instant) {
        let id = QuestionId(self.next_id);
        self.next_id += 1;
        self.in_flight = Some(InFlight { id, ticket: None, answer_due });
    }

    /// Takes the question in flight, as its answer has come. `None` where there is no such
    /// question; `Some(None)` where its asker waits no more.
    pub(super) fn answered(&mut self) -> Option<Option<A>> {
        let in_flight = self.in_flight.take()?;
        Some(in_flight.ticket.map(|ticket| ticket.asker))
    }

    /// Forgets the asker of a question. A queued question is never sent then.
    pub(super) fn cancel(&mut self, id: QuestionId) {
        if let Some(in_flight) = self.in_flight.as_mut().filter(|in_flight| in_flight.id == id) {
            in_flight.ticket = None;
        } else if let Ok(at) = self.queued.binary_search_by_key(&id, |queued| queued.id) {
            self.queued.remove(at);
        }
    }

    /// Takes an asker whose deadline has come, oldest question first.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<A> {
        let is_expired = |ticket: &Ticket<A>| ticket.deadline <= now;
        let in_flight = self.in_flight.as_mut();
        if let Some(ticket) = in_flight.and_then(|in_flight| in_flight.ticket.take_if(|t| is_expired(t))) {
            return Some(ticket.asker);
        }
        if self.queued.front().is_some_and(|queued| is_expired(&queued.ticket)) {
            return self.queued.pop_front().map(|queued| queued.ticket.asker);
        }
        None
    }

    /// When the gateway should have answered the question in flight, if there is one.
    pub(super) fn answer_due(&self) -> Option<Instant> {
        self.in_flight.as_ref().map(|in_flight| in_flight.answer_due)
    }

    /// The earliest deadline of an asker.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let in_flight = self.in_flight.as_ref().and_then(|in_flight| in_flight.ticket.as_ref());
        let queued = self.queued.front().map(|queued| &queued.ticket);
        in_flight.into_iter().chain(queued).map(|ticket| ticket.deadline).min()
    }

    /// Takes all askers, oldest question first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = A> {
        let in_flight = self.in_flight.take().and_then(|in_flight| in_flight.ticket);
        let queued = std::mem::take(&mut self.queued).into_iter().map(|queued| queued.ticket);
        in_flight.into_iter().chain(queued).map(|ticket| ticket.asker)
    }
}
