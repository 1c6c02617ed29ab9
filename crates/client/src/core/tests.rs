//! The core, driven by hand as `mod.rs` describes the cycle, without tokio.

use std::cell::{Cell, RefCell};
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use gatewayworker_net::PushError;
use gatewayworker_protocol::{
    Command, Frame, FrameError, Hello, MAX_FRAME_LEN, Question, SecretKey, frame_answer,
};

mod liveness;

use super::pending::MAX_PENDING;
use super::*;
use crate::{AskError, Unreached};

const LIMIT: Duration = Duration::from_secs(5);

/// A connection that keeps the frames. A clone is the same connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wire(Rc<Frames>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Frames {
    sent: RefCell<BytesMut>,
    is_full: Cell<bool>,
    pushed: Cell<u64>,
    /// What the socket takes in all.
    takes: Cell<Option<u64>>,
}

impl Transmit for Wire {
    fn push(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
        if self.0.is_full.get() {
            return Err(PushError::Full);
        }
        let mut sent = self.0.sent.borrow_mut();
        let before = sent.len();
        write(&mut sent);
        self.0.pushed.set(self.0.pushed.get() + (sent.len() - before) as u64);
        Ok(())
    }

    fn pushed(&self) -> u64 {
        self.0.pushed.get()
    }

    fn written(&self) -> u64 {
        self.0.takes.get().map_or(self.pushed(), |takes| takes.min(self.pushed()))
    }
}

/// A link, the buffer of its connection, and a clock that the test moves.
struct TestLink {
    link: CallLink<Wire, &'static str>,
    buffer: BytesMut,
    now: Instant,
}

type Outcomes = Vec<(&'static str, Result<Bytes, Unreached>)>;

impl TestLink {
    fn connecting(key: &str) -> Self {
        let link = CallLink::new(SecretKey::new(key), LIMIT);
        Self { link, buffer: BytesMut::new(), now: Instant::now() }
    }

    fn live() -> Self {
        let mut link = Self::connecting("");
        link.link.connected(Wire::default(), link.now).unwrap();
        link
    }

    fn ask(&mut self, connection: u32, asker: &'static str) -> QuestionId {
        self.link.ask(question(Question::IsOnline(connection)), asker, self.now).unwrap()
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
            Effect::Flush | Effect::Close(_) | Effect::Proven => None,
        };
        self.link.take_effects().into_iter().filter_map(settled).collect()
    }

    /// The commands that the gateway got since the last call.
    fn sent(&self) -> Vec<Command> {
        let mut sent = self.link.connection().unwrap().0.sent.borrow_mut();
        let frames = std::iter::from_fn(|| Frame::parse(&mut sent, MAX_FRAME_LEN).unwrap());
        frames.map(|frame| Command::decode(frame).unwrap()).collect()
    }
}

fn question(question: Question) -> Frame {
    Command::Ask(question).into_frame()
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
    let mut link = TestLink::live();
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
    let mut link = TestLink::connecting("k");
    link.ask(1, "early");
    assert_eq!(link.outcomes(), []);
    link.link.connected(Wire::default(), link.now).unwrap();
    let hello =
        Hello { worker_key: None, secret_key: Some(SecretKey::new("k")), features: None, process: None };
    assert_eq!(link.sent(), [Command::ClientConnect(hello), is_online(1)]);
}

#[test]
fn a_failed_attempt_fails_the_questions_that_waited_for_it_and_those_behind() {
    let mut link = TestLink::connecting("");
    link.ask(1, "early");
    link.link.connect_failed();
    assert_eq!(link.outcomes(), [("early", Err(Unreached::NotConnected))]);
    let late = link.link.ask(question(Question::IsOnline(2)), "late", link.now);
    assert_eq!(late, Err(Unreached::NotConnected));
}

#[test]
fn an_attempt_that_takes_too_long_is_no_connection() {
    let mut link = TestLink::connecting("");
    link.ask(1, "early");
    link.wait(LIMIT);
    assert_eq!(link.outcomes(), [("early", Err(Unreached::NotConnected))]);
    assert!(link.link.is_connecting());
}

