//! The process of a client: a page that speaks WebSocket, does what its script says, and checks what it gets.
//!
//! It says its handshake, a line, and may go on before that is answered. It answers pings as long as it reads, and
//! a close frame with its own.

use std::collections::{BTreeMap, VecDeque};

use gatewayworker_protocol::ClientId;

use super::gateway::{ACCEPTED, CLIENTS, NO_WORKER};
use super::observer::{Fact, Observer};
use super::worker::{is_destroyed, is_kicked};
use crate::client_script::{Admission, ClientAction, Request};
use crate::epochs::Life;
use crate::model::{Context, Input};
use crate::network::{ReadOutcome, Socket, Written};
use crate::violation::{Violation, ensure};
use crate::websocket::{CLOSE, PING, PONG, ServerFrames, TEXT, client_frame};

/// How long a client that leaves waits for the server's close frame, in ms.
const LEAVE_TIMEOUT_MS: u64 = 1_000;

/// A client.
pub(super) struct Client {
    gateways: usize,
    connections: u64,
    connection: Option<Connection>,
}

struct Connection {
    socket: Socket,
    /// How often the client has connected before.
    number: u64,
    outbox: Vec<u8>,
    /// The answer to the handshake, as far as it has come.
    answer: Vec<u8>,
    frames: ServerFrames,
    id: Option<ClientId>,
    reads: bool,
    has_sent_close: bool,
    has_received_close: bool,
    /// It leaves, and waits until then for the server.
    leaves_until_ms: Option<u64>,
    sent: u64,
    /// Requests that are not echoed, the oldest first.
    unechoed: VecDeque<Request>,
    /// The number of the last request about a fact.
    last_about: BTreeMap<Fact, u64>,
    last_bind: Option<u64>,
    /// It has asked for its own end: nothing is sure any more.
    is_ended_by_request: bool,
    /// The last broadcast to all from each worker.
    broadcasts: BTreeMap<u64, u64>,
}

impl Client {
    pub(super) fn new(gateways: usize) -> Self {
        Self { gateways, connections: 0, connection: None }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.connection.as_ref().and_then(|connection| connection.leaves_until_ms)
    }

    pub(super) fn step(
        &mut self,
        input: Input<super::Act>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        match input {
            Input::Act(super::Act::Client(ClientAction::Connect(admission))) if self.connection.is_none() => {
                self.connect(admission, context);
            }
            Input::Act(super::Act::Client(action)) => self.act(action, observer, context)?,
            Input::Finish(0) => {
                self.act(ClientAction::ReadAgain, observer, context)?;
                let action = if context.rng.chance(50) { ClientAction::Leave } else { ClientAction::Reset };
                self.act(action, observer, context)?;
            }
            Input::Deadline if self.next_deadline().is_some_and(|at_ms| at_ms <= context.now_ms) => {
                self.drop_connection(observer);
            }
            Input::Readable(_) => self.read(observer, context)?,
            Input::Writable(_) => self.connection.iter_mut().for_each(Connection::flush),
            _ => {}
        }
        Ok(())
    }

    fn connect(&mut self, admission: Admission, context: &mut Context<'_>) {
        let gateway = context.rng.below(self.gateways as u64) as usize;
        let number = self.connections;
        self.connections += 1;
        let admission = match admission {
            Admission::Admit => "admit",
            Admission::Refuse => "refuse",
            Admission::Silent => "silent",
        };
        let mut connection = Connection {
            socket: context.connect(gateway, CLIENTS),
            number,
            outbox: format!("{} {number} {admission}\n", context.process).into_bytes(),
            answer: Vec::new(),
            frames: ServerFrames::default(),
            id: None,
            reads: true,
            has_sent_close: false,
            has_received_close: false,
            leaves_until_ms: None,
            sent: 0,
            unechoed: VecDeque::new(),
            last_about: BTreeMap::new(),
            last_bind: None,
            is_ended_by_request: false,
            broadcasts: BTreeMap::new(),
        };
        connection.flush();
        self.connection = Some(connection);
    }

