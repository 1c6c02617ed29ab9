//! The state of the call link to one gateway, from the first attempt to connect onwards.
//!
//! See the [module](super) for the calls that a shell makes. Commands are not kept here: a
//! shell pushes them to the connection itself, so that they wait for nothing.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use gatewayworker_net::PushError;
use gatewayworker_protocol::{Command, FrameError, Hello, Question, SecretKey, parse_answer};

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
        // Without a key a call link begins with nothing: so does the original's,
        // and an answer to a hello would stand between the answers to questions.
        if !self.secret_key.is_empty() {
            let secret_key = Some(self.secret_key.clone());
            let hello = Hello { worker_key: None, secret_key, features: None };
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

    /// Asks the gateway, as soon as the questions before this one are answered.
    ///
    /// # Errors
    /// When the link is down, or too many questions wait. The asker is dropped then.
    pub fn ask(&mut self, question: Question, asker: A, now: Instant) -> Result<QuestionId, Unreached> {
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
            match connection.push(|out| Command::Ask(question).encode(out)) {
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

#[cfg(test)]
mod tests {
    use gatewayworker_protocol::{Frame, MAX_FRAME_LEN, frame_answer};

    use super::super::pending::MAX_PENDING;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// A connection that keeps what was pushed.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Wire {
        sent: BytesMut,
        is_full: bool,
    }

    impl Transmit for Wire {
        fn push(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
            if self.is_full {
                return Err(PushError::Full);
            }
            write(&mut self.sent);
            Ok(())
        }
    }

    /// A link, the buffer of its connection, and a clock that the test moves.
    struct Fixture {
        link: CallLink<Wire, &'static str>,
        buffer: BytesMut,
        now: Instant,
    }

    type Outcomes = Vec<(&'static str, Result<Bytes, Unreached>)>;

    impl Fixture {
        fn connecting(key: &str) -> Self {
            let link = CallLink::new(SecretKey::new(key), LIMIT);
            Self { link, buffer: BytesMut::new(), now: Instant::now() }
        }

        fn live() -> Self {
            let mut fixture = Self::connecting("");
            fixture.link.connected(Wire::default(), fixture.now).unwrap();
            fixture
        }

        fn ask(&mut self, connection: u32, asker: &'static str) -> QuestionId {
            self.link.ask(Question::IsOnline(connection), asker, self.now).unwrap()
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
            self.link.handle_timeout(self.now);
        }

        fn receive(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
            self.buffer.extend_from_slice(bytes);
            self.link.receive(&mut self.buffer, self.now)
        }

        /// The outcomes since the last call.
        fn outcomes(&mut self) -> Outcomes {
            let settled = |effect| match effect {
                Effect::Settle { asker, outcome } => Some((asker, outcome)),
                Effect::Flush | Effect::Close(_) => None,
            };
            self.link.take_effects().into_iter().filter_map(settled).collect()
        }

        /// The commands that the gateway got since the last call.
        fn sent(&mut self) -> Vec<Command> {
            let Phase::Live(wire) = &mut self.link.phase else { panic!("the link is not live") };
            let frames = std::iter::from_fn(|| Frame::parse(&mut wire.sent, MAX_FRAME_LEN).unwrap());
            frames.map(|frame| Command::decode(frame).unwrap()).collect()
        }
    }

    fn is_online(connection: u32) -> Command {
        Command::Ask(Question::IsOnline(connection))
    }

    fn framed(answer: &'static str) -> BytesMut {
        let mut bytes = BytesMut::new();
        frame_answer(answer.as_bytes(), &mut bytes);
        bytes
    }

    fn answered(asker: &'static str, answer: &'static str) -> (&'static str, Result<Bytes, Unreached>) {
        (asker, Ok(Bytes::from(answer)))
    }

    #[test]
    fn sends_one_question_at_a_time_and_gives_each_answer_to_its_asker() {
        let mut link = Fixture::live();
        link.ask(1, "first");
        link.ask(2, "second");
        assert_eq!(link.sent(), [is_online(1)]);
        link.receive(&framed("i:1;")).unwrap();
        assert_eq!(link.outcomes(), [answered("first", "i:1;")]);
        assert_eq!(link.sent(), [is_online(2)]);
        link.receive(&framed("i:0;")).unwrap();
        assert_eq!(link.outcomes(), [answered("second", "i:0;")]);
        assert_eq!(link.link.next_deadline(), None);
    }

    #[test]
    fn a_question_asked_while_connecting_is_sent_behind_the_hello() {
        let mut link = Fixture::connecting("k");
        link.ask(1, "early");
        assert_eq!(link.outcomes(), []);
        link.link.connected(Wire::default(), link.now).unwrap();
        let hello = Hello { worker_key: None, secret_key: Some(SecretKey::new("k")), features: None };
        assert_eq!(link.sent(), [Command::ClientConnect(hello), is_online(1)]);
    }

    #[test]
    fn a_failed_attempt_fails_the_questions_that_waited_for_it_and_those_behind() {
        let mut link = Fixture::connecting("");
        link.ask(1, "early");
        link.link.connect_failed();
        assert_eq!(link.outcomes(), [("early", Err(Unreached::NotConnected))]);
        let late = link.link.ask(Question::IsOnline(2), "late", link.now);
        assert_eq!(late, Err(Unreached::NotConnected));
    }

    #[test]
    fn an_attempt_that_takes_too_long_is_no_connection() {
        let mut link = Fixture::connecting("");
        link.ask(1, "early");
        link.wait(LIMIT);
        assert_eq!(link.outcomes(), [("early", Err(Unreached::NotConnected))]);
        assert!(link.link.is_connecting());
    }

    #[test]
    fn a_cut_within_an_answer_fails_all_questions_and_the_part_is_never_an_answer() {
        let answer = framed("a:1:{i:0;i:7;}");
        for cut in 0..answer.len() {
            let mut link = Fixture::live();
            link.ask(1, "in flight");
            link.ask(2, "queued");
            link.receive(&answer[..cut]).unwrap();
            assert_eq!(link.outcomes(), []);
            link.link.disconnected();
            assert_eq!(
                link.outcomes(),
                [("in flight", Err(Unreached::Lost)), ("queued", Err(Unreached::Lost))]
            );
            // The next connection has a buffer of its own and begins in step.
            link.buffer.clear();
            link.link.connected(Wire::default(), link.now).unwrap();
            link.ask(3, "next");
            link.receive(&framed("i:3;")).unwrap();
            assert_eq!(link.outcomes(), [answered("next", "i:3;")]);
        }
    }

    #[test]
    fn a_cancelled_question_in_flight_still_takes_its_own_answer() {
        let mut link = Fixture::live();
        let gone = link.ask(1, "gone");
        link.ask(2, "second");
        link.link.cancel(gone);
        assert_eq!(link.sent(), [is_online(1)]);
        link.receive(&framed("i:1;")).unwrap();
        assert_eq!(link.outcomes(), []);
        link.receive(&framed("i:0;")).unwrap();
        assert_eq!(link.outcomes(), [answered("second", "i:0;")]);
    }

    #[test]
    fn a_cancelled_question_in_the_queue_is_never_sent() {
        let mut link = Fixture::live();
        link.ask(1, "first");
        let gone = link.ask(2, "gone");
        link.ask(3, "third");
        link.link.cancel(gone);
        link.receive(&framed("i:1;")).unwrap();
        assert_eq!(link.sent(), [is_online(1), is_online(3)]);
    }

    #[test]
    fn a_gateway_that_does_not_answer_in_time_is_closed_and_its_late_answer_goes_to_nobody() {
        let mut link = Fixture::live();
        link.ask(1, "first");
        link.wait(LIMIT / 2);
        link.ask(2, "second");
        assert_eq!(link.link.next_deadline(), Some(link.now + LIMIT / 2));
        link.wait(LIMIT / 2);
        let effects = link.link.take_effects();
        let [Effect::Flush, Effect::Settle { asker: "first", outcome: Err(Unreached::TimedOut) }, rest @ ..] =
            &*effects
        else {
            panic!("{effects:?}")
        };
        let [Effect::Settle { asker: "second", outcome: Err(Unreached::Lost) }, Effect::Close(_)] = rest
        else {
            panic!("{effects:?}")
        };
        assert_eq!(link.receive(&framed("i:1;")), Err(LinkError::Unasked));
        assert_eq!((link.outcomes(), link.link.next_deadline()), (vec![], None));
    }

    #[test]
    fn a_question_that_waited_long_for_its_turn_expires_without_ending_the_link() {
        let mut link = Fixture::live();
        link.ask(1, "first");
        link.ask(2, "second");
        link.wait(LIMIT - Duration::from_secs(1));
        link.receive(&framed("i:1;")).unwrap();
        link.outcomes();
        link.wait(Duration::from_secs(1));
        assert_eq!(link.outcomes(), [("second", Err(Unreached::TimedOut))]);
        // The gateway may still answer it; nobody waits, and the link stays in step.
        link.ask(3, "third");
        link.receive(&framed("i:2;")).unwrap();
        link.receive(&framed("i:3;")).unwrap();
        assert_eq!(link.outcomes(), [answered("third", "i:3;")]);
    }

    #[test]
    fn an_answer_without_a_question_or_over_the_limit_is_an_error() {
        assert_eq!(Fixture::live().receive(&framed("i:1;")), Err(LinkError::Unasked));
        let mut link = Fixture::live();
        link.ask(1, "first");
        assert!(matches!(link.receive(&[0xff; 4]), Err(LinkError::Answer(FrameError::TooLong { .. }))));
    }

    #[test]
    fn a_full_outbox_and_a_full_queue_are_overload() {
        let mut link = Fixture::connecting("");
        link.link.connected(Wire { is_full: true, ..Wire::default() }, link.now).unwrap();
        link.ask(1, "unsent");
        assert_eq!(link.outcomes(), [("unsent", Err(Unreached::Overloaded))]);

        let mut link = Fixture::live();
        (0..MAX_PENDING).for_each(|_| _ = link.ask(1, "pending"));
        let over = link.link.ask(Question::IsOnline(2), "over", link.now);
        assert_eq!(over, Err(Unreached::Overloaded));
    }
}
