//! The questions of one call link, in the order in which they were asked.
//!
//! An answer has neither a header nor an id: its place in the stream alone says which
//! question it belongs to. So the gateway has one question of an asker at a time, and the others
//! are queued. The link's own questions, probes, wait for nothing: the gateway answers in the order
//! of asking. [`CallLink`](super::CallLink) sends them; this file only keeps them, and never touches a
//! connection.

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
    /// The link's own.
    is_probe: bool,
    /// `None` once the asker waits no more. The answer comes nevertheless.
    ticket: Option<Ticket<A>>,
    sent: Sent,
}

/// How a question was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Before that time the gateway may still be at work on it.
    pub(super) answer_due: Instant,
    /// How many bytes the connection had been given with it.
    pub(super) end: u64,
}

/// The questions in flight and the queue behind them.
#[derive(Debug)]
pub(super) struct PendingQuestions<A> {
    /// In the order of asking, which is that of the answers.
    in_flight: VecDeque<InFlight<A>>,
    /// Oldest first, so their deadlines and ids ascend.
    queued: VecDeque<Queued<A>>,
    next_id: u64,
}

impl<A> PendingQuestions<A> {
    pub(super) fn new() -> Self {
        Self { in_flight: VecDeque::new(), queued: VecDeque::new(), next_id: 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.queued.len() + usize::from(self.is_asked()) >= MAX_PENDING
    }

    /// How many questions have an asker that waits.
    pub(super) fn waiting(&self) -> usize {
        self.queued.len() + self.in_flight.iter().filter(|in_flight| in_flight.ticket.is_some()).count()
    }

    /// Whether the gateway has a question of an asker.
    fn is_asked(&self) -> bool {
        self.in_flight.iter().any(|in_flight| !in_flight.is_probe)
    }

    /// Queues a question.
    pub(super) fn push(&mut self, question: Frame, asker: A, deadline: Instant) -> QuestionId {
        let id = QuestionId(self.next_id);
        self.next_id += 1;
        self.queued.push_back(Queued { id, question, ticket: Ticket { asker, deadline } });
        id
    }

    /// Takes the oldest queued question, if the gateway has none.
    pub(super) fn next_to_send(&mut self) -> Option<(QuestionId, Frame, Ticket<A>)> {
        if self.is_asked() {
            return None;
        }
        self.queued.pop_front().map(|Queued { id, question, ticket }| (id, question, ticket))
    }

    /// Notes that the question from [`next_to_send`](Self::next_to_send) was sent.
    pub(super) fn sent(&mut self, id: QuestionId, ticket: Ticket<A>, sent: Sent) {
        self.in_flight.push_back(InFlight { id, is_probe: false, ticket: Some(ticket), sent });
    }

    /// Notes that a question of the link's own was sent, which has no asker.
    pub(super) fn sent_probe(&mut self, sent: Sent) {
        let id = QuestionId(self.next_id);
        self.next_id += 1;
        self.in_flight.push_back(InFlight { id, is_probe: true, ticket: None, sent });
    }

    /// Takes the first question in flight, as its answer has come. `None` where there is no such
    /// question; `Some(None)` where its asker waits no more.
    pub(super) fn answered(&mut self) -> Option<Option<A>> {
        let in_flight = self.in_flight.pop_front()?;
        Some(in_flight.ticket.map(|ticket| ticket.asker))
    }

    /// Forgets the asker of a question. A queued question is never sent then.
    pub(super) fn cancel(&mut self, id: QuestionId) {
        if let Some(in_flight) = self.in_flight.iter_mut().find(|in_flight| in_flight.id == id) {
            in_flight.ticket = None;
        } else if let Ok(at) = self.queued.binary_search_by_key(&id, |queued| queued.id) {
            self.queued.remove(at);
        }
    }

    /// Takes an asker whose deadline has come, oldest question first.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<A> {
        let is_expired = |ticket: &Ticket<A>| ticket.deadline <= now;
        let mut in_flight = self.in_flight.iter_mut();
        if let Some(ticket) = in_flight.find_map(|in_flight| in_flight.ticket.take_if(|t| is_expired(t))) {
            return Some(ticket.asker);
        }
        if self.queued.front().is_some_and(|queued| is_expired(&queued.ticket)) {
            return self.queued.pop_front().map(|queued| queued.ticket.asker);
        }
        None
    }

    /// How the first question in flight was sent, if there is one.
    pub(super) fn first_sent(&self) -> Option<Sent> {
        self.in_flight.front().map(|in_flight| in_flight.sent)
    }

    /// The earliest deadline of an asker.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let in_flight = self.in_flight.iter().filter_map(|in_flight| in_flight.ticket.as_ref());
        let queued = self.queued.front().map(|queued| &queued.ticket);
        in_flight.chain(queued).map(|ticket| ticket.deadline).min()
    }

    /// Takes all askers, oldest question first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = A> {
        let in_flight =
            std::mem::take(&mut self.in_flight).into_iter().filter_map(|in_flight| in_flight.ticket);
        let queued = std::mem::take(&mut self.queued).into_iter().map(|queued| queued.ticket);
        in_flight.chain(queued).map(|ticket| ticket.asker)
    }
}
