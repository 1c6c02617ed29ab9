//! The client's end of `gw.1`, as `docs/client-protocol.md` has it: counts, keeps, acknowledges, resumes.
//!
//! Plain data without sockets and times: `client` opens connections, gives it what arrives, and writes its `outbox`.
//! It shares nothing with the gateway's end. Its messages are known by their numbers, so what it keeps is a range.

use super::application::handshake;
use super::message::{Content, Message, Name, control};
use crate::rng::Rng;
use crate::violation::{Violation, ensure};
use crate::websocket::{BINARY, CLOSE, PONG, ServerFrames, TEXT, client_frame};

/// What it says that it has got, beyond what it has, where it lies.
const LIE: u64 = 1_000_000;

/// What something that was received means to the client.
#[derive(Debug)]
pub(super) enum Received {
    /// It is a new client.
    Greeted,
    /// It is the same client.
    Resumed,
    /// A message.
    Data(Message),
    /// Its client is lost.
    Lost(String),
    /// The application has closed its client, with this code.
    Closed(u16),
    /// A close frame, on a connection that was answered or before.
    Close { code: u16, is_answered: bool },
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There is none.
    Away,
    /// `start` is said.
    Starting,
    /// `resume` is said.
    Resuming,
    /// `lost` was received: `hello` follows.
    Lost,
    /// It was answered.
    Open,
    /// The client is gone.
    Ended,
}

/// What it knows of its client.
#[derive(Debug, Clone)]
pub(super) struct Greeting {
    pub(super) id: u32,
    token: String,
}

/// The client's end.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) state: State,
    /// The client that it is, from `hello` on.
    pub(super) greeting: Option<Greeting>,
    /// The name of that client, or of the one that it is going to be.
    pub(super) name: Name,
    /// The name of the one that it would be if this connection made it a new client.
    line_name: Name,
    attempt: u64,
    /// The last attempt that was answered.
    answered: u64,
    /// How many messages it has got, and how many the gateway knows of.
    pub(super) got: u64,
    told: u64,
    /// How many it has sent, and how many of these the gateway has.
    pub(super) sent: u64,
    acknowledged: u64,
    /// It acknowledges after so many messages.
    ack_every: u64,
    /// A message has come before the answer to `resume`.
    has_data: bool,
    /// It has said on this connection that it has got more than it was sent.
    has_lied: bool,
    frames: ServerFrames,
    /// What is to be written.
    pub(super) outbox: Vec<u8>,
}

impl Endpoint {
    pub(super) fn new(ack_every: u64) -> Self {
        Self {
            state: State::Away,
            greeting: None,
            name: (0, 0),
            line_name: (0, 0),
            attempt: 0,
            answered: 0,
            got: 0,
            told: 0,
            sent: 0,
            acknowledged: 0,
            ack_every,
            has_data: false,
            has_lied: false,
            frames: ServerFrames::default(),
            outbox: Vec::new(),
        }
    }

