//! What all have seen together: which messages each client is to get, what was handled, and why clients end.
//!
//! The gateway's node says what it executes, what becomes of connections, and which clients end; workers say what they
//! handle; clients say what they get. Each is compared at once with what the others have said before.

use std::collections::{BTreeMap, BTreeSet};

use gatewayworker_protocol::{CloseReason, Command};

use super::life::Life;
use super::message::{Message, Name};
use super::workers::Said;
use crate::violation::{Violation, ensure};

/// What became of a connection that has come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is the client's.
    Resumed,
    /// The client is not there.
    Expired,
    /// More was waiting than is kept.
    Behind,
    /// It gets a close frame with this code.
    Ended(u16),
    /// Something that is never answered here.
    Other(&'static str),
}

/// Everything.
#[derive(Debug)]
pub(super) struct Ledger {
    resume_ms: u64,
    /// What is kept for a client, in bytes; `None` where what all have together may be less.
    kept_bytes: Option<usize>,
    /// By connection id.
    lives: BTreeMap<u32, Life>,
    /// Those that have left before it was known which client they are.
    leaving: BTreeSet<Name>,
    /// The number of the application's next message.
    next_message: u32,
}

impl Ledger {
    pub(super) fn new(resume_ms: u64, kept_bytes: Option<usize>) -> Self {
        Self { resume_ms, kept_bytes, lives: BTreeMap::new(), leaving: BTreeSet::new(), next_message: 0 }
    }

    /// The client with a connection id.
    pub(super) fn life(&self, id: u32) -> Option<&Life> {
        self.lives.get(&id)
    }

    fn known(&mut self, id: u32) -> Result<&mut Life, Violation> {
        let unknown = || Violation::new("clients-are-known", format!("nobody has the id {id:08x}"));
        self.lives.get_mut(&id).ok_or_else(unknown)
    }

    /// Clients that were connected, and whose end was not handled, as the application knows them.
    pub(super) fn connected(&self) -> impl Iterator<Item = u32> {
        self.lives.iter().filter(|(_, life)| life.connects > life.closes).map(|(id, _)| *id)
    }

    /// The number of the application's next message.
    pub(super) fn number_message(&mut self) -> u32 {
        self.next_message += 1;
        self.next_message
    }

    /// The gateway has made a client of a connection.
    pub(super) fn begins(&mut self, id: u32, name: Name) {
        let has_left = self.leaving.contains(&name);
        self.lives.insert(id, Life { name, is_there: true, has_left, ..Life::default() });
    }

    /// The gateway is about to execute a command.
    pub(super) fn executes(&mut self, said: &Said) {
        let number = said.message;
        let get = |life: &mut Life| life.expected.extend(number);
        let get_with_others = |life: &mut Life| {
            let list = if life.is_admitted { &mut life.expected } else { &mut life.deferred };
            list.extend(number);
        };
        let there = self.lives.iter_mut().filter(|(_, life)| life.is_there);
        let there = there.map(|(id, life)| (*id, life));
        match &said.command {
            Command::SendToAll { .. } => there.for_each(|(_, life)| get_with_others(life)),
            Command::SendToUid { uids, .. } => {
                let is_its = |life: &Life| life.uid.is_some_and(|uid| uids[0] == uid_name(uid));
                there.filter(|(_, life)| is_its(life)).for_each(|(_, life)| get_with_others(life));
            }
            Command::SendToGroup { groups, .. } => {
                let is_in = |life: &Life| life.groups.iter().any(|group| groups[0] == group_name(*group));
                there.filter(|(_, life)| is_in(life)).for_each(|(_, life)| get_with_others(life));
            }
            command => {
                let Some(id) = connection_of(command) else { return };
                let Some(life) = self.lives.get_mut(&id).filter(|life| life.is_there) else { return };
                match command {
                    Command::SendToOne { .. } => get(life),
                    Command::Kick { .. } | Command::Destroy(_) => {
                        get(life);
                        life.closed_by = Some(1000);
                    }
                    Command::Refuse { code, .. } => life.closed_by = Some(*code),
                    Command::Admit(_) => {
                        life.is_admitted = true;
                        life.expected.append(&mut life.deferred);
                    }
                    Command::BindUid { .. } => life.uid = said.place,
                    Command::JoinGroup { .. } => life.groups.extend(said.place),
                    Command::LeaveGroup { .. } => {
                        said.place.map(|group| life.groups.remove(&group));
                    }
                    _ => {}
                }
            }
        }
    }