    fn act(
        &mut self,
        action: ClientAction,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match action {
            ClientAction::StopReading => connection.reads = false,
            ClientAction::ReadAgain => {
                connection.reads = true;
                return self.read(observer, context);
            }
            ClientAction::Leave if !connection.has_sent_close => {
                connection.withdraw(observer, |_| true);
                connection.leaves_until_ms = Some(context.now_ms + LEAVE_TIMEOUT_MS);
                connection.send_close(context);
            }
            ClientAction::Leave => {}
            ClientAction::Reset => {
                connection.socket.reset();
                self.drop_connection(observer);
            }
            request if !connection.has_sent_close => connection.request(request, observer, context),
            _ => {}
        }
        Ok(())
    }

    fn drop_connection(&mut self, observer: &mut Observer) {
        if let Some(connection) = self.connection.take() {
            connection.withdraw(observer, |_| true);
        }
    }

    fn read(&mut self, observer: &mut Observer, context: &mut Context<'_>) -> Result<(), Violation> {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.reads) else {
            return Ok(());
        };
        let mut scratch = [0; 4096];
        loop {
            match connection.socket.try_read(&mut scratch) {
                ReadOutcome::Bytes(n) => connection.receive(&scratch[..n], observer, context)?,
                ReadOutcome::Empty => {
                    connection.flush();
                    return Ok(());
                }
                ReadOutcome::End | ReadOutcome::Reset => {
                    self.drop_connection(observer);
                    return Ok(());
                }
            }
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.connection.is_none()
    }
}

impl Connection {
    fn flush(&mut self) {
        while !self.outbox.is_empty()
            && let Written::Bytes(n) = self.socket.try_write(&self.outbox)
        {
            self.outbox.drain(..n);
        }
    }

    fn send(&mut self, opcode: u8, payload: &[u8], context: &mut Context<'_>) {
        let mask = context.rng.next_u64() as u32;
        self.outbox.extend(client_frame(opcode, payload, mask));
        self.flush();
    }

    fn send_close(&mut self, context: &mut Context<'_>) {
        if !std::mem::replace(&mut self.has_sent_close, true) {
            self.send(CLOSE, &1000_u16.to_be_bytes(), context);
        }
    }

    fn withdraw(&self, observer: &mut Observer, is_meant: impl Fn(Fact) -> bool) {
        if let Some(id) = self.id {
            observer.withdraw(id, is_meant);
        }
    }

    /// Sends a request, and notes what of the client is not sure any more.
    fn request(&mut self, action: ClientAction, observer: &mut Observer, context: &mut Context<'_>) {
        let request = Request { number: self.sent, action };
        let Some(text) = request.encode() else { return };
        match action {
            ClientAction::Join(name) => drop(self.last_about.insert(Fact::Group(name), request.number)),
            ClientAction::LeaveGroup(name) => {
                self.last_about.insert(Fact::Group(name), request.number);
                self.withdraw(observer, |fact| fact == Fact::Group(name));
                if name == 0 {
                    // It is unbound as well.
                    self.last_bind = None;
                    self.withdraw(observer, |fact| matches!(fact, Fact::Uid(_)));
                }
            }
            action if is_kicked(action) || is_destroyed(action) => {
                self.withdraw(observer, |_| true);
                self.is_ended_by_request = true;
            }
            ClientAction::Bind(_) => {
                self.last_bind = Some(request.number);
                self.withdraw(observer, |fact| matches!(fact, Fact::Uid(_)));
            }
            _ => {}
        }
        self.sent += 1;
        self.unechoed.push_back(request);
        self.send(TEXT, text.as_bytes(), context);
    }