#[test]
fn a_cut_within_an_answer_fails_all_questions_and_the_part_is_never_an_answer() {
    let answer = framed("a:1:{i:0;i:7;}");
    for cut in 0..answer.len() {
        let mut link = TestLink::live();
        link.ask(1, "in flight");
        link.ask(2, "queued");
        link.receive(&answer[..cut]).unwrap();
        assert_eq!(link.outcomes(), []);
        link.link.disconnected();
        assert_eq!(link.outcomes(), [("in flight", Err(Unreached::Lost)), ("queued", Err(Unreached::Lost))]);
        // The next connection has a buffer of its own and begins in step.
        link.buffer.clear();
        link.link.connected(Wire::default(), link.now).unwrap();
        link.ask(3, "next");
        link.receive(&framed("i:3;")).unwrap();
        assert_eq!(link.outcomes(), [answered("next", "i:3;")]);
    }
}

#[test]
fn a_new_connection_answers_no_question_of_the_old_one() {
    let mut link = TestLink::live();
    link.ask(1, "old");
    link.link.connected(Wire::default(), link.now).unwrap();
    assert_eq!(link.outcomes(), [("old", Err(Unreached::Lost))]);
    assert_eq!(link.sent(), []);
}

#[test]
fn a_cancelled_question_in_flight_still_takes_its_own_answer() {
    let mut link = TestLink::live();
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
    let mut link = TestLink::live();
    link.ask(1, "first");
    let gone = link.ask(2, "gone");
    link.ask(3, "third");
    link.link.cancel(gone);
    link.receive(&framed("i:1;")).unwrap();
    assert_eq!(link.sent(), [is_online(1), is_online(3)]);
}

#[test]
fn a_gateway_that_does_not_answer_in_time_is_closed_and_its_late_answer_goes_to_nobody() {
    let mut link = TestLink::live();
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
    let [Effect::Settle { asker: "second", outcome: Err(Unreached::Lost) }, Effect::Close(_)] = rest else {
        panic!("{effects:?}")
    };
    assert_eq!(link.receive(&framed("i:1;")), Err(LinkError::Unasked));
    assert_eq!((link.outcomes(), link.link.next_deadline()), (vec![], None));
}

#[test]
fn a_question_that_waited_long_for_its_turn_expires_without_ending_the_link() {
    let mut link = TestLink::live();
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
    assert_eq!(TestLink::live().receive(&framed("i:1;")), Err(LinkError::Unasked));
    let mut link = TestLink::live();
    link.ask(1, "first");
    assert!(matches!(link.receive(&[0xff; 4]), Err(LinkError::Answer(FrameError::TooLong { .. }))));
}

#[test]
fn a_full_outbox_and_a_full_queue_are_overload() {
    let mut link = TestLink::connecting("");
    let full = Wire::default();
    full.0.is_full.set(true);
    link.link.connected(full, link.now).unwrap();
    link.ask(1, "unsent");
    assert_eq!(link.outcomes(), [("unsent", Err(Unreached::Overloaded))]);

    let mut link = TestLink::live();
    (0..MAX_PENDING).for_each(|_| _ = link.ask(1, "pending"));
    let over = link.link.ask(question(Question::IsOnline(2)), "over", link.now);
    assert_eq!(over, Err(Unreached::Overloaded));
}

#[test]
fn a_gateway_that_dies_while_two_are_asked_makes_the_answer_incomplete() {
    let now = Instant::now();
    let gateways = [2300, 2301].map(|port| SocketAddrV4::new([127, 0, 0, 1].into(), port));
    let mut links = gateways.map(|gateway| {
        let mut link = CallLink::new(SecretKey::default(), Duration::from_secs(5));
        link.connected(Wire::default(), now).unwrap();
        link.ask(question(Question::Count(None)), gateway, now).unwrap();
        link
    });
    let mut answer = BytesMut::new();
    frame_answer(b"i:3;", &mut answer);
    let mut part = BytesMut::from(&answer[..answer.len() - 1]);
    links[0].receive(&mut answer, now).unwrap();
    links[1].receive(&mut part, now).unwrap();
    links[1].disconnected();

    let effects = links.iter_mut().flat_map(CallLink::take_effects);
    let outcomes = effects.filter_map(|effect| match effect {
        Effect::Settle { asker, outcome } => Some((asker, outcome)),
        Effect::Flush | Effect::Close(_) | Effect::Proven => None,
    });
    let answer = Answers::new(outcomes.collect())
        .gather(|_, answer: Bytes| Some(answer.len()), |sum: &mut usize, part| *sum += part);
    let Err(AskError::Incomplete { partial: 4, missing, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(missing, [(gateways[1], Unreached::Lost)]);
}
