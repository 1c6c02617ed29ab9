//! The state of the call link to one gateway, from the first attempt to connect onwards.
//!
//! See the [module](super) for the calls that a shell makes. Commands are not kept here: a
//! shell pushes them to the connection itself, so that they wait for nothing.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use gatewayworker_net::PushError;
use gatewayworker_protocol::{Command, Frame, FrameError, Hello, Question, SecretKey, parse_answer};

use super::pending::{PendingQuestions, QuestionId, Sent};
use crate::{Liveness, Unreached};

/// The longest answer that a link accepts, in bytes: a row for each of a million clients.
const MAX_ANSWER: usize = 128 * 1024 * 1024;

/// How many connections one CLOSED names at most, so that its frame is no long one.
const CLOSED_AT_ONCE: usize = 100_000;

/// The sending side of a connection. It returns at once.
pub trait Transmit {
    /// Lets `write` append a frame to what is to be sent.
    ///
    /// # Errors
    /// When the outbox is full or the connection closed; `write` is not called then.
    fn push(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError>;

    /// Lets `write` append a frame that cannot wait, even if the outbox is full. As
    /// [`push`](Self::push), for a connection without a limit.
    ///
    /// # Errors
    /// When the connection is closed; `write` is not called then.
    fn push_over(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
        self.push(write)
    }

    /// Returns how many bytes were pushed so far.
    fn pushed(&self) -> u64;

    /// Returns how many of these the socket has taken.
    fn written(&self) -> u64;
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
    /// Close this connection: nothing was heard on it for too long. The link is down already.
    Close(C),
    /// The gateway has been heard on a connection that had to be proven first: the link takes
    /// commands now.
    Proven,
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
    /// Without it, no gateway is asked for a sign of life.
    liveness: Option<Liveness>,
    /// The last connection ended since it was silent: the next one has to be proven.
    was_silent: bool,
    questions: PendingQuestions<A>,
    effects: Vec<Effect<C, A>>,
}

#[derive(Debug)]
enum Phase<C> {
    /// The first attempt is under way: questions wait for it.
    Connecting,
    Live(Live<C>),
    /// Disconnected, whether or not the shell tries again: questions fail at once.
    Down,
}

/// A connection that stands.
#[derive(Debug)]
struct Live<C> {
    connection: C,
    /// When something was last read from it, or it began.
    heard_at: Instant,
    /// When the socket was last seen to have taken some of what stands in front of a question.
    progress_at: Instant,
    /// What the socket had taken when it was looked at last, if a question was still to be written.
    unwritten_from: Option<u64>,
    looked_at: Instant,
    /// The kernel of a frozen gateway accepts connections for it. So after one that was silent, the
    /// next takes commands and questions only once the gateway has said something.
    is_proven: bool,
    /// The epoch that the gateway has it attached to.
    epoch: Option<u32>,
}

impl<C: Transmit, A> CallLink<C, A> {
    /// A link whose first attempt to connect begins. A question may take `question_timeout`,
    /// which has to be short enough to be added to any time that the shell gives. A gateway that
    /// is asked and says nothing for that time is given up.
    pub fn new(secret_key: SecretKey, question_timeout: Duration) -> Self {
        Self {
            phase: Phase::Connecting,
            secret_key,
            question_timeout,
            liveness: None,
            was_silent: false,
            questions: PendingQuestions::new(),
            effects: Vec::new(),
        }
    }

    /// Asks the gateway for signs of life, and gives it up as `liveness` says.
    #[must_use]
    pub fn with_liveness(mut self, liveness: Liveness) -> Self {
        self.liveness = Some(liveness);
        self
    }

