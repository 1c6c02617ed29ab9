//! The connections of the gateway, from their first byte to their end, as the folder `client` of the gateway has them.
//!
//! A connection begins with a line, which stands for the handshake. The first message behind it says whether it is a
//! new client's or of one that comes back; from then on the core has it.

use std::rc::Rc;

use bytes::Bytes;
use gatewayworker_gateway::internals::testing::MemoryLink;
use gatewayworker_gateway::internals::{
    Attached, Compression, Directory, Inbox, Key, NewClient, Outbox, Reading, Returning, Route, Writable,
    encode,
};
use gatewayworker_protocol::ClientId;

use super::application::{handshake, read_handshake};
use super::gateway::{ADDRESS, Gateway, Wake};
use super::ledger::{Answer, Ledger};
use super::message::{Name, control};
use super::opening::{Opening, read_opening, read_token, token};
use super::ports::{Line, SimConnection};
use crate::closing::Closing;
use crate::model::Context;
use crate::network::{ReadOutcome, Socket};
use crate::violation::Violation;
use crate::websocket::take_client_frame;

/// How long a connection may take until its first message, in ms.
const HANDSHAKE_MS: u64 = 500;

/// What a step reads at most, in bytes.
const SCRATCH: usize = 2 * 1024;

/// A connection.
pub(super) struct LineTask {
    pub(super) socket: Rc<Socket>,
    pub(super) stage: Stage,
    number: u32,
    /// A turn is planned.
    is_woken: bool,
}

/// How far it is.
pub(super) enum Stage {
    /// Its first message has not come.
    Opening {
        received: Vec<u8>,
        until_ms: u64,
    },
    /// It is a client's.
    Open(Open),
    Closing(Closing),
}

/// A client's connection.
pub(super) struct Open {
    key: Key,
    inbox: Inbox,
    /// It is not read from until its events can go somewhere.
    waits: Option<Route<MemoryLink>>,
    /// The core wants to know when the socket takes bytes again.
    pub(super) waits_writable: bool,
}

impl Gateway {
    pub(super) fn accept(&mut self, socket: Socket, now_ms: u64) {
        let number = self.next_number;
        self.next_number += 1;
        self.sockets.insert(socket.id(), number);
        let stage = Stage::Opening { received: Vec::new(), until_ms: now_ms + HANDSHAKE_MS };
        self.lines.insert(number, LineTask { socket: Rc::new(socket), stage, number, is_woken: false });
    }

    /// Drops a connection.
    pub(super) fn forget(&mut self, number: u32) {
        if let Some(line) = self.lines.remove(&number) {
            self.sockets.remove(&line.socket.id());
        }
    }

    /// The connection of a client.
    pub(super) fn line_of(&mut self, key: Key) -> Option<&mut LineTask> {
        let number = self.core.connection(key)?.line.as_ref()?.number;
        self.lines.get_mut(&number)
    }

    /// Something has arrived, or a connection that was read from goes on.
    pub(super) fn read(
        &mut self,
        number: u32,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(line) = self.lines.get_mut(&number) else { return Ok(()) };
        let mut scratch = [0; SCRATCH];
        match &mut line.stage {
            Stage::Opening { received, .. } => match line.socket.try_read(&mut scratch) {
                ReadOutcome::Bytes(n) => {
                    received.extend_from_slice(&scratch[..n]);
                    context.read_again(line.socket.id());
                    self.open(number, ledger, context)?;
                }
                ReadOutcome::Empty => {}
                ReadOutcome::End | ReadOutcome::Reset => self.forget(number),
            },
            Stage::Open(open) if open.waits.is_some() => {}
            Stage::Open(open) => match line.socket.try_read(&mut scratch) {
                ReadOutcome::Bytes(n) => {
                    let (key, now_ms) = (open.key, context.now_ms);
                    let reading = self.core.receive(key, &mut open.inbox, &mut scratch[..n], now_ms);
                    self.go_on(number, reading, context);
                    self.carry_out(ledger, context)?;
                }
                ReadOutcome::Empty => {}
                ReadOutcome::End | ReadOutcome::Reset => {
                    let key = open.key;
                    self.input(ledger, context, |core| core.read_ended(key))?;
                }
            },
            Stage::Closing(_) => self.advance_closing(number, context.now_ms),
        }
        Ok(())
    }

    fn go_on(&mut self, number: u32, reading: Reading<MemoryLink>, context: &mut Context<'_>) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        let Stage::Open(open) = &mut line.stage else { return };
        match reading {
            Reading::More => context.read_again(line.socket.id()),
            Reading::Paused(route) => open.waits = Some(route),
            Reading::Delayed(_) | Reading::Closed => {}
        }
    }

