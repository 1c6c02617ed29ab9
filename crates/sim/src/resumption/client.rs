//! The process of a client: opens connections, and does to them what its script says.
//!
//! What it knows of its client is the `endpoint`'s. It comes back by itself when a connection is cut, or seems dead. A
//! connection that is given up without a word stays half-open for a while: the gateway may not know.

use super::application::handshake;
use super::endpoint::{Endpoint, Received, State};
use super::ledger::Ledger;
use super::message::{Content, Name};
use super::{Act, Cut, GATEWAY};
use crate::model::{Context, Input};
use crate::network::{ProcessId, ReadOutcome, Socket, Written};
use crate::violation::{Violation, ensure};
use crate::websocket::{CLOSE, ServerFrames, TEXT, client_frame};

/// The port of the gateway.
const PORT: u16 = 8289;

/// How long a client waits for the answer to its first words, in ms.
const ANSWER_MS: u64 = 400;

/// How long a client that leaves waits for the gateway, in ms.
const LEAVE_MS: u64 = 300;

/// How much longer than one and a half `ping_ms` a client waits for a word, in ms: what the network takes.
const SLACK_MS: u64 = 60;

/// The settings of clients, and what they know of the gateway's.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientOptions {
    pub(super) resume_ms: u64,
    pub(super) ping_ms: u64,
    /// A client acknowledges after so many messages, besides what it has to.
    pub(super) ack_every: u64,
}

/// A client.
pub(super) struct Client {
    process: u64,
    options: ClientOptions,
    pub(super) endpoint: Endpoint,
    line: Option<Line>,
    /// Connections by now.
    lines: u64,
    /// Connections that are given up, and until when each is half-open.
    old: Vec<(u64, Socket)>,
    twin: Option<Twin>,
    /// When it opens the next connection.
    opens_at_ms: Option<u64>,
    /// Where the next connection is cut.
    cuts_next: Option<usize>,
    lies_next: bool,
    /// It has acknowledged what it was never sent, and does not come back as this client.
    is_wrong: bool,
    /// Nothing goes wrong any more: it comes back, and stays.
    is_finishing: bool,
    /// It comes back no more.
    has_finished: bool,
}

struct Line {
    socket: Socket,
    opened_ms: u64,
    last_received_ms: u64,
    received: usize,
    /// It is cut when so much has arrived.
    cut_at: Option<usize>,
    reads: bool,
    lies: bool,
    /// The client leaves, and waits until then.
    leaves_until_ms: Option<u64>,
}

/// A second connection, with an old attempt.
struct Twin {
    socket: Socket,
    frames: ServerFrames,
}

