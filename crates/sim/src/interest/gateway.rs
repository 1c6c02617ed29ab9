//! A gateway: the real [`Interest`], the members of groups, and links that wait as the daemon's do.
//!
//! What a link has read is held together, and handed to a queue when it is settled: the shards' channels. The
//! queue is executed a little later. A walk for a new filter goes through the same queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gatewayworker_gateway::internals::{
    HoldId, Interest, InterestEffect, InterestSettings, LinkOver, SubscriberId,
};
use gatewayworker_protocol::interest::Name;
use gatewayworker_protocol::{Command, Frame, MAX_FRAME_LEN, frame_answer};

use super::link::{CALL, Link};
use super::{Action, GATHER_MS, LEASE_MS};
use crate::model::{Context, Input};
use crate::network::{ReadOutcome, SocketId};
use crate::violation::{Violation, ensure};

/// A gateway.
#[derive(Debug)]
pub struct Gateway {
    interest: Interest,
    calls: BTreeMap<SocketId, CallLink>,
    subscribers: BTreeMap<SubscriberId, Link>,
    /// Interest links that are over here, and whose workers do not know it yet: when they learn of it.
    unknown: Vec<(u64, Link)>,
    /// What is handed to the shards and not executed.
    queue: VecDeque<Queued>,
    members: BTreeMap<Vec<u8>, BTreeSet<u32>>,
    /// The longest time that joins were held.
    pub(super) longest_hold_ms: u64,
}

#[derive(Debug)]
struct CallLink {
    link: Link,
    /// What was read and waits.
    pending: Vec<Command>,
    /// Its joins, and since when they wait.
    hold: Option<(HoldId, u64)>,
    is_over: bool,
}

#[derive(Debug)]
enum Queued {
    Commands(Vec<Command>, SocketId),
    Walk,
}

impl Gateway {
    pub(super) fn new(now_ms: u64) -> Self {
        let mut settings = InterestSettings::default();
        settings.lease_ms = LEASE_MS;
        settings.slow_after_ms = u64::from(LEASE_MS) / 2;
        settings.refuse_ms = 2 * u64::from(LEASE_MS);
        settings.gather_ms = GATHER_MS;
        Self {
            interest: Interest::new(settings, now_ms),
            calls: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            unknown: Vec::new(),
            queue: VecDeque::new(),
            members: BTreeMap::new(),
            longest_hold_ms: 0,
        }
    }

    /// Whether a group has a member.
    pub(super) fn has_members(&self, group: &[u8]) -> bool {
        self.members.contains_key(group)
    }

    /// Whether a connection is the call link of this process.
    pub(super) fn has_call_link(&self, connection: u64) -> bool {
        self.calls.values().any(|call| call.link.connection() == connection)
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let unknown = self.unknown.iter().map(|(until_ms, _)| *until_ms);
        self.interest.next_deadline().into_iter().chain(unknown).min()
    }

    pub(super) fn step(&mut self, input: Input<Action>, context: &mut Context<'_>) -> Result<(), Violation> {
        let now_ms = context.now_ms;
        match input {
            Input::Accepted { socket, port: CALL } => {
                let link = Link::new(socket);
                let call = CallLink { link, pending: Vec::new(), hold: None, is_over: false };
                self.calls.insert(call.link.id(), call);
            }
            Input::Accepted { socket, .. } => {
                let id = self.interest.subscribe(now_ms);
                self.subscribers.insert(id, Link::new(socket));
            }
            Input::Readable(socket) | Input::Writable(socket) => self.read(socket, context)?,
            Input::Deadline => {
                self.unknown.retain(|(until_ms, _)| *until_ms > now_ms);
                self.interest.advance(now_ms);
            }
            Input::Act(Action::Break { nth, unknown_ms }) => {
                if let Some(&id) = self.subscribers.keys().nth(nth)
                    && let Some(link) = self.subscribers.remove(&id)
                {
                    self.unknown.push((now_ms + unknown_ms, link));
                    self.interest.unsubscribe(id, LinkOver::Broken, now_ms);
                }
            }
            Input::Turn(_) => self.execute(context),
            Input::Act(Action::Remake) if !self.interest.is_being_remade() => {
                self.interest.begin_remake(self.members.len());
                self.queue.push_back(Queued::Walk);
                let delay_ms = context.rng.below(4);
                context.turn_after(delay_ms, 0);
            }
            Input::Connected(_) | Input::Act(_) | Input::Finish(_) => {}
        }
        self.carry_out(context);
        Ok(())
    }