    fn receive(
        &mut self,
        bytes: &[u8],
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let missing = (ACCEPTED.len() - self.answer.len()).min(bytes.len());
        self.answer.extend_from_slice(&bytes[..missing]);
        if !ACCEPTED.starts_with(&self.answer) {
            let is_refused = NO_WORKER.starts_with(&self.answer);
            return ensure(is_refused, "server-speaks-websocket", || format!("{:?}", self.answer));
        }
        self.frames.push(&bytes[missing..]);
        while let Some(frame) = self.frames.take()? {
            ensure(!self.has_received_close, "nothing-after-the-close-frame", || {
                format!("opcode {}", frame.opcode)
            })?;
            match frame.opcode {
                TEXT => {
                    let text = String::from_utf8(frame.payload)
                        .map_err(|error| Violation::new("server-speaks-websocket", error.to_string()))?;
                    self.take_message(&text, observer, context.process)?;
                }
                PING if !self.has_sent_close => self.send(PONG, &frame.payload, context),
                CLOSE => {
                    self.has_received_close = true;
                    self.send_close(context);
                    self.leaves_until_ms.get_or_insert(context.now_ms + LEAVE_TIMEOUT_MS);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take_message(&mut self, text: &str, observer: &mut Observer, process: usize) -> Result<(), Violation> {
        let mut words = text.split(' ');
        match words.next() {
            Some("id") => self.id = words.next().and_then(|id| id.parse().ok()),
            Some("own") => {
                let number: Option<u64> = words.next().and_then(|number| number.parse().ok());
                self.take_echo(number, observer)?;
            }
            Some("many") => {
                observer.gets_for_many((process, self.number))?;
                let kind = words.next();
                let worker = words.next().and_then(|worker| worker.parse::<u64>().ok()).unwrap_or(0);
                let number = words.next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
                if kind == Some("all") {
                    let before = self.broadcasts.insert(worker, number);
                    let is_next = before.is_none_or(|before| number == before + 1);
                    // What a worker has told a gateway on a link that is over may be lost, and what it tells it
                    // on the next one may come first.
                    let is_lost = observer.are_parted(self.socket.peer(), Life::of_id(worker));
                    ensure(is_next || is_lost, "broadcasts-reach-everybody-in-order", || {
                        format!("client {:?}: {number} of worker {worker:x} after {before:?}", self.id)
                    })?;
                }
            }
            Some("refused") => {}
            _ => return Err(Violation::new("messages-arrive-as-sent", text.to_owned())),
        }
        Ok(())
    }

    /// The echo of a request: the request has taken effect.
    fn take_echo(&mut self, number: Option<u64>, observer: &mut Observer) -> Result<(), Violation> {
        let expected = self.unechoed.front().map(|request| request.number);
        let details = || format!("client {:?}: {number:?} instead of {expected:?}", self.id);
        let is_known = number.is_some_and(|number| number < self.sent);
        ensure(is_known, "echoes-in-order", details)?;
        if number < expected || expected.is_none() {
            // Its message was handled again.
            let is_again = self.id.is_some_and(|id| observer.ledger.has_repeats(id));
            return ensure(is_again, "echoes-in-order", details);
        }
        if number > expected {
            ensure(observer.ledger.may_miss_events(), "echoes-in-order", details)?;
            while self.unechoed.front().is_some_and(|request| Some(request.number) < number) {
                self.unechoed.pop_front();
            }
        }
        let Some(request) = self.unechoed.pop_front() else { return Ok(()) };
        let Some(id) = self.id.filter(|_| !self.has_sent_close && !self.is_ended_by_request) else {
            return Ok(());
        };
        observer.confirm(id, Fact::Listed);
        match request.action {
            ClientAction::Join(name) if self.last_about.get(&Fact::Group(name)) == number.as_ref() => {
                observer.confirm(id, Fact::Group(name));
            }
            ClientAction::Bind(name) if self.last_bind == number => {
                observer.confirm(id, Fact::Uid(name));
            }
            _ => {}
        }
        Ok(())
    }
}