impl Client {
    pub(super) fn new(process: ProcessId, options: ClientOptions) -> Self {
        Self {
            process: process as u64,
            options,
            endpoint: Endpoint::new(options.ack_every),
            line: None,
            lines: 0,
            old: Vec::new(),
            twin: None,
            opens_at_ms: None,
            cuts_next: None,
            lies_next: false,
            is_wrong: false,
            is_finishing: false,
            has_finished: false,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let old = self.old.iter().map(|(until_ms, _)| *until_ms);
        old.chain(self.opens_at_ms).chain(self.line_deadline()).min()
    }

    /// When its connection is given up.
    fn line_deadline(&self) -> Option<u64> {
        let line = self.line.as_ref()?;
        if line.leaves_until_ms.is_some() {
            return line.leaves_until_ms;
        }
        match self.endpoint.state {
            State::Open if !line.reads => None,
            State::Open => Some(line.last_received_ms + self.options.ping_ms * 3 / 2 + SLACK_MS),
            _ => Some(line.opened_ms + ANSWER_MS),
        }
    }

    pub(super) fn step(
        &mut self,
        input: Input<Act>,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        match input {
            Input::Act(act) if !self.is_finishing => self.act(act, ledger, context)?,
            Input::Readable(socket) => {
                if self.line.as_ref().is_some_and(|line| line.socket.id() == socket) {
                    self.read(ledger, context)?;
                } else if self.twin.as_ref().is_some_and(|twin| twin.socket.id() == socket) {
                    self.read_twin()?;
                }
            }
            Input::Deadline => self.advance(ledger, context)?,
            Input::Finish(0) => {
                (self.is_finishing, self.cuts_next, self.lies_next) = (true, None, false);
                self.read_again(ledger, context)?;
            }
            Input::Finish(_) => {
                self.has_finished = true;
                self.old.clear();
                self.leave(1000, ledger, context);
            }
            _ => {}
        }
        if self.has_finished {
            self.opens_at_ms = None;
        } else if self.is_finishing && self.line.is_none() && self.opens_at_ms.is_none() {
            self.opens_at_ms = Some(context.now_ms + context.rng.below(50));
        }
        self.flush();
        Ok(())
    }

    fn act(&mut self, act: Act, ledger: &mut Ledger, context: &mut Context<'_>) -> Result<(), Violation> {
        let is_leaving = self.line.as_ref().is_some_and(|line| line.leaves_until_ms.is_some());
        let is_open = self.endpoint.state == State::Open && !is_leaving;
        match act {
            Act::Connect if self.line.is_none() => self.opens_at_ms = Some(context.now_ms),
            Act::Send(messages) if !is_leaving => {
                (0..messages).for_each(|_| self.endpoint.send(context.rng));
            }
            Act::Cut { how, in_a_message, away_ms } if self.line.is_some() && !is_leaving => {
                if in_a_message && !matches!(how, Cut::CloseFrame(..)) {
                    let written = self.endpoint.outbox.len() as u64;
                    self.endpoint.send(context.rng);
                    let more = self.endpoint.outbox.len() as u64 - written;
                    self.endpoint.outbox.truncate((written + context.rng.below(more + 1)) as usize);
                    self.flush();
                    self.endpoint.outbox.clear();
                }
                self.cut(how, away_ms, context);
            }
            Act::CutAnswer { bytes } => self.cuts_next = Some(bytes),
            Act::StopReading => self.line.iter_mut().for_each(|line| line.reads = false),
            Act::ReadAgain => self.read_again(ledger, context)?,
            Act::Leave => {
                let code = context.rng.pick(&[1000, 1001, 3000, 4998]).copied().unwrap_or(1000);
                self.leave(code, ledger, context);
            }
            Act::OldAttempt if is_open && self.twin.is_none() => self.send_twin(ledger, context),
            Act::LieWhenBack => self.lies_next = true,
            Act::LieInAck if is_open && !self.is_wrong => {
                if let Some(greeting) = &self.endpoint.greeting {
                    ledger.lies_behind(greeting.id, self.endpoint.sent)?;
                    self.is_wrong = true;
                    self.endpoint.lie(context.rng);
                    self.endpoint.send(context.rng);
                }
            }
            Act::Ping if is_open => self.endpoint.ping(context.rng),
            Act::Acknowledge if is_open => self.endpoint.acknowledge(context.rng),
            _ => {}
        }
        Ok(())
    }

    fn next_name(&mut self) -> Name {
        self.lines += 1;
        (self.process, self.lines)
    }

    fn open(&mut self, ledger: &mut Ledger, context: &mut Context<'_>) -> Result<(), Violation> {
        let name = self.next_name();
        let lies = std::mem::take(&mut self.lies_next);
        if let Some(greeting) = self.endpoint.greeting.as_ref().filter(|_| lies) {
            ledger.lies(greeting.id)?;
        }
        self.endpoint.open(name, lies, context.rng);
        self.line = Some(Line {
            socket: context.connect(GATEWAY, PORT),
            opened_ms: context.now_ms,
            last_received_ms: context.now_ms,
            received: 0,
            cut_at: self.cuts_next.take(),
            reads: true,
            lies,
            leaves_until_ms: None,
        });
        Ok(())
    }

    fn flush(&mut self) {
        let Some(line) = &self.line else { return };
        let outbox = &mut self.endpoint.outbox;
        while !outbox.is_empty()
            && let Written::Bytes(n) = line.socket.try_write(outbox)
        {
            outbox.drain(..n);
        }
    }

    /// Its connection is over for it, and perhaps not for the gateway.
    fn cut(&mut self, how: Cut, away_ms: u64, context: &mut Context<'_>) {
        if let Cut::CloseFrame(code, reason) = how {
            self.endpoint.close(code, reason, context.rng);
            self.flush();
        }
        let Some(line) = self.line.take() else { return };
        context.note(|| format!("the connection is cut: {how:?}, for {away_ms} ms"));
        match how {
            Cut::Reset => line.socket.reset(),
            Cut::Close => {}
            Cut::HalfOpen | Cut::CloseFrame(..) => {
                let until_ms = context.now_ms + context.rng.below(2 * self.options.resume_ms);
                self.old.push((until_ms, line.socket));
            }
        }
        self.endpoint.cut();
        if std::mem::take(&mut self.is_wrong) {
            self.endpoint.begin_anew();
        }
        self.opens_at_ms = Some(context.now_ms + away_ms);
    }

    fn leave(&mut self, code: u16, ledger: &mut Ledger, context: &mut Context<'_>) {
        let Some(line) = &mut self.line else {
            // It stays away.
            return;
        };
        if line.leaves_until_ms.is_some() {
            return;
        }
        if !matches!(self.endpoint.state, State::Open | State::Starting) {
            return;
        }
        line.leaves_until_ms = Some(context.now_ms + LEAVE_MS);
        ledger.leaves(self.endpoint.name);
        self.endpoint.close(code, "", context.rng);
    }

    /// It has left, or its client is gone.
    fn drop_line(&mut self) {
        self.line = None;
        self.is_wrong = false;
        self.endpoint.cut();
        self.endpoint.begin_anew();
    }

    fn read_again(&mut self, ledger: &mut Ledger, context: &mut Context<'_>) -> Result<(), Violation> {
        if let Some(line) = &mut self.line {
            line.reads = true;
            if self.is_finishing {
                line.cut_at = None;
            }
        }
        self.read(ledger, context)
    }

    fn read(&mut self, ledger: &mut Ledger, context: &mut Context<'_>) -> Result<(), Violation> {
        let mut scratch = [0; 4096];
        loop {
            let Some(line) = self.line.as_mut().filter(|line| line.reads) else { return Ok(()) };
            let most = line.cut_at.map_or(scratch.len(), |at| at.saturating_sub(line.received));
            if most == 0 {
                let how = if context.rng.chance(50) { Cut::Reset } else { Cut::HalfOpen };
                let away_ms = context.rng.below(50);
                self.cut(how, away_ms, context);
                return Ok(());
            }
            match line.socket.try_read(&mut scratch[..most.min(4096)]) {
                ReadOutcome::Bytes(n) => {
                    (line.last_received_ms, line.received) = (context.now_ms, line.received + n);
                    self.endpoint.receive(&scratch[..n]);
                    while let Some(received) = self.endpoint.next(context.rng)? {
                        self.take(received, ledger, context)?;
                    }
                }
                ReadOutcome::Empty => return Ok(()),
                ReadOutcome::End | ReadOutcome::Reset if line.leaves_until_ms.is_some() => {
                    self.drop_line();
                    return Ok(());
                }
                ReadOutcome::End | ReadOutcome::Reset => {
                    let away_ms = context.rng.below(20);
                    self.cut(Cut::Close, away_ms, context);
                    return Ok(());
                }
            }
        }
    }

    fn take(
        &mut self,
        received: Received,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(line) = &self.line else { return Ok(()) };
        let id = self.endpoint.greeting.as_ref().map(|greeting| greeting.id);
        if !matches!(received, Received::Data(_)) {
            context.note(|| format!("{received:?}, as {id:08x?}"));
        }
        match received {
            Received::Greeted | Received::Resumed => Ok(()),
            Received::Data(message) => id.map_or(Ok(()), |id| ledger.gets(id, &message)),
            Received::Lost(why) => {
                ensure(why == "expired" || why == "behind", "the-lost-are-told-why", || why)
            }
            Received::Closed(code) => {
                id.map_or(Ok(()), |id| ledger.is_told_closed(id, code))?;
                self.endpoint.begin_anew();
                Ok(())
            }
            Received::Close { .. } if line.leaves_until_ms.is_some() => {
                self.drop_line();
                Ok(())
            }
            Received::Close { code, is_answered } => {
                let lies = line.lies;
                if is_answered {
                    id.map_or(Ok(()), |id| ledger.is_closed(id, code))?;
                    self.endpoint.close(code, "", context.rng);
                    self.flush();
                    self.drop_line();
                } else {
                    let is_due = code == 1013 || code == 1002 && lies;
                    ensure(is_due, "no-client-is-blamed", || format!("{code}, as {id:08x?}"))?;
                    self.cut(Cut::Close, 0, context);
                }
                self.opens_at_ms = Some(context.now_ms + context.rng.below(100));
                Ok(())
            }
        }
    }

    /// Opens a second connection, which shows an attempt that was answered before.
    fn send_twin(&mut self, ledger: &mut Ledger, context: &mut Context<'_>) {
        let name = self.next_name();
        let Some(first_words) = self.endpoint.old_attempt(name, context.rng) else { return };
        debug_assert!(first_words.starts_with(&handshake(name)));
        // Where it becomes a new client, it leaves at once.
        ledger.leaves(name);
        let socket = context.connect(GATEWAY, PORT);
        let leaves = client_frame(CLOSE, &1000_u16.to_be_bytes(), 0);
        socket.try_write(&[first_words, leaves].concat());
        self.twin = Some(Twin { socket, frames: ServerFrames::default() });
    }

    fn read_twin(&mut self) -> Result<(), Violation> {
        let mut scratch = [0; 4096];
        while let Some(twin) = &mut self.twin {
            match twin.socket.try_read(&mut scratch) {
                ReadOutcome::Bytes(n) => twin.frames.push(&scratch[..n]),
                ReadOutcome::Empty => return Ok(()),
                ReadOutcome::End | ReadOutcome::Reset => self.twin = None,
            }
            while let Some(frame) = self.twin.as_mut().map_or(Ok(None), |twin| twin.frames.take())? {
                if frame.opcode == TEXT
                    && let Content::Control(json) = Content::of(TEXT, &frame.payload)
                {
                    let json = String::from_utf8_lossy(json);
                    let is_resumed = json.starts_with(r#"{"resumed""#);
                    ensure(!is_resumed, "an-old-attempt-is-closed", || format!("it is told {json}"))?;
                }
                if frame.opcode == CLOSE {
                    self.twin = None;
                }
            }
        }
        Ok(())
    }

    /// Does what its time has come for.
    fn advance(&mut self, ledger: &mut Ledger, context: &mut Context<'_>) -> Result<(), Violation> {
        let now_ms = context.now_ms;
        self.old.retain(|(until_ms, _)| *until_ms > now_ms);
        if self.line_deadline().is_some_and(|at_ms| at_ms <= now_ms) {
            let is_leaving = self.line.as_ref().is_some_and(|line| line.leaves_until_ms.is_some());
            match self.endpoint.state {
                _ if is_leaving => self.drop_line(),
                State::Open => self.cut(Cut::CloseFrame(3999, ""), 0, context),
                _ => self.cut(Cut::HalfOpen, 0, context),
            }
        }
        if self.opens_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.opens_at_ms = None;
            if self.line.is_none() {
                self.open(ledger, context)?;
            }
        }
        Ok(())
    }

    /// Checks that it is back, has got all, and has had all taken.
    pub(super) fn check_quiet(&self, ledger: &Ledger) -> Result<(), Violation> {
        let life = self.endpoint.greeting.as_ref().and_then(|greeting| ledger.life(greeting.id));
        let is_quiet = self.endpoint.state == State::Open
            && life.is_some_and(|life| {
                life.is_there
                    && !life.is_known_away
                    && life.has_got_all()
                    && life.handled == self.endpoint.sent
            });
        ensure(is_quiet, "everybody-is-back-with-everything", || {
            let Endpoint { state, sent, .. } = &self.endpoint;
            format!("client {}: {state:?}, {sent} sent, {life:?}", self.process)
        })
    }
}
