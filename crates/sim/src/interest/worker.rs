//! A worker, or anything else that joins and sends: the real [`InterestView`] of each gateway, and its links.
//!
//! Its clock has an offset and runs a little faster or slower than that of others.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use gatewayworker_client::internals::{BarrierId, InterestView};
use gatewayworker_protocol::interest::Name;
use gatewayworker_protocol::{Command, Question, parse_answer};

use super::Action;
use super::gateway::take_frame;
use super::link::{CALL, INTEREST, Link};
use crate::model::{Context, Input};
use crate::network::{ProcessId, ReadOutcome, SocketId};
use crate::violation::Violation;

/// How long it waits before it connects again, in ms.
const RETRY_MS: u64 = 40;

/// How often it looks whether a barrier is due, in ms.
const BARRIER_MS: u64 = 50;

/// While the run ends, it sends so often, in ms.
const PROBE_MS: u64 = 100;

/// A worker.
#[derive(Debug)]
pub struct Worker {
    gateways: Vec<GatewayLinks>,
    clock: Clock,
    /// Until when it does not read its interest links, in ms.
    reads_late_until_ms: Option<u64>,
    /// The sends of the last step, for the model to judge.
    pub(super) sends: Vec<Send>,
    /// How many gateways the last send to a group without members went to.
    pub(super) probed: usize,
}

/// A send to a group: which gateways it went to.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) group: Bytes,
    pub(super) to: BTreeSet<ProcessId>,
}

#[derive(Debug)]
struct GatewayLinks {
    view: InterestView,
    call: Option<Link>,
    call_is_connected: bool,
    interest: Option<Link>,
    interest_is_connected: bool,
    /// When it connects what is missing.
    retry_ms: Option<u64>,
    barrier_ms: u64,
    /// The barriers that are asked on this call link, in their order.
    barriers: VecDeque<BarrierId>,
    /// What it has joined on this call link and not left.
    joined: BTreeSet<(u32, Bytes)>,
}

/// A clock of its own.
#[derive(Debug, Clone, Copy)]
struct Clock {
    offset_ms: u64,
    /// So many in a thousand ms more, beside 970.
    fast: u64,
}

impl Clock {
    fn read(self, now_ms: u64) -> u64 {
        self.offset_ms + now_ms * (970 + self.fast) / 1000
    }

    /// The first time at which the clock shows this, or later.
    fn when(self, shown_ms: u64) -> u64 {
        (shown_ms.saturating_sub(self.offset_ms) * 1000).div_ceil(970 + self.fast)
    }
}

impl Worker {
    pub(super) fn new(gateways: usize, context: &mut Context<'_>) -> Self {
        let clock = Clock { offset_ms: context.rng.below(5_000), fast: context.rng.below(61) };
        let links = |_| GatewayLinks {
            view: InterestView::default(),
            call: None,
            call_is_connected: false,
            interest: None,
            interest_is_connected: false,
            retry_ms: Some(context.now_ms),
            barrier_ms: 0,
            barriers: VecDeque::new(),
            joined: BTreeSet::new(),
        };
        Self {
            gateways: (0..gateways).map(links).collect(),
            clock,
            reads_late_until_ms: None,
            sends: Vec::new(),
            probed: 0,
        }
    }

    /// The number of the connection of its call link to a gateway, where it stands.
    pub(super) fn call_link(&self, gateway: ProcessId) -> Option<u64> {
        let links = &self.gateways[gateway];
        links.call.as_ref().filter(|_| links.call_is_connected).map(Link::connection)
    }

    /// Whether it has joined a group at a gateway, on the link that stands.
    pub(super) fn has_joined(&self, gateway: ProcessId, group: &Bytes) -> bool {
        self.gateways[gateway].joined.iter().any(|(_, joined)| joined == group)
    }

