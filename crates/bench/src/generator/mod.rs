//! A process of the load generator of `scale`: one thread that has thousands of clients and polls them.
//!
//! It reads commands from standard input and writes replies to standard output (`protocol`). It has one job at a time
//! (`job`), which is plain data, and the sockets (`connections`). It answers pings by itself. It ends when its standard
//! input does, so it never outlives `scale`, which starts it.

mod broadcast;
mod connections;
mod group_sends;
mod job;
mod joining;
mod opening;
pub(crate) mod protocol;

use std::io::{BufRead, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mio::{Events, Poll, Token, Waker};
use nix::time::{ClockId, clock_gettime};

use connections::{Connections, Input};
use job::{Action, Job};
use protocol::{Command, Outcome, Reply, Setup};

use crate::args::Pings;
use crate::wire::{self, opcode};

/// The token of commands. Clients have smaller ones.
const COMMANDS: Token = Token(usize::MAX);

/// How often progress is written, and a job's limits are checked at least.
const PROGRESS: Duration = Duration::from_millis(500);

/// The most commands that wait.
const WAITING: usize = 16;

/// How a gateway's ping begins, if it is a message.
const PING: &[u8] = br#"{"type":"ping""#;

struct Generator {
    setup: Setup,
    connections: Connections,
    /// How many clients are open, for good.
    clients: u32,
    job: Option<Box<dyn Job>>,
    actions: Vec<Action>,
    /// Pings that have not been counted yet.
    pings: u64,
    pong: Vec<u8>,
    /// Whether a failure has been told since the last command.
    failed: bool,
    told: Duration,
}

/// Runs commands until standard input ends.
///
/// # Errors
/// The system has no epoll or no thread, or the first command is not [`Command::Setup`].
pub(crate) fn run() -> Result<()> {
    let mut poll = Poll::new().context("polling")?;
    let commands = read_commands(Waker::new(poll.registry(), COMMANDS)?)?;
    let Ok(Command::Setup(setup)) = commands.recv() else { bail!("the first command is not Setup") };
    let mut generator = Generator::new(setup, Connections::new(poll.registry().try_clone()?));
    generator.say(&Reply::Done(Outcome::new()));
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, Some(generator.timeout())) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            polled => polled.context("polling")?,
        }
        for event in events.iter().filter(|event| event.token() != COMMANDS) {
            generator.on_ready(event.token().0 as u32);
        }
        loop {
            match commands.try_recv() {
                Ok(command) => generator.start(command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        generator.turn();
    }
}

/// Reads commands on a thread of their own, as standard input may be of any kind.
fn read_commands(waker: Waker) -> Result<Receiver<Command>> {
    let (sender, receiver) = sync_channel(WAITING);
    let read = move || {
        for line in std::io::stdin().lock().lines() {
            let Some(command) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else { break };
            if sender.send(command).is_err() || waker.wake().is_err() {
                break;
            }
        }
        drop(sender);
        let _ = waker.wake();
    };
    std::thread::Builder::new().name("commands".into()).spawn(read).context("starting a thread")?;
    Ok(receiver)
}

/// The time since the start of the machine. All processes have the same clock.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

impl Generator {
    fn new(setup: Setup, connections: Connections) -> Self {
        let mut pong = Vec::new();
        if setup.pings == Pings::Message {
            wire::encode(opcode::TEXT, br#"{"type":"pong"}"#, &mut pong);
        }
        let (job, actions) = (None, Vec::new());
        let told = Duration::ZERO;
        Generator { setup, connections, clients: 0, job, actions, pings: 0, pong, failed: false, told }
    }

    /// Begins with a command.
    fn start(&mut self, command: Command) {
        let (clients, number, now) = (self.clients, self.setup.number, now());
        self.failed = false;
        self.told = now;
        let job: Box<dyn Job> = match command {
            Command::Setup(_) => return self.fail("it is set up already".into()),
            Command::Open { clients, at_once } => Box::new(opening::Opening::all(clients, at_once)),
            Command::Halt => return self.halt(),
            Command::CountPings => {
                let count = std::mem::take(&mut self.pings);
                return self.say(&Reply::Done(Outcome { count, ..Outcome::new() }));
            }
            Command::Join { size, at_once } => {
                Box::new(joining::Joining::new(number, clients, size, at_once))
            }
            Command::SendToGroups { size, in_flight, time, bytes } => {
                let end = now + time;
                Box::new(group_sends::GroupSends::new(number, clients, size, in_flight, bytes, end))
            }
            Command::ExpectBroadcast { number } => {
                self.say(&Reply::Progress(0));
                Box::new(broadcast::Broadcast::expect(number, clients, now))
            }
            Command::Broadcast { number, bytes } => {
                let frames = broadcast::message(number, bytes, now);
                return self.actions.push(Action::Send { client: 0, frames });
            }
            Command::Arrive { per_second, time } => {
                Box::new(opening::Opening::passing(clients, per_second, time, now))
            }
        };
        self.job = Some(job);
    }

    /// Ends the job early, if there is one, and says how far it is.
    fn halt(&mut self) {
        let count = self.job.take().map_or(self.clients.into(), |job| job.progress());
        self.say(&Reply::Done(Outcome { count, ..Outcome::new() }));
    }

    /// Handles the readiness of a client's socket.
    fn on_ready(&mut self, client: u32) {
        let Generator { setup, connections, job, actions, pings, pong, .. } = self;
        let now = now();
        let mut lost = None;
        connections.on_ready(client, &mut |input| match input {
            Input::Message(payload) if payload.starts_with(PING) => {
                *pings += 1;
                if !pong.is_empty() {
                    actions.push(Action::Send { client, frames: pong.clone() });
                }
            }
            Input::Message(payload) => {
                job.iter_mut().for_each(|job| job.on_message(client, payload, now, actions));
            }
            Input::Ping(payload) => {
                *pings += 1;
                if setup.pings != Pings::Silent {
                    let mut frames = Vec::new();
                    wire::encode(opcode::PONG, payload, &mut frames);
                    actions.push(Action::Send { client, frames });
                }
            }
            Input::Ended(why) => {
                if !job.as_mut().is_some_and(|job| job.on_ended(client)) {
                    lost = Some(why);
                }
            }
        });
        if let Some(why) = lost {
            self.fail(format!("client {client} was lost: {why}"));
        }
    }

    /// Lets the job do what is due, carries out its actions, and tells how far it is.
    fn turn(&mut self) {
        let now = now();
        if let Some(job) = &mut self.job
            && let Err(why) = job.tick(now, &mut self.actions)
        {
            self.fail(why);
        }
        for action in std::mem::take(&mut self.actions) {
            if let Err(why) = self.act(action) {
                self.fail(why);
            }
        }
        let Some(job) = &mut self.job else { return };
        let progress = job.progress();
        if let Some(outcome) = job.outcome() {
            self.job = None;
            self.say(&Reply::Done(outcome));
        } else if now.saturating_sub(self.told) > PROGRESS {
            self.told = now;
            self.say(&Reply::Progress(progress));
        }
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Open { client, passing } => {
                let Setup { gateways, first_gateway, sources, .. } = &self.setup;
                let gateway = gateways[(first_gateway + client) as usize % gateways.len()];
                let source = sources[usize::from(passing)];
                self.connections.open(client, gateway, source).map_err(|error| limit_of(&error))?;
                if !passing {
                    self.clients = client + 1;
                }
                Ok(())
            }
            Action::Send { client, frames } => {
                let sent = self.connections.send(client, &frames);
                sent.map_err(|why| format!("client {client} cannot send: {why}"))
            }
            Action::Close { client } => {
                let mut frames = Vec::new();
                wire::encode(opcode::CLOSE, &1000u16.to_be_bytes(), &mut frames);
                let sent = self.connections.send(client, &frames);
                sent.map_err(|why| format!("client {client} cannot close: {why}"))
            }
        }
    }

    /// How long to wait for input.
    fn timeout(&self) -> Duration {
        let next = self.job.as_ref().and_then(|job| job.next_deadline());
        next.map_or(PROGRESS, |next| next.saturating_sub(now()).min(PROGRESS))
    }

    /// Tells a failure, once for each command.
    fn fail(&mut self, why: String) {
        if !std::mem::replace(&mut self.failed, true) {
            self.say(&Reply::Failed(why));
        }
    }

    fn say(&self, reply: &Reply) {
        let Ok(line) = serde_json::to_string(reply) else { return };
        // When nobody reads, standard input ends too.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

/// Says which limit an error means.
fn limit_of(error: &std::io::Error) -> String {
    let limit = match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => "open files: the load generator may open no more files",
        Some(libc::EADDRNOTAVAIL) => "ports: no port of this source address is free",
        Some(libc::ENOMEM | libc::ENOBUFS | libc::ENOSPC) => {
            "memory: the kernel has none for one more connection"
        }
        _ => return format!("a client cannot connect: {error}"),
    };
    format!("{limit} ({error})")
}