    fn read(&mut self, socket: SocketId, context: &mut Context<'_>) -> Result<(), Violation> {
        if let Some(call) = self.calls.get_mut(&socket) {
            call.link.buffer.flush();
            call.is_over |= matches!(call.link.read(), ReadOutcome::End | ReadOutcome::Reset);
            return Ok(());
        }
        let found = self.subscribers.iter_mut().find(|(_, link)| link.id() == socket);
        let Some((&id, link)) = found else { return Ok(()) };
        link.buffer.flush();
        let outcome = link.read();
        while let Some(frame) = take_frame(link)? {
            match Command::decode(frame) {
                Ok(Command::InterestReport(report)) => self.interest.receive(id, report, context.now_ms),
                other => return Err(Violation::new("links-are-in-step", format!("{other:?}"))),
            }
        }
        let how = match outcome {
            ReadOutcome::End => LinkOver::ByPeer,
            ReadOutcome::Reset => LinkOver::Broken,
            ReadOutcome::Bytes(_) | ReadOutcome::Empty => return Ok(()),
        };
        self.subscribers.remove(&id);
        self.interest.unsubscribe(id, how, context.now_ms);
        Ok(())
    }

    /// Tells subscribers, and hands over what is settled, until there is nothing to do.
    fn carry_out(&mut self, context: &mut Context<'_>) {
        loop {
            let mut is_busy = self.hand_over(context);
            while let Some(effect) = self.interest.next_effect() {
                is_busy = true;
                let InterestEffect::Tell(id, update) = effect else { continue };
                let Some(link) = self.subscribers.get(&id) else { continue };
                if link.buffer.is_full() {
                    self.subscribers.remove(&id);
                    self.interest.unsubscribe(id, LinkOver::Broken, context.now_ms);
                    continue;
                }
                let _ = link.buffer.push(|out| Command::Interest(update).encode(out));
                link.buffer.flush();
            }
            if !is_busy {
                return;
            }
        }
    }

    /// Hands what is settled to the queue, and holds what was read since. Returns whether anything changed.
    fn hand_over(&mut self, context: &mut Context<'_>) -> bool {
        let mut has_changed = false;
        for (id, call) in &mut self.calls {
            if call.hold.is_none() && call.pending.is_empty() {
                while let Ok(Some(frame)) = take_frame(&mut call.link) {
                    call.pending.extend(Command::decode(frame).ok());
                }
                let names: Vec<Name> = call.pending.iter().filter_map(joined_name).collect();
                if !names.is_empty() {
                    call.hold = Some((self.interest.hold(names, context.now_ms), context.now_ms));
                    has_changed = true;
                }
            }
            if call.pending.is_empty() || call.hold.is_some_and(|(hold, _)| !self.interest.is_settled(hold)) {
                continue;
            }
            self.queue.push_back(Queued::Commands(std::mem::take(&mut call.pending), *id));
            if let Some((hold, since_ms)) = call.hold.take() {
                self.interest.release(hold);
                self.longest_hold_ms = self.longest_hold_ms.max(context.now_ms - since_ms);
            }
            let delay_ms = context.rng.below(4);
            context.turn_after(delay_ms, 0);
            has_changed = true;
        }
        self.calls.retain(|_, call| !call.is_over || !call.pending.is_empty());
        has_changed
    }

    /// Executes what is in the queue.
    fn execute(&mut self, context: &mut Context<'_>) {
        while let Some(queued) = self.queue.pop_front() {
            match queued {
                Queued::Commands(commands, from) => {
                    commands.into_iter().for_each(|command| self.execute_one(command, from));
                }
                Queued::Walk => {
                    self.interest.remake_with(self.members.keys().map(|group| Name::group(group)));
                    self.interest.finish_remake(context.now_ms);
                }
            }
        }
    }

    fn execute_one(&mut self, command: Command, from: SocketId) {
        match command {
            Command::JoinGroup { connection_id, group } => {
                self.members.entry(group.to_vec()).or_default().insert(connection_id);
            }
            Command::LeaveGroup { connection_id, group } => {
                if let Some(members) = self.members.get_mut(group.as_ref()) {
                    members.remove(&connection_id);
                    if members.is_empty() {
                        self.members.remove(group.as_ref());
                    }
                }
            }
            Command::Ask(_) => {
                if let Some(call) = self.calls.get(&from) {
                    let _ = call.link.buffer.push(|out| frame_answer(b"i:0;", out));
                    call.link.buffer.flush();
                }
            }
            _ => {}
        }
    }

    /// Checks that nothing waits in a gateway that has been left alone.
    pub(super) fn check_quiet(&self, name: &str) -> Result<(), Violation> {
        let waits = self.calls.values().filter(|call| !call.pending.is_empty()).count();
        ensure(waits == 0 && self.queue.is_empty(), "joins-are-executed", || {
            format!("{waits} links of {name} wait, and {} of its queue", self.queue.len())
        })
    }
}

fn joined_name(command: &Command) -> Option<Name> {
    match command {
        Command::JoinGroup { group, .. } => Some(Name::group(group)),
        _ => None,
    }
}

/// Takes the next frame of a link.
pub(super) fn take_frame(link: &mut Link) -> Result<Option<Frame>, Violation> {
    let frame = Frame::parse(&mut link.arrived, MAX_FRAME_LEN);
    frame.map_err(|error| Violation::new("links-are-in-step", error.to_string()))
}
