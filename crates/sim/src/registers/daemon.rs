//! The process of a gateway or worker, as far as registers see it: the real connections to each, and their shell.

use std::io::ErrorKind;

use gatewayworker_net::CONNECT_TIMEOUT;
use gatewayworker_net::internals::{AddressLists, ConnectionEnd, Effect, RegisterConnection};
use gatewayworker_protocol::SecretKey;
use gatewayworker_protocol::register::Message;

use super::lines::Lines;
use crate::model::{Context, Input};
use crate::network::{ProcessId, ReadOutcome, SocketId};
use crate::violation::Violation;

const PORT: u16 = 1236;

/// A gateway or a worker.
#[derive(Debug)]
pub struct Daemon {
    links: Vec<Link>,
    lists: AddressLists,
    /// The gateways that it knows of.
    known: Vec<String>,
    /// Its host has power.
    has_power: bool,
}

#[derive(Debug)]
struct Link {
    connection: RegisterConnection,
    lines: Option<Lines>,
    /// When the attempt to connect is given up.
    connect_until_ms: Option<u64>,
}

impl Daemon {
    /// A gateway that announces an address to `registers`, or a worker that follows them.
    pub(super) fn new(registers: impl Iterator<Item = String>, announced: Option<String>) -> Self {
        let secret_key = SecretKey::default();
        let hello = match announced {
            Some(address) => Message::GatewayConnect { address, secret_key },
            None => Message::WorkerConnect { secret_key },
        };
        let link = |register| Link {
            connection: RegisterConnection::new(register, hello.clone()),
            lines: None,
            connect_until_ms: None,
        };
        let links = registers.map(link).collect();
        Self { links, lists: AddressLists::default(), known: Vec::new(), has_power: true }
    }

    /// Its host loses power: it does nothing more, and its connections stand until the other ends close them.
    pub(super) fn lose_power(&mut self) {
        self.has_power = false;
    }

    pub(super) fn known(&self) -> &[String] {
        &self.known
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        if !self.has_power {
            return None;
        }
        let deadlines =
            self.links.iter().map(|link| (link.connection.next_deadline(), link.connect_until_ms));
        deadlines.flat_map(|(decided, connect)| decided.into_iter().chain(connect)).min()
    }

    pub(super) fn step(
        &mut self,
        input: Input<super::GatewayEnd>,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let now_ms = context.now_ms;
        let changed: Vec<ProcessId> = match input {
            Input::Connected(socket) => self.link_of(socket).into_iter().collect(),
            Input::Readable(socket) | Input::Writable(socket) => self.link_of(socket).into_iter().collect(),
            Input::Deadline => (0..self.links.len()).collect(),
            _ => return Ok(()),
        };
        if !self.has_power {
            changed.iter().for_each(|register| self.links[*register].forget_if_closed());
            return Ok(());
        }
        for register in changed {
            let link = &mut self.links[register];
            let end = match input {
                Input::Connected(_) => {
                    link.connect_until_ms = None;
                    self.lists.connected(register);
                    link.connection.connected(now_ms);
                    None
                }
                Input::Readable(_) => link.read(now_ms),
                Input::Deadline if link.connect_until_ms.is_some_and(|until_ms| until_ms <= now_ms) => {
                    Some(ConnectionEnd::Unreachable(ErrorKind::TimedOut.into()))
                }
                Input::Deadline => {
                    link.connection.deadline(now_ms);
                    None
                }
                _ => None,
            };
            if let Some(end) = end {
                link.end(register, &end, context);
            }
            self.carry_out(register, context);
        }
        Ok(())
    }

    fn link_of(&self, socket: SocketId) -> Option<ProcessId> {
        self.links
            .iter()
            .position(|link| link.lines.as_ref().is_some_and(|lines| lines.socket.id() == socket))
    }

    fn carry_out(&mut self, register: ProcessId, context: &mut Context<'_>) {
        let link = &mut self.links[register];
        while let Some(effect) = link.connection.next_effect() {
            match effect {
                Effect::Connect => {
                    link.lines = Some(Lines::new(context.connect(register, PORT)));
                    link.connect_until_ms = Some(context.now_ms + CONNECT_TIMEOUT.as_millis() as u64);
                }
                Effect::Send(message) => {
                    if let Some(lines) = &mut link.lines {
                        lines.push(message.to_line().as_bytes());
                    }
                }
                Effect::Disconnect => link.end(register, &ConnectionEnd::Silent, context),
                Effect::List(listed) => {
                    context.note(|| format!("register {register}: {listed:?}"));
                    self.known = self.lists.take(register, listed);
                }
                Effect::Accepted | Effect::Heard { .. } | Effect::Trouble(_) | Effect::Ignored(_) => {
                    context.note(|| format!("{effect:?}"))
                }
            }
        }
        if let Some(lines) = &mut link.lines {
            lines.flush();
        }
    }
}

impl Link {
    fn end(&mut self, register: ProcessId, end: &ConnectionEnd, context: &mut Context<'_>) {
        context.note(|| format!("the connection to register {register} is over: {end:?}"));
        let jitter = context.rng.below(1001) as f64 / 1000.0;
        self.connect_until_ms = None;
        self.lines = None;
        self.connection.ended(end, context.now_ms, jitter);
    }

    /// Forgets a connection that the other end has closed, on a host without power.
    fn forget_if_closed(&mut self) {
        let is_closed = |lines: &mut Lines| matches!(lines.read(), ReadOutcome::End | ReadOutcome::Reset);
        self.lines.take_if(is_closed);
    }

    fn read(&mut self, now_ms: u64) -> Option<ConnectionEnd> {
        let lines = self.lines.as_mut()?;
        let outcome = lines.read();
        while let Some(line) = lines.next_line() {
            self.connection.received(&line, now_ms);
        }
        match (outcome, self.connect_until_ms) {
            (ReadOutcome::Reset, Some(_)) => {
                Some(ConnectionEnd::Unreachable(ErrorKind::ConnectionRefused.into()))
            }
            (ReadOutcome::Reset, None) => Some(ConnectionEnd::Failed(ErrorKind::ConnectionReset.into())),
            (ReadOutcome::End, _) => Some(ConnectionEnd::Closed),
            (ReadOutcome::Empty | ReadOutcome::Bytes(_), _) => None,
        }
    }
}
