//! The state of the call link to one gateway, from the first attempt to connect onwards.
//!
//! See the [module](super) for the calls that a shell makes. Commands are not kept here: a
//! shell pushes them to the connection itself, so that they wait for nothing.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use gatewayworker_net::PushError;
use gatewayworker_protocol::{Command, Frame, FrameError, Hello, SecretKey, parse_answer};

use super::pending::{PendingQuestions, QuestionId};
use crate::Unreached;

/// The longest answer that a link accepts, in bytes: a row for each of a million clients.
const MAX_ANSWER: usize = 128 * 1024 * 1024;

/// The sending side of a connection. It returns at once.
pub trait Transmit {
    /// Lets `write` append a frame to what is to be sent.
    ///
    /// # Errors
    /// When the outbox is full or the connection closed; `write` is not called then.
    fn push(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError>;
}

/// What the shell has to do after a call to a [`CallLink`].
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<C, A> {
    /// Give the asker the outcome of its question: the whole answer, or why there is none.
    Settle {
        /// The token that the shell gave to [`CallLink::ask`].
        asker: A,
        /// The outcome.
        outcome: Result<Bytes, Unreached>,
    },
    /// Write what was pushed.
    Flush,
    /// Close this connection: its gateway does not answer. The link is down already.
    Close(C),
}

/// Why a connection cannot be read any further.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The gateway claims to send an answer over the limit.
    #[error(transparent)]
    Answer(#[from] FrameError),
    /// The gateway has sent an answer, and no question was in flight.
    #[error("the gateway sent an answer without a question")]
    Unasked,
}

/// The link to one gateway. `C` is the connection, `A` the token of an asker.
#[derive(Debug)]
pub struct CallLink<C, A> {
    phase: Phase<C>,
    secret_key: SecretKey,
    question_timeout: Duration,
    questions: PendingQuestions<A>,
    effects: Vec<Effect<C, A>>,
}

#[derive(Debug)]
enum Phase<C> {
    /// The first attempt is under way: questions wait for it.
    Connecting,
    Live(C),
    /// Disconnected, whether or not the shell tries again: questions fail at once.
    Down,
}

impl<C: Transmit, A> CallLink<C, A> {
    /// A link whose first attempt to connect begins. A question may take `question_timeout`,
    /// which has to be short enough to be added to any time that the shell gives.
    pub fn new(secret_key: SecretKey, question_timeout: Duration) -> Self {
        let questions = PendingQuestions::new();
        Self { phase: Phase::Connecting, secret_key, question_timeout, questions, effects: Vec::new() }
    }

    /// Whether the first attempt to connect is still under way.
    pub fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Connecting)
    }

    /// The connection, for commands.
    ///
    /// # Errors
    /// When there is none.
    pub fn connection(&self) -> Result<&C, Unreached> {
        match &self.phase {
            Phase::Live(connection) => Ok(connection),
            Phase::Connecting | Phase::Down => Err(Unreached::NotConnected),
        }
    }

    /// Takes a new connection: says the hello, and sends the first question that waits.
    ///
    /// # Errors
    /// When the connection takes no frame. The link is down then.
    pub fn connected(&mut self, mut connection: C, now: Instant) -> Result<(), PushError> {
        if matches!(self.phase, Phase::Live(_)) {
            // Answers of the new connection belong to none of the old one's questions.
            self.disconnected();
        }
        // Without a key a call link begins with nothing: so does the original's,
        // and an answer to a hello would stand between the answers to questions.
        if !self.secret_key.is_empty() {
            let secret_key = Some(self.secret_key.clone());
            let hello = Hello { worker_key: None, secret_key, features: None, process: None };
            if let Err(error) = connection.push(|out| Command::ClientConnect(hello).encode(out)) {
                self.connect_failed();
                return Err(error);
            }
            self.effects.push(Effect::Flush);
        }
        self.phase = Phase::Live(connection);
        self.send_next(now);
        Ok(())
    }

    /// Notes that an attempt to connect has failed. Questions that waited for it fail too.
    pub fn connect_failed(&mut self) {
        self.end(Unreached::NotConnected);
    }

    /// Notes that the connection has ended. No question of this link can be answered any
    /// more: a part of an answer is none.
    pub fn disconnected(&mut self) {
        self.end(Unreached::Lost);
    }

    /// Asks the gateway with the frame of a question, as soon as the questions before it are
    /// answered.
    ///
    /// # Errors
    /// When the link is down, or too many questions wait. The asker is dropped then.
    pub fn ask(&mut self, question: Frame, asker: A, now: Instant) -> Result<QuestionId, Unreached> {
        if matches!(self.phase, Phase::Down) {
            return Err(Unreached::NotConnected);
        }
        if self.questions.is_full() {
            return Err(Unreached::Overloaded);
        }
        let id = self.questions.push(question, asker, now + self.question_timeout);
        self.send_next(now);
        Ok(id)
    }

    /// Forgets an asker, which gets no outcome. If the question is in flight, its answer is
    /// dropped when it comes; if the question is queued, it is never sent.
    pub fn cancel(&mut self, question: QuestionId) {
        self.questions.cancel(question);
    }

    /// Takes all whole answers off the front of `buffer`, which holds what this connection
    /// has received. What is left there is the beginning of the next answer.
    ///
    /// # Errors
    /// When the stream is out of step. The shell has to close the connection.
    pub fn receive(&mut self, buffer: &mut BytesMut, now: Instant) -> Result<(), LinkError> {
        while let Some(answer) = parse_answer(buffer, MAX_ANSWER)? {
            let asker = self.questions.answered().ok_or(LinkError::Unasked)?;
            if let Some(asker) = asker {
                self.effects.push(Effect::Settle { asker, outcome: Ok(answer) });
            }
            self.send_next(now);
        }
        Ok(())
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next, if anything waits.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.questions.next_deadline()
    }

    /// Fails the questions whose time is over. If the gateway has had the question in flight
    /// for all of that time, the link goes down: an answer that came later could not be told
    /// from the next one's.
    pub fn handle_timeout(&mut self, now: Instant) {
        let why = if self.is_connecting() { Unreached::NotConnected } else { Unreached::TimedOut };
        while let Some(asker) = self.questions.pop_expired(now) {
            self.effects.push(Effect::Settle { asker, outcome: Err(why) });
        }
        if self.questions.is_overdue(now) {
            let phase = self.end(Unreached::Lost);
            if let Phase::Live(connection) = phase {
                self.effects.push(Effect::Close(connection));
            }
        }
    }

    /// Takes what the shell has to do, in its order.
    pub fn take_effects(&mut self) -> Vec<Effect<C, A>> {
        std::mem::take(&mut self.effects)
    }

    /// Sends the oldest queued question, if the gateway has none.
    fn send_next(&mut self, now: Instant) {
        let Phase::Live(connection) = &mut self.phase else { return };
        while let Some((id, question, ticket)) = self.questions.next_to_send() {
            match connection.push(|out| question.encode(out)) {
                Ok(()) => {
                    self.questions.sent(id, ticket, now + self.question_timeout);
                    self.effects.push(Effect::Flush);
                }
                Err(error) => {
                    self.effects.push(Effect::Settle { asker: ticket.asker, outcome: Err(error.into()) });
                }
            }
        }
    }

    /// Goes down, and fails all questions. Returns the phase before.
    fn end(&mut self, why: Unreached) -> Phase<C> {
        let failed = self.questions.drain().map(|asker| Effect::Settle { asker, outcome: Err(why) });
        self.effects.extend(failed);
        std::mem::replace(&mut self.phase, Phase::Down)
    }
}