    /// The gateways whose views it does not trust.
    pub(super) fn untrusted(&self, now_ms: u64) -> Vec<ProcessId> {
        let now_ms = self.clock.read(now_ms);
        let gateways = self.gateways.iter().enumerate();
        gateways.filter(|(_, links)| !links.view.is_trusted(now_ms)).map(|(gateway, _)| gateway).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let deadlines = self.gateways.iter().flat_map(|links| {
            let renew = links.interest.as_ref().and_then(|_| links.view.next_deadline());
            let barrier = links.call_is_connected.then_some(links.barrier_ms);
            renew.map(|at_ms| self.clock.when(at_ms)).into_iter().chain(links.retry_ms).chain(barrier)
        });
        deadlines.chain(self.reads_late_until_ms).min()
    }

    pub(super) fn step(&mut self, input: Input<Action>, context: &mut Context<'_>) -> Result<(), Violation> {
        self.sends.clear();
        match input {
            Input::Connected(socket) => self.connected(socket, context),
            Input::Readable(socket) | Input::Writable(socket) => self.read(socket, context)?,
            Input::Act(Action::Join { gateway, client, group }) => self.join(gateway, client, group),
            Input::Act(Action::Leave { gateway, client, group }) => self.leave(gateway, client, &group),
            Input::Act(Action::Send { group }) => self.send(group, context),
            Input::Turn(_) | Input::Finish(_) => {
                self.send(Bytes::from(format!("nobody's {}", context.rng.below(1000))), context);
                self.probed = self.sends.iter().map(|send| send.to.len()).sum();
                context.turn_after(PROBE_MS, 0);
            }
            Input::Act(Action::ReadLate { for_ms }) => {
                self.reads_late_until_ms = self.reads_late_until_ms.max(Some(context.now_ms + for_ms));
            }
            Input::Deadline => self.read_what_waits(context)?,
            Input::Accepted { .. } | Input::Act(Action::Remake | Action::Break { .. }) => {}
        }
        for gateway in 0..self.gateways.len() {
            self.advance(gateway, context);
        }
        Ok(())
    }

    /// Decides which gateways a send goes to. It is not written: it would find what stands on the link before it.
    fn send(&mut self, group: Bytes, context: &mut Context<'_>) {
        let now_ms = self.clock.read(context.now_ms);
        let name = Name::group(&group);
        let mut to = BTreeSet::new();
        for (gateway, links) in self.gateways.iter_mut().enumerate() {
            links.view.note_send(now_ms);
            if links.view.may_have(&[name], now_ms) {
                to.insert(gateway);
            }
        }
        context.note(|| format!("a send to {group:?} goes to {to:?}"));
        self.sends.push(Send { group, to });
    }

    fn join(&mut self, gateway: ProcessId, client: u32, group: Bytes) {
        let links = &mut self.gateways[gateway];
        links.view.note_join(Name::group(&group));
        let join = Command::JoinGroup { connection_id: client, group: group.clone() };
        if links.call_is_connected && links.say(join) {
            links.joined.insert((client, group));
        }
    }

    fn leave(&mut self, gateway: ProcessId, client: u32, group: &Bytes) {
        let links = &mut self.gateways[gateway];
        if links.call_is_connected {
            links.say(Command::LeaveGroup { connection_id: client, group: group.clone() });
            links.joined.remove(&(client, group.clone()));
        }
    }

    fn connected(&mut self, socket: SocketId, context: &mut Context<'_>) {
        for (gateway, links) in self.gateways.iter_mut().enumerate() {
            if links.call.as_ref().is_some_and(|call| call.id() == socket) {
                links.call_is_connected = true;
                links.connect_interest(gateway, context);
            } else if links.interest.as_ref().is_some_and(|interest| interest.id() == socket) {
                links.interest_is_connected = true;
            }
        }
    }

    fn read(&mut self, socket: SocketId, context: &mut Context<'_>) -> Result<(), Violation> {
        let now_ms = self.clock.read(context.now_ms);
        for links in &mut self.gateways {
            if links.call.as_ref().is_some_and(|call| call.id() == socket) {
                links.read_answers(context)?;
            } else if links.interest.as_ref().is_some_and(|interest| interest.id() == socket)
                && self.reads_late_until_ms.is_none()
            {
                links.read_updates(now_ms, context)?;
            }
        }
        Ok(())
    }