    /// Says the first words of a new connection. One that lies has got more than it was sent.
    pub(super) fn open(&mut self, name: Name, lies: bool, rng: &mut Rng) {
        self.cut();
        self.line_name = name;
        self.outbox = handshake(name);
        let Some(greeting) = &self.greeting else {
            self.begin_anew();
            self.state = State::Starting;
            return self.say_control(r#"{"start":{}}"#, rng);
        };
        self.attempt += 1;
        self.has_lied = lies;
        let got = if lies { self.got + LIE } else { self.got };
        let resume = resume(&greeting.token, self.attempt, got);
        self.state = State::Resuming;
        self.say_control(&resume, rng);
    }

    /// The first words of a connection that is an old attempt, where one was answered.
    pub(super) fn old_attempt(&self, name: Name, rng: &mut Rng) -> Option<Vec<u8>> {
        let greeting = self.greeting.as_ref().filter(|_| self.answered > 0)?;
        let attempt = rng.within(&(1..=self.answered));
        let resume = control(&resume(&greeting.token, attempt, self.got));
        Some([handshake(name), client_frame(TEXT, &resume, rng.next_u64() as u32)].concat())
    }

    /// The client is nobody any more: the next connection begins anew.
    pub(super) fn begin_anew(&mut self) {
        self.greeting = None;
        self.name = self.line_name;
        (self.attempt, self.answered) = (0, 0);
        (self.got, self.told, self.sent, self.acknowledged) = (0, 0, 0, 0);
    }

    /// The connection is gone.
    pub(super) fn cut(&mut self) {
        self.state = State::Away;
        self.frames = ServerFrames::default();
        self.outbox.clear();
        (self.has_data, self.has_lied) = (false, false);
    }

    /// Sends the next message, or keeps it until it is back.
    pub(super) fn send(&mut self, rng: &mut Rng) {
        let may_send = match self.state {
            State::Starting | State::Open => true,
            State::Away | State::Resuming => self.greeting.is_some(),
            State::Lost | State::Ended => false,
        };
        if may_send {
            self.sent += 1;
            if matches!(self.state, State::Starting | State::Open) {
                self.write(self.sent, rng);
            }
        }
    }

    fn write(&mut self, number: u64, rng: &mut Rng) {
        let (opcode, payload) = Message::of_client(self.name, number).frame();
        if !rng.chance(15) || payload.len() < 2 {
            return self.say(opcode, &payload, rng);
        }
        let (first, second) = payload.split_at(1 + rng.below(payload.len() as u64 - 1) as usize);
        let begin = self.outbox.len();
        self.say(opcode, first, rng);
        self.outbox[begin] &= 0x7f;
        self.say(0, second, rng);
    }

    fn say(&mut self, opcode: u8, payload: &[u8], rng: &mut Rng) {
        self.outbox.extend(client_frame(opcode, payload, rng.next_u64() as u32));
    }

    fn say_control(&mut self, json: &str, rng: &mut Rng) {
        self.say(TEXT, &control(json), rng);
    }

    /// Acknowledges what it has got.
    pub(super) fn acknowledge(&mut self, rng: &mut Rng) {
        if self.state == State::Open {
            self.told = self.got;
            self.say_control(&format!(r#"{{"ack":{}}}"#, self.got), rng);
        }
    }

    /// Asks for an acknowledgement.
    pub(super) fn ping(&mut self, rng: &mut Rng) {
        if self.got > self.told {
            self.acknowledge(rng);
        }
        self.say_control(r#"{"ping":{}}"#, rng);
    }

    /// Acknowledges what it was never sent.
    pub(super) fn lie(&mut self, rng: &mut Rng) {
        self.say_control(&format!(r#"{{"ack":{}}}"#, self.got + LIE), rng);
    }

    /// Sends a close frame.
    pub(super) fn close(&mut self, code: u16, reason: &str, rng: &mut Rng) {
        let code = code.to_be_bytes();
        self.say(CLOSE, &[&code, reason.as_bytes()].concat(), rng);
    }

    /// Takes what has arrived.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
    }

    /// Returns what that means; `None` when more has to arrive.
    ///
    /// # Errors
    /// When the gateway says what it must not.
    pub(super) fn next(&mut self, rng: &mut Rng) -> Result<Option<Received>, Violation> {
        while let Some(frame) = self.frames.take()? {
            let received = match frame.opcode {
                CLOSE => Some(self.receive_close(&frame.payload)),
                TEXT | BINARY => match Content::of(frame.opcode, &frame.payload) {
                    Content::Data(message) => Some(self.receive_data(message, rng)?),
                    Content::Control(json) => self.receive_control(json, rng)?,
                },
                PONG => None,
                opcode => return Err(wrong(format!("a frame with the opcode {opcode}"))),
            };
            if received.is_some() {
                return Ok(received);
            }
        }
        Ok(None)
    }

    fn receive_close(&mut self, payload: &[u8]) -> Received {
        let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
        let is_answered = matches!(self.state, State::Open | State::Ended);
        self.state = if is_answered { State::Ended } else { State::Away };
        Received::Close { code, is_answered }
    }

    fn receive_data(&mut self, message: Message, rng: &mut Rng) -> Result<Received, Violation> {
        match self.state {
            State::Open => {}
            State::Resuming => self.has_data = true,
            state => return Err(wrong(format!("{message:?} when it is {state:?}"))),
        }
        self.got += 1;
        if self.got - self.told >= self.ack_every {
            self.acknowledge(rng);
        }
        Ok(Received::Data(message))
    }

    fn receive_control(&mut self, json: &[u8], rng: &mut Rng) -> Result<Option<Received>, Violation> {
        let text = String::from_utf8_lossy(json);
        let json: serde_json::Value =
            serde_json::from_slice(json).map_err(|error| wrong(format!("{error}: {text}")))?;
        let is_first = matches!(self.state, State::Starting | State::Resuming) && !self.has_data;
        let text_of = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(hello) = json.get("hello").filter(|_| self.state != State::Resuming && !self.has_data) {
            ensure(matches!(self.state, State::Starting | State::Lost), RULE, || format!("late: {text}"))?;
            let client = text_of(&hello["client"]);
            let id = client.get(12..).and_then(|id| u32::from_str_radix(id, 16).ok());
            let id = id.ok_or_else(|| wrong(format!("no client's id: {text}")))?;
            self.greeting = Some(Greeting { id, token: text_of(&hello["token"]) });
            self.state = State::Open;
            return Ok(Some(Received::Greeted));
        }
        if let Some(got) = json["resumed"]["got"].as_u64() {
            ensure(is_first && self.state == State::Resuming, RULE, || format!("not first: {text}"))?;
            ensure(!self.has_lied, RULE, || format!("it was told too high a number: {text}"))?;
            self.is_acknowledged(got)?;
            (self.state, self.answered, self.told) = (State::Open, self.attempt, self.got);
            (self.acknowledged + 1..=self.sent).for_each(|number| self.write(number, rng));
            return Ok(Some(Received::Resumed));
        }
        if let Some(why) = json["lost"].get("why") {
            ensure(is_first && self.state == State::Resuming, RULE, || format!("not first: {text}"))?;
            self.begin_anew();
            self.state = State::Lost;
            return Ok(Some(Received::Lost(text_of(why))));
        }
        if let Some(code) = json["closed"]["code"].as_u64() {
            ensure(self.state == State::Resuming, RULE, || format!("not instead of resumed: {text}"))?;
            self.state = State::Ended;
            return Ok(Some(Received::Closed(code as u16)));
        }
        ensure(self.state == State::Open, RULE, || format!("when it is {:?}: {text}", self.state))?;
        if let Some(got) = json["ack"].as_u64() {
            self.is_acknowledged(got.max(self.acknowledged))?;
        } else if json.get("ping").is_some() {
            self.acknowledge(rng);
        } else {
            return Err(wrong(format!("an unknown message: {text}")));
        }
        Ok(None)
    }

    fn is_acknowledged(&mut self, got: u64) -> Result<(), Violation> {
        ensure((self.acknowledged..=self.sent).contains(&got), "counts-are-right", || {
            format!("the gateway has {got} of {} messages, and had {}", self.sent, self.acknowledged)
        })?;
        self.acknowledged = got;
        Ok(())
    }
}

fn resume(token: &str, attempt: u64, got: u64) -> String {
    format!(r#"{{"resume":{{"token":"{token}","try":{attempt},"got":{got}}}}}"#)
}

/// The invariant that the gateway says what the page on the protocol says, in that order.
const RULE: &str = "the-gateway-speaks-gw-1";

fn wrong(details: String) -> Violation {
    Violation::new(RULE, details)
}