    /// Does what the first message of a connection says, when it is whole.
    fn open(&mut self, number: u32, ledger: &mut Ledger, context: &mut Context<'_>) -> Result<(), Violation> {
        let Some(line) = self.lines.get_mut(&number) else { return Ok(()) };
        let Stage::Opening { received, .. } = &mut line.stage else { return Ok(()) };
        let Some(end) = received.iter().position(|byte| *byte == b'\n') else { return Ok(()) };
        let mut rest = received[end + 1..].to_vec();
        let Some((_, message)) = take_client_frame(&mut rest) else { return Ok(()) };
        let wrong = || Violation::new("clients-speak-gw-1", String::from_utf8_lossy(&message));
        let name = read_handshake(&received[..end]).ok_or_else(wrong)?;
        match read_opening(&message).ok_or_else(wrong)? {
            Opening::Start => self.insert(number, name, rest, None, ledger, context),
            Opening::Resume { token, attempt, got } => {
                let (id, secret) = read_token(&token).ok_or_else(wrong)?;
                let line = Line { number, socket: line.socket.clone() };
                let returning = Returning {
                    socket: line,
                    connection_id: id,
                    secret,
                    attempt,
                    got,
                    address: ADDRESS,
                    handshake: Bytes::from(handshake(name)),
                    compression: Compression::Off,
                    prefix: Bytes::new(),
                    grant: None,
                };
                self.attach(returning, name, rest, ledger, context)
            }
        }
    }

    /// Gives a connection to the client that it is of.
    fn attach(
        &mut self,
        returning: Returning<Line>,
        name: Name,
        rest: Vec<u8>,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let now_ms = context.now_ms;
        let (number, id) = (returning.socket.number, returning.connection_id);
        let counts = (returning.attempt, returning.got);
        if self.lines.values().any(|line| line.is_of(id)) {
            context.note(|| format!("connection {number} takes over from another one, if it may"));
        }
        let attached = self.core.attach(returning, now_ms);
        let answer = match &attached {
            Attached::Yes(_) => Answer::Resumed,
            Attached::Lost(_, why) => match why.name() {
                "expired" => Answer::Expired,
                "behind" => Answer::Behind,
                other => Answer::Other(other),
            },
            Attached::Ended(_, frames) => Answer::Ended(code_of(frames).unwrap_or_default()),
        };
        context.note(|| format!("{id:08x} comes back, {counts:?}: {answer:?}"));
        ledger.answers(id, counts, answer, now_ms)?;
        match attached {
            Attached::Yes(key) => self.begin(number, key, rest, ledger, context),
            Attached::Lost(_, why) => {
                self.carry_out(ledger, context)?;
                self.insert(number, name, rest, Some(why.name()), ledger, context)
            }
            Attached::Ended(_, frames) => {
                self.carry_out(ledger, context)?;
                self.end(number, frames, now_ms);
                Ok(())
            }
        }
    }