    /// The gateway has answered a connection that shows the token of a client.
    pub(super) fn answers(
        &mut self,
        id: u32,
        (attempt, got): (u64, u64),
        answer: Answer,
        now_ms: u64,
    ) -> Result<(), Violation> {
        let kept_bytes = self.kept_bytes;
        let life = self.known(id)?;
        let is_old = attempt <= life.attempt;
        let is_told = life.told_until_ms.is_some_and(|until_ms| now_ms < until_ms);
        let details = || format!("client {id:08x}, attempt {attempt}, has {got}: {answer:?}; {life:?}");
        if !life.is_there {
            return match answer {
                Answer::Ended(code) => ensure(Some(code) == life.closed_by, "closes-are-told", details),
                Answer::Expired => ensure(!is_told, "closes-are-told", details),
                _ => Err(Violation::new("the-gone-are-gone", details())),
            };
        }
        if is_old {
            return ensure(answer == Answer::Ended(4409), "an-old-attempt-is-closed", details);
        }
        if got > life.expected.len() as u64 {
            return ensure(answer == Answer::Ended(1002), "counts-are-judged", details);
        }
        match answer {
            Answer::Resumed => {}
            Answer::Behind => {
                let is_behind = kept_bytes.is_none_or(|kept| life.waiting_bytes(got as usize) > kept);
                ensure(is_behind, "behind-is-true", details)?;
            }
            _ => return Err(Violation::new("who-comes-back-is-found", details())),
        }
        (life.attempt, life.is_behind) = (attempt, answer == Answer::Behind);
        Ok(())
    }