    /// Reads its interest links, if it has not for a while and that is over.
    fn read_what_waits(&mut self, context: &mut Context<'_>) -> Result<(), Violation> {
        if self.reads_late_until_ms.take_if(|until_ms| *until_ms <= context.now_ms).is_some() {
            let now_ms = self.clock.read(context.now_ms);
            self.gateways.iter_mut().try_for_each(|links| links.read_updates(now_ms, context))?;
        }
        Ok(())
    }

    fn advance(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        let now_ms = self.clock.read(context.now_ms);
        let links = &mut self.gateways[gateway];
        if links.retry_ms.take_if(|at_ms| *at_ms <= context.now_ms).is_some() {
            if links.call.is_none() {
                links.call = Some(Link::new(context.connect(gateway, CALL)));
            } else if links.call_is_connected && links.interest.is_none() {
                links.connect_interest(gateway, context);
            }
        }
        if let Some(report) = links.view.advance(now_ms)
            && let Some(interest) = &links.interest
        {
            let _ = interest.buffer.push(|out| Command::InterestReport(report).encode(out));
            interest.buffer.flush();
        }
        if links.call_is_connected && links.barrier_ms <= context.now_ms {
            links.barrier_ms = context.now_ms + BARRIER_MS;
            if let Some(barrier) = links.view.begin_barrier() {
                links.say(Command::Ask(Question::IsOnline(0)));
                links.barriers.push_back(barrier);
            }
        }
    }
}

impl GatewayLinks {
    fn say(&self, command: Command) -> bool {
        let Some(call) = &self.call else { return false };
        let pushed = call.buffer.push(|out| command.encode(out));
        call.buffer.flush();
        pushed.is_ok()
    }

    fn connect_interest(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        self.view.link_begins();
        self.interest_is_connected = false;
        self.interest = Some(Link::new(context.connect(gateway, INTEREST)));
    }

    fn read_answers(&mut self, context: &mut Context<'_>) -> Result<(), Violation> {
        let Some(call) = &mut self.call else { return Ok(()) };
        call.buffer.flush();
        let outcome = call.read();
        while parse_answer(&mut call.arrived, 1024)
            .map_err(|error| Violation::new("links-are-in-step", error.to_string()))?
            .is_some()
        {
            if let Some(barrier) = self.barriers.pop_front() {
                self.view.end_barrier(barrier, true);
            }
        }
        if matches!(outcome, ReadOutcome::End | ReadOutcome::Reset) {
            self.barriers.clear();
            self.view.link_over();
            (self.call, self.interest, self.call_is_connected) = (None, None, false);
            self.joined.clear();
            self.retry_ms = Some(context.now_ms + RETRY_MS);
        }
        Ok(())
    }

    fn read_updates(&mut self, now_ms: u64, context: &mut Context<'_>) -> Result<(), Violation> {
        let Some(interest) = &mut self.interest else { return Ok(()) };
        interest.buffer.flush();
        let outcome = interest.read();
        while let Some(frame) = take_frame(interest)? {
            let Ok(Command::Interest(update)) = Command::decode(frame) else {
                return Err(Violation::new("links-are-in-step", "no INTEREST"));
            };
            let answer = self.view.receive(update, now_ms);
            let answer = answer.map_err(|error| Violation::new("updates-make-sense", error.to_string()))?;
            if let Some(report) = answer {
                let _ = interest.buffer.push(|out| Command::InterestReport(report).encode(out));
                interest.buffer.flush();
            }
        }
        if matches!(outcome, ReadOutcome::End | ReadOutcome::Reset) {
            self.view.link_over();
            self.interest = None;
            self.retry_ms = Some(context.now_ms + RETRY_MS);
        }
        Ok(())
    }
}