    /// Whether the first attempt to connect is still under way.
    pub fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Connecting)
    }

    /// How many questions wait for their answers.
    pub fn waiting_questions(&self) -> usize {
        self.questions.waiting()
    }

    /// The connection, for commands.
    ///
    /// # Errors
    /// When there is none, or it is not proven yet.
    pub fn connection(&self) -> Result<&C, Unreached> {
        match &self.phase {
            Phase::Live(Live { connection, is_proven: true, .. }) => Ok(connection),
            _ => Err(Unreached::NotConnected),
        }
    }

    /// The connection, proven or not, to be read or closed.
    pub fn any_connection(&self) -> Option<&C> {
        match &self.phase {
            Phase::Live(live) => Some(&live.connection),
            Phase::Connecting | Phase::Down => None,
        }
    }

    /// The epoch that the connection is attached to.
    pub fn epoch(&self) -> Option<u32> {
        match &self.phase {
            Phase::Live(live) => live.epoch,
            Phase::Connecting | Phase::Down => None,
        }
    }

    /// Attaches the connection to an epoch, as this worker process's. Says before that `on_close`
    /// has run for the connections in `closed`. A connection is attached once: for another epoch
    /// the shell has to begin another.
    ///
    /// # Errors
    /// When there is no connection, or it is not proven yet, or it is attached already.
    pub fn attach(&mut self, epoch: u32, process: u64, closed: &[u32]) -> Result<(), Unreached> {
        let Phase::Live(live @ Live { is_proven: true, epoch: None, .. }) = &mut self.phase else {
            return Err(Unreached::NotConnected);
        };
        for ids in closed.chunks(CLOSED_AT_ONCE) {
            live.connection.push_over(|out| Command::Closed(ids.to_vec()).encode(out))?;
        }
        live.connection.push_over(|out| Command::Attach { epoch, process }.encode(out))?;
        live.epoch = Some(epoch);
        self.effects.push(Effect::Flush);
        Ok(())
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
        let is_proven = !self.was_silent;
        self.phase = Phase::Live(Live {
            connection,
            heard_at: now,
            progress_at: now,
            unwritten_from: None,
            looked_at: now,
            is_proven,
            epoch: None,
        });
        if is_proven {
            self.send_next(now);
        } else {
            self.probe(now);
        }
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
        if !self.is_connecting() {
            self.connection()?;
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

    /// Takes all whole answers off the front of `buffer`, to which bytes that this connection has
    /// received were appended just now. What is left there is the beginning of the next answer.
    ///
    /// # Errors
    /// When the stream is out of step. The shell has to close the connection.
    pub fn receive(&mut self, buffer: &mut BytesMut, now: Instant) -> Result<(), LinkError> {
        if let Phase::Live(live) = &mut self.phase {
            live.heard_at = now;
            if !std::mem::replace(&mut live.is_proven, true) {
                self.effects.push(Effect::Proven);
            }
            self.was_silent = false;
        }
        while let Some(answer) = parse_answer(buffer, MAX_ANSWER)? {
            let asker = self.questions.answered().ok_or(LinkError::Unasked)?;
            if let Some(asker) = asker {
                self.effects.push(Effect::Settle { asker, outcome: Ok(answer) });
            }
            self.send_next(now);
        }
        Ok(())
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next, if anything waits. It may move
    /// to an earlier time only in [`ask`](Self::ask) and [`connected`](Self::connected).
    pub fn next_deadline(&self) -> Option<Instant> {
        let link = self.gives_up_at().or_else(|| self.ping_due());
        self.questions.next_deadline().into_iter().chain(link).chain(self.look_due()).min()
    }

    /// Asks for a sign of life behind much that was pushed, so that a gateway which is slow to read it
    /// gives signs of life meanwhile, and not only when it has read everything.
    pub fn probe_backlog(&mut self, now: Instant) {
        if self.connection().is_ok() {
            self.probe(now);
        }
    }

    /// Fails the questions whose time is over, asks an idle gateway for a sign of life, and closes a
    /// connection that was silent for too long.
    ///
    /// To judge by what has come, and not by what was read of it, the shell reads the connection
    /// once more before, at `now` or later. It may have been held up itself.
    pub fn handle_timeout(&mut self, now: Instant) {
        let why = if self.is_connecting() { Unreached::NotConnected } else { Unreached::TimedOut };
        while let Some(asker) = self.questions.pop_expired(now) {
            self.effects.push(Effect::Settle { asker, outcome: Err(why) });
        }
        self.look(now);
        if self.gives_up_at().is_some_and(|at| at <= now) {
            self.was_silent = self.liveness.is_some();
            if let Phase::Live(live) = self.end(Unreached::Lost) {
                self.effects.push(Effect::Close(live.connection));
            }
        } else if self.ping_due().is_some_and(|at| at <= now) {
            self.probe(now);
        }
    }

    /// Takes what the shell has to do, in its order.
    pub fn take_effects(&mut self) -> Vec<Effect<C, A>> {
        std::mem::take(&mut self.effects)
    }

    /// When the gateway is given up, unless it is heard before. It is silent only while it is asked.
    ///
    /// As long as the socket takes more of what stands in front of the question, the gateway may not have
    /// come to it. What is pushed behind the question says nothing: the kernel of a frozen gateway takes
    /// a little, for a long time.
    fn gives_up_at(&self) -> Option<Instant> {
        let Phase::Live(live) = &self.phase else { return None };
        let silence = self.liveness.map_or(Duration::ZERO, |liveness| liveness.timeout);
        // A late ping (the shell was held up) has all of its time nevertheless.
        let sent = self.questions.first_sent()?;
        Some(sent.answer_due.max(live.heard_at.max(live.progress_at) + silence))
    }

    /// Looks whether the socket has taken more of what stands in front of the first question.
    fn look(&mut self, now: Instant) {
        let Phase::Live(live) = &mut self.phase else { return };
        let end = self.questions.first_sent().map_or(0, |sent| sent.end);
        let written = live.connection.written();
        if live.unwritten_from.is_some_and(|before| written > before) {
            live.progress_at = now;
        }
        live.unwritten_from = (written < end).then_some(written);
        live.looked_at = now;
    }

    /// When to look at that again.
    fn look_due(&self) -> Option<Instant> {
        let (Phase::Live(live), Some(liveness)) = (&self.phase, self.liveness) else { return None };
        let is_unwritten = live.connection.written() < self.questions.first_sent()?.end;
        is_unwritten.then(|| live.looked_at + liveness.ping_interval)
    }

    /// When an idle gateway is asked for a sign of life.
    fn ping_due(&self) -> Option<Instant> {
        let (Phase::Live(live), Some(liveness)) = (&self.phase, self.liveness) else { return None };
        self.questions.first_sent().is_none().then(|| live.heard_at + liveness.ping_interval)
    }

    /// Asks for a sign of life: whether there is a connection 0, which gateways of either kind
    /// answer, and which costs them nothing.
    fn probe(&mut self, now: Instant) {
        let (Phase::Live(live), Some(liveness)) = (&mut self.phase, self.liveness) else { return };
        let question = Command::Ask(Question::IsOnline(0)).into_frame();
        // Where even the outbox takes nothing, the gateway is silent, too: it is given up the same.
        let _ = live.connection.push_over(|out| question.encode(out));
        let end = live.connection.pushed();
        self.questions.sent_probe(Sent { answer_due: now + liveness.answer_time(), end });
        self.effects.push(Effect::Flush);
    }

    /// How long the gateway has for the answer to a question.
    fn answer_time(&self) -> Duration {
        self.liveness.map_or(Duration::ZERO, Liveness::answer_time).max(self.question_timeout)
    }

    /// Sends the oldest queued question, if the gateway has none.
    fn send_next(&mut self, now: Instant) {
        let answer_due = now + self.answer_time();
        let Phase::Live(live) = &mut self.phase else { return };
        while let Some((id, question, ticket)) = self.questions.next_to_send() {
            match live.connection.push(|out| question.encode(out)) {
                Ok(()) => {
                    let end = live.connection.pushed();
                    self.questions.sent(id, ticket, Sent { answer_due, end });
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