    /// The gateway has no such client any more. It was detached since this time.
    pub(super) fn ends(
        &mut self,
        id: u32,
        reason: CloseReason,
        detached_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(), Violation> {
        let resume_ms = self.resume_ms;
        let life = self.known(id)?;
        let is_too_late = detached_ms.is_some_and(|at_ms| at_ms + resume_ms <= now_ms);
        let is_due = match reason {
            CloseReason::ClientLeft => life.has_left || life.is_behind || is_too_late || !life.is_admitted,
            CloseReason::Kicked | CloseReason::Refused | CloseReason::Destroyed => life.closed_by.is_some(),
            CloseReason::SlowConsumer => detached_ms.is_none(),
            CloseReason::ProtocolError => life.has_lied_behind.is_some(),
            CloseReason::TimedOut | CloseReason::NotAdmitted => !life.is_admitted,
            _ => false,
        };
        ensure(is_due && life.is_there, "clients-are-kept", || {
            format!("at {now_ms} client {id:08x} ends, {reason}, detached at {detached_ms:?}: {life:?}")
        })?;
        life.is_there = false;
        if life.closed_by.is_some() && detached_ms.is_some() {
            life.told_until_ms = Some(now_ms + resume_ms);
        }
        Ok(())
    }

    /// `on_connect` runs.
    pub(super) fn connects(&mut self, id: u32) -> Result<(), Violation> {
        let life = self.known(id)?;
        life.connects += 1;
        let is_first = life.connects == 1 && life.closes == 0;
        ensure(is_first, "handlers-run-once", || format!("client {id:08x} connects: {life:?}"))
    }

    /// `on_close` runs.
    pub(super) fn closes(&mut self, id: u32) -> Result<(), Violation> {
        let life = self.known(id)?;
        life.closes += 1;
        let is_right = life.connects == 1 && life.closes == 1 && !life.is_there;
        ensure(is_right, "handlers-run-once", || format!("client {id:08x} closes: {life:?}"))
    }

    /// `on_detached` runs.
    pub(super) fn is_away(&mut self, id: u32) -> Result<(), Violation> {
        let life = self.known(id)?;
        life.is_known_away = true;
        ensure(life.connects > life.closes, "handlers-run-in-order", || format!("{id:08x} is away: {life:?}"))
    }

    /// `on_resumed` runs, with the handshake of a connection.
    pub(super) fn is_back(&mut self, id: u32, handshake: Option<Name>) -> Result<(), Violation> {
        let life = self.known(id)?;
        life.is_known_away = false;
        let is_its = handshake.is_some_and(|(process, _)| process == life.name.0);
        ensure(is_its && life.connects > life.closes, "handlers-run-in-order", || {
            format!("{id:08x} is back with {handshake:?}: {life:?}")
        })
    }

    /// `on_message` runs.
    pub(super) fn handles(&mut self, id: u32, message: &Message) -> Result<(), Violation> {
        let life = self.known(id)?;
        life.handled += 1;
        let is_next = *message == Message::of_client(life.name, life.handled);
        let details = || format!("{message:?} of client {id:08x}: {life:?}");
        ensure(is_next && life.connects > life.closes, "messages-are-handled-once-and-in-order", details)?;
        let is_allowed = life.has_lied_behind.is_none_or(|number| life.handled <= number);
        ensure(is_allowed, "an-impossible-ack-ends-the-client", details)
    }

    /// A client gets a message.
    pub(super) fn gets(&mut self, id: u32, message: &Message) -> Result<(), Violation> {
        let life = self.known(id)?;
        let next = life.expected.get(life.got).map(|number| Message::to_clients(*number));
        ensure(next.as_ref() == Some(message), "messages-arrive-once-and-in-order", || {
            format!("client {id:08x} gets {message:?} instead of {next:?}: {life:?}")
        })?;
        life.got += 1;
        Ok(())
    }

    /// A client is told that the application has closed it while it was away.
    pub(super) fn is_told_closed(&mut self, id: u32, code: u16) -> Result<(), Violation> {
        let kept_bytes = self.kept_bytes;
        let life = self.known(id)?;
        let details = || format!("client {id:08x} is told that it was closed with {code}: {life:?}");
        ensure(life.closed_by == Some(code), "closes-are-told", details)?;
        let is_behind = kept_bytes.is_none_or(|kept| life.waiting_bytes(life.got) > kept);
        let is_whole = life.has_got_all() || life.has_lied || is_behind;
        ensure(is_whole, "the-rest-comes-before-the-close", details)
    }

    /// A client gets a close frame, on a connection that was answered.
    pub(super) fn is_closed(&mut self, id: u32, code: u16) -> Result<(), Violation> {
        let life = self.known(id)?;
        let details = || format!("client {id:08x} gets the close code {code}: {life:?}");
        match code {
            1013 => Ok(()),
            1002 => ensure(life.has_lied_behind.is_some(), "no-client-is-blamed", details),
            _ if life.closed_by == Some(code) => {
                ensure(life.has_got_all() || !life.is_admitted, "the-rest-comes-before-the-close", details)
            }
            _ => ensure(!life.is_admitted, "no-client-is-blamed", details),
        }
    }

    /// A client leaves.
    pub(super) fn leaves(&mut self, name: Name) {
        self.leaving.insert(name);
        self.lives.values_mut().filter(|life| life.name == name).for_each(|life| life.has_left = true);
    }

    /// A client acknowledges what it was never sent, behind so many messages of its own.
    pub(super) fn lies_behind(&mut self, id: u32, sent: u64) -> Result<(), Violation> {
        self.known(id)?.has_lied_behind.get_or_insert(sent);
        Ok(())
    }

    /// A client says on coming back that it has got what it was never sent.
    pub(super) fn lies(&mut self, id: u32) -> Result<(), Violation> {
        self.known(id)?.has_lied = true;
        Ok(())
    }

    /// Checks that every client has come and gone once, as its handlers know it.
    pub(super) fn check_ended(&self) -> Result<(), Violation> {
        let is_over = |life: &Life| !life.is_there && (life.connects, life.closes) == (1, 1);
        let left = self.lives.iter().find(|(_, life)| !is_over(life));
        ensure(left.is_none(), "handlers-run-once", || format!("at the end: {left:?}"))
    }
}

/// The client that a command is about, where it is about one.
fn connection_of(command: &Command) -> Option<u32> {
    match command {
        Command::SendToOne { to: id, .. }
        | Command::Kick { connection_id: id, .. }
        | Command::Refuse { connection_id: id, .. }
        | Command::BindUid { connection_id: id, .. }
        | Command::JoinGroup { connection_id: id, .. }
        | Command::LeaveGroup { connection_id: id, .. }
        | Command::Destroy(id)
        | Command::Admit(id) => Some(*id),
        _ => None,
    }
}

/// The name of a uid.
pub(super) fn uid_name(uid: u8) -> String {
    format!("uid {uid}")
}

/// The name of a group.
pub(super) fn group_name(group: u8) -> String {
    format!("room {group}")
}