    /// Makes a new client of a connection, whose client may be lost.
    fn insert(
        &mut self,
        number: u32,
        name: Name,
        rest: Vec<u8>,
        lost: Option<&str>,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(line) = self.lines.get(&number) else { return Ok(()) };
        let now_ms = context.now_ms;
        let Some(worker) = self.directory.choose(None, false) else {
            self.end(number, vec![Bytes::from_static(&[0x88, 2, 0x03, 0xf5])], now_ms);
            return Ok(());
        };
        let socket = line.socket.clone();
        let id = self.core.draw_connection_id(|| context.rng.next_u64() as u32);
        let secret =
            (u128::from(context.rng.next_u64()) << 64 | u128::from(context.rng.next_u64())).to_be_bytes();
        let Some(policy) = self.policy.resume else { return Ok(()) };
        let lost = lost.map(|why| encode(false, &control(&format!(r#"{{"lost":{{"why":"{why}"}}}}"#))));
        let (client, token) = (ClientId::new(ADDRESS, id), token(id, &secret));
        let (resume_ms, ping_ms) = (policy.resume_ms, policy.ping_ms);
        let hello = format!(
            r#"{{"hello":{{"client":"{client}","token":"{token}","resume_ms":{resume_ms},"ping_ms":{ping_ms},"max":1048576}}}}"#
        );
        let new = NewClient {
            connection_id: id,
            seq: number.into(),
            address: ADDRESS,
            connection: SimConnection {
                line: Some(Line { number, socket }),
                policy: self.policy.clone(),
                shared: self.shared.clone(),
                detached_ms: None,
            },
            worker,
            compression: Compression::Off,
            response: [lost.unwrap_or_default(), encode(false, &control(&hello))].concat().into(),
            resume: Some((policy, secret)),
        };
        ledger.begins(id, name);
        context.note(|| format!("{name:?} is client {id:08x}"));
        let key = self.core.insert(new, now_ms);
        self.core.tell_connected(key, Some(&handshake(name)), now_ms);
        self.begin(number, key, rest, ledger, context)
    }

    /// Begins to read from a connection that is a client's.
    fn begin(
        &mut self,
        number: u32,
        key: Key,
        rest: Vec<u8>,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if let Some(line) = self.lines.get_mut(&number) {
            let inbox = Inbox::new(&self.policy, rest);
            line.stage = Stage::Open(Open { key, inbox, waits: None, waits_writable: false });
        }
        self.carry_out(ledger, context)?;
        self.resume(number, ledger, context)
    }

    /// Goes on with a connection that begins, or whose wait is over.
    fn resume(
        &mut self,
        number: u32,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(line) = self.lines.get_mut(&number) else { return Ok(()) };
        let Stage::Open(open) = &mut line.stage else { return Ok(()) };
        open.waits = None;
        let reading = self.core.resume(open.key, &mut open.inbox, context.now_ms);
        self.go_on(number, reading, context);
        self.carry_out(ledger, context)
    }

    /// The planned turn of a connection has come.
    pub(super) fn run(
        &mut self,
        number: u32,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(line) = self.lines.get_mut(&number) else { return Ok(()) };
        line.is_woken = false;
        match &line.stage {
            Stage::Open(open) if open.waits.is_some() => self.resume(number, ledger, context),
            _ => Ok(()),
        }
    }

    /// The socket of a connection has room, or is broken.
    pub(super) fn is_writable(
        &mut self,
        number: u32,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(line) = self.lines.get_mut(&number) else { return Ok(()) };
        match &mut line.stage {
            Stage::Open(open) if open.waits_writable => {
                let key = open.key;
                open.waits_writable = false;
                if self.input(ledger, context, |core| core.writable(key))? == Writable::Blocked
                    && let Some(line) = self.lines.get_mut(&number)
                    && let Stage::Open(open) = &mut line.stage
                {
                    open.waits_writable = true;
                }
            }
            Stage::Closing(_) => self.advance_closing(number, context.now_ms),
            _ => {}
        }
        Ok(())
    }

    /// Ends a connection that is no client's with these frames.
    fn end(&mut self, number: u32, frames: Vec<Bytes>, now_ms: u64) {
        let mut outbox = Outbox::default();
        frames.into_iter().for_each(|frame| outbox.push(frame));
        self.begin_closing(number, Closing::new(outbox, true, false, now_ms), now_ms);
    }

    pub(super) fn begin_closing(&mut self, number: u32, closing: Closing, now_ms: u64) {
        if let Some(line) = self.lines.get_mut(&number) {
            line.stage = Stage::Closing(closing);
        }
        self.advance_closing(number, now_ms);
    }

    fn advance_closing(&mut self, number: u32, now_ms: u64) {
        if let Some(line) = self.lines.get_mut(&number)
            && let Stage::Closing(closing) = &mut line.stage
            && closing.advance(&line.socket, now_ms)
        {
            self.forget(number);
        }
    }

    /// Ends the waits whose time is over.
    pub(super) fn time_out(&mut self, now_ms: u64) {
        let is_due = |line: &LineTask| line.deadline().is_some_and(|at_ms| at_ms <= now_ms);
        let due: Vec<u32> =
            self.lines.iter().filter(|(_, line)| is_due(line)).map(|(number, _)| *number).collect();
        for number in due {
            match self.lines.get(&number).map(|line| &line.stage) {
                Some(Stage::Opening { .. }) => self.forget(number),
                _ => self.advance_closing(number, now_ms),
            }
        }
    }

    /// Plans a turn for connections that wait for room on a worker's link, where that is there.
    pub(super) fn wake_lines(&mut self, context: &mut Context<'_>) {
        for line in self.lines.values_mut() {
            let is_over = match &line.stage {
                Stage::Open(Open { waits: Some(route), .. }) => match route {
                    Route::Full(link) => !link.is_full() || !link.is_open(),
                    Route::Wait => false,
                    Route::Open | Route::Gone => true,
                },
                _ => false,
            };
            if is_over {
                line.wake(context);
            }
        }
    }
}

impl LineTask {
    pub(super) fn wake(&mut self, context: &mut Context<'_>) {
        if !std::mem::replace(&mut self.is_woken, true) {
            let delay_ms = context.rng.below(3);
            context.turn_after(delay_ms, Wake::Line(self.number).encode());
        }
    }

    fn is_of(&self, id: u32) -> bool {
        matches!(&self.stage, Stage::Open(open) if open.key.connection_id() == id)
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match &self.stage {
            Stage::Opening { until_ms, .. } => Some(*until_ms),
            Stage::Open(_) => None,
            Stage::Closing(closing) => Some(closing.until_ms),
        }
    }
}

/// The code of the close frame that is the last of these.
fn code_of(frames: &[Bytes]) -> Option<u16> {
    let [0x88, _, high, low, ..] = frames.last()?[..] else { return None };
    Some(u16::from_be_bytes([high, low]))
}
