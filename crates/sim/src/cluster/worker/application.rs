//! The simulated application of a worker: it admits or refuses, echoes, joins, binds, sends to many and asks.
//!
//! It keeps in each client's session how many messages it has handled, and checks that the session it gets is the
//! one that it has written last. A handler takes no time, mostly.

use bytes::Bytes;
use gatewayworker_businessworker::internals::{
    Admission, Event, EventKind, Handled, HandlerOutcome, SessionChanges, Verdict,
};
use gatewayworker_client::Unreached;
use gatewayworker_client::internals::Answers;
use gatewayworker_protocol::php::{self, Value};
use gatewayworker_protocol::{Audience, Body, ClientId, Command, Payload, Question as Ask};

use super::links::Asker;
use super::{Running, Worker};
use crate::client_script::{Admission as Wanted, ClientAction, Request};
use crate::cluster::observer::{ConnectionName, Fact, Observer};
use crate::history::ClientEvent;
use crate::model::Context;
use crate::violation::{Violation, ensure};

/// A group that everybody is taken out of now and then.
const SHORT_LIVED: u8 = 9;

/// The longest session, in bytes.
const MAX_SESSION: usize = 1 << 20;

/// A handler that runs.
pub(super) struct Handler {
    event: Event,
    request: Option<Request>,
    /// The session that it was given.
    session: Bytes,
    /// When it ends; `None` while it waits for an answer.
    pub(super) until_ms: Option<u64>,
    has_asked: bool,
}

/// A question of the application to all gateways.
pub(super) struct Question {
    client: ClientId,
    fact: Fact,
    since: u64,
    missing: usize,
    /// By the gateway.
    outcomes: Vec<Option<Result<Bytes, Unreached>>>,
}

/// Reads a session out of a gateway's answer.
pub(super) fn read_session(answer: &[u8]) -> Option<Bytes> {
    match php::unserialize(answer).ok()? {
        Value::String(session) => Some(session),
        _ => None,
    }
}

/// Returns how many messages a session says that were handled.
fn handled(session: &[u8]) -> Option<i64> {
    if session.is_empty() {
        return Some(0);
    }
    match php::unserialize(session).ok()? {
        Value::Array(array) => array.get("handled")?.as_int(),
        _ => None,
    }
}

fn session(handled: i64) -> Bytes {
    let mut array = php::Array::new();
    array.insert("handled", handled);
    php::serialize(&Value::from(array)).into()
}

/// The handshake of a simulated client: its process, its connection, and the answer that it is to get.
fn parse_handshake(handshake: &[u8]) -> Option<(ConnectionName, Wanted)> {
    let text = std::str::from_utf8(handshake).ok()?;
    let mut words = text.split(' ');
    let connection = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let wanted = match words.next()? {
        "admit" => Wanted::Admit,
        "refuse" => Wanted::Refuse,
        _ => Wanted::Silent,
    };
    Some((connection, wanted))
}

impl Worker {
    /// Runs the handler of an event.
    pub(super) fn handle(
        &mut self,
        id: ClientId,
        event: Event,
        newest: Bytes,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let mut takes_ms = if context.rng.chance(30) { context.rng.within(&(1..=30)) } else { 0 };
        let mut request = None;
        let seen = match &event.kind {
            EventKind::Connect => ClientEvent::Connect,
            EventKind::WebSocketConnect { handshake, .. } => {
                takes_ms *= 5;
                if let Some((_, Wanted::Silent)) = parse_handshake(handshake) {
                    takes_ms = self.options.silence_ms;
                }
                ClientEvent::WebSocketConnect
            }
            EventKind::Message(payload) => {
                let Body::Plain(body) = &payload.body else {
                    return Err(Violation::new("messages-arrive-as-sent", "a body is not plain"));
                };
                request = std::str::from_utf8(body).ok().and_then(Request::decode);
                let Some(request) = request else {
                    return Err(Violation::new("messages-arrive-as-sent", format!("{body:?}")));
                };
                let stored = handled(&newest);
                let is_newest = stored == Some(request.number as i64);
                // Where a write could not be sent, as the gateway is gone, there is no newer one.
                let is_asserted = observer.is_calm && !self.unwritten.contains(&id);
                ensure(is_newest || !is_asserted, "sessions-are-the-newest", || {
                    format!("client {id}: message {} finds {stored:?}", request.number)
                })?;
                ClientEvent::Message(request.number)
            }
            EventKind::Close(_) => ClientEvent::Close,
        };
        context.note(|| format!("{seen:?} of {id}, {takes_ms} ms"));
        observer.application_sees(id, seen)?;
        let handler = Handler {
            event,
            request,
            session: newest,
            until_ms: Some(context.now_ms + takes_ms),
            has_asked: false,
        };
        self.running.insert(id, Running::Handles(handler));
        match takes_ms {
            0 => self.end_handler(id, observer, context),
            _ => Ok(()),
        }
    }

    /// A handler has had its time: it does what it has to do, and ends, unless it asks.
    pub(super) fn end_handler(
        &mut self,
        id: ClientId,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(Running::Handles(handler)) = self.running.get_mut(&id) else { return Ok(()) };
        if let Some(Request { action: ClientAction::Ask(name), .. }) = handler.request
            && !std::mem::replace(&mut handler.has_asked, true)
        {
            handler.until_ms = None;
            return self.ask(id, name, observer, context);
        }
        let Some(Running::Handles(handler)) = self.running.remove(&id) else { return Ok(()) };
        observer.application_sees(id, ClientEvent::Returned)?;
        let outcome = HandlerOutcome::Done;
        let result = match &handler.event.kind {
            EventKind::Connect => {
                let connection_id = id.connection_id();
                self.tell(id, Command::SendToOne { to: connection_id, message: text(format!("id {id}")) });
                // Of a group and a uid from the start, admitted or not.
                self.tell(id, Command::JoinGroup { connection_id, group: group_name(2) });
                self.tell(id, Command::BindUid { connection_id, uid: uid(1) });
                Handled::Event { outcome, changes: SessionChanges::default() }
            }
            EventKind::WebSocketConnect { handshake, gateway_asks } => {
                let parsed = parse_handshake(handshake);
                let admission = match parsed {
                    Some((_, Wanted::Refuse)) => Admission::refuse_with("refused").with_code(4001),
                    _ => Admission::Admit,
                };
                let changes = SessionChanges { merged: None, changed: Some(session(0)) };
                let gateway_asks = *gateway_asks;
                Handled::WebSocketConnect { outcome, changes, admission: Some(admission), gateway_asks }
            }
            EventKind::Message(_) => {
                let changes = self.answer(id, &handler);
                Handled::Event { outcome, changes }
            }
            EventKind::Close(_) => Handled::Close,
        };
        let reply = self.clients.complete(id, result);
        if let (Some(Verdict::Admit), EventKind::WebSocketConnect { handshake, .. }) =
            (&reply.verdict, &handler.event.kind)
            && let Some((connection, _)) = parse_handshake(handshake)
        {
            observer.admits(id, connection);
        }
        let session = reply.session.clone();
        let commands = reply.into_commands(id);
        let mut is_told = true;
        for command in commands {
            is_told &= self.tell(id, command);
        }
        match session {
            Some(session) if is_told => self.clients.note_write(id, &session),
            Some(_) => drop(self.unwritten.insert(id)),
            None => {}
        }
        self.finish(id, observer, context)
    }

    /// Does what a message asks for, echoes it, and counts it in the session, which it writes or merges into.
    fn answer(&mut self, id: ClientId, handler: &Handler) -> SessionChanges {
        let Some(request) = handler.request else { return SessionChanges::default() };
        let connection_id = id.connection_id();
        self.execute(id, request);
        let counted = session(request.number as i64 + 1);
        let mut changes = SessionChanges::default();
        match (request.action, php::merge_sessions(&handler.session, &counted, MAX_SESSION)) {
            (ClientAction::Join(_), Ok(merged)) => {
                if self.tell(id, Command::UpdateSession { connection_id, session: counted.clone() }) {
                    if let Ok(Value::Array(with)) = php::unserialize(&counted) {
                        self.clients.note_merge(id, &with);
                    }
                    changes.merged = Some(merged.into());
                } else {
                    self.unwritten.insert(id);
                }
            }
            _ => changes.changed = Some(counted),
        }
        let filling = match request.action {
            ClientAction::Speak(filling) => filling,
            _ => 0,
        };
        let echo = format!("own {} {}", request.number, ".".repeat(filling.into()));
        self.tell(id, Command::SendToOne { to: connection_id, message: text(echo) });
        match request.action {
            action if is_kicked(action) => {
                let message = Some(text("refused".into()));
                self.tell(id, Command::Kick { connection_id, message });
            }
            action if is_destroyed(action) => drop(self.tell(id, Command::Destroy(connection_id))),
            _ => {}
        }
        changes
    }

    /// Does what a client asks for.
    fn execute(&mut self, id: ClientId, request: Request) {
        let connection_id = id.connection_id();
        match request.action {
            ClientAction::Join(name) => {
                self.tell(id, Command::JoinGroup { connection_id, group: group_name(name) });
                self.tell(id, Command::JoinGroup { connection_id, group: group_name(SHORT_LIVED) });
            }
            ClientAction::LeaveGroup(name) => {
                self.tell(id, Command::LeaveGroup { connection_id, group: group_name(name) });
                if name == 0 {
                    self.tell_all(&Command::Ungroup(group_name(SHORT_LIVED)));
                    self.tell(id, Command::UnbindUid { connection_id, uid: uid(2) });
                }
            }
            ClientAction::Bind(name) => {
                self.tell(id, Command::BindUid { connection_id, uid: uid(name) });
            }
            ClientAction::Broadcast(0, filling) => {
                for _ in 0..=filling % 8 {
                    self.broadcasts += 1;
                    let message = self.for_many("all", self.broadcasts, filling);
                    self.tell_all(&Command::SendToAll { to: Audience::Everyone, message });
                }
            }
            ClientAction::Broadcast(1, filling) => {
                let message = self.for_many("uid", 0, filling);
                self.tell_all(&Command::SendToUid { uids: vec![uid(1)], message });
            }
            ClientAction::Broadcast(name, filling) => {
                let message = self.for_many("group", 0, filling);
                let groups = vec![group_name(name)];
                self.tell_all(&Command::SendToGroup { groups, except: vec![connection_id], message });
            }
            _ => {}
        }
    }

    fn for_many(&self, kind: &str, number: u64, filling: u16) -> Payload {
        text(format!("many {kind} {} {number} {}", self.process, ".".repeat(filling.into())))
    }

    /// Sends a command to a client's gateway; false where that is not connected.
    fn tell(&self, id: ClientId, command: Command) -> bool {
        self.calls[super::super::process_of(id.gateway())].tell(command).is_ok()
    }

    fn tell_all(&self, command: &Command) {
        for calls in &self.calls {
            let _ = calls.tell(command.clone());
        }
    }

    /// Asks all gateways a question, for a client's handler.
    fn ask(
        &mut self,
        client: ClientId,
        name: u8,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let (ask, fact) = match context.rng.below(3) {
            0 => (Ask::AllSessions, Fact::Listed),
            1 => (Ask::SessionsByGroup(group_name(name)), Fact::Group(name)),
            _ => (Ask::ConnectionsByUid(uid(name)), Fact::Uid(name)),
        };
        let gateways = self.calls.len();
        let number = observer.questions.asked(gateways);
        context.note(|| format!("question {number}: {ask:?}"));
        let question = Question {
            client,
            fact,
            since: observer.now(),
            missing: gateways,
            outcomes: vec![None; gateways],
        };
        self.questions.insert(number, question);
        for gateway in 0..gateways {
            let calls = &mut self.calls[gateway];
            let now = calls.instant(context.now_ms);
            let asker = Asker::Application(number * gateways as u64 + gateway as u64);
            if let Err(why) = calls.core.ask(Command::Ask(ask.clone()).into_frame(), asker, now) {
                self.take_answer(number * gateways as u64 + gateway as u64, Err(why), observer, context)?;
            }
        }
        Ok(())
    }

    /// Takes one gateway's outcome; `asker` says of which question and gateway.
    pub(super) fn take_answer(
        &mut self,
        asker: u64,
        outcome: Result<Bytes, Unreached>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let gateways = self.calls.len() as u64;
        let (number, gateway) = (asker / gateways, (asker % gateways) as usize);
        let again = || Violation::new("answered-once", format!("question {number}, gateway {gateway}"));
        let question = self.questions.get_mut(&number).ok_or_else(again)?;
        if question.outcomes[gateway].replace(outcome).is_some() {
            return Err(again());
        }
        question.missing -= 1;
        if question.missing > 0 {
            return Ok(());
        }
        let Some(Question { client, fact, since, outcomes, .. }) = self.questions.remove(&number) else {
            return Ok(());
        };
        let outcomes = outcomes.into_iter().flatten().enumerate();
        let outcomes = outcomes.map(|(gateway, outcome)| (super::super::address(gateway), outcome)).collect();
        let add = |all: &mut (usize, Vec<ClientId>), part: Vec<ClientId>| {
            all.0 += 1;
            all.1.extend(part);
        };
        let read = |gateway, answer: Bytes| {
            let ids: Vec<u32> = match php::unserialize(&answer).ok()? {
                Value::Array(array) if fact_is_list(fact) => {
                    array.values().filter_map(|id| id.as_int()).map(|id| id as u32).collect()
                }
                Value::Array(array) => array.keys().filter_map(id_of).collect(),
                _ => return None,
            };
            Some(ids.into_iter().map(|id| ClientId::new(gateway, id)).collect())
        };
        match Answers::new(outcomes).gather(read, add) {
            Ok((parts, listed)) => {
                context.note(|| format!("question {number} is answered"));
                observer.questions.answered(number, parts)?;
                observer.is_answered(fact, since, &listed)?;
            }
            Err(_) => {
                context.note(|| format!("question {number} fails"));
                observer.questions.failed(number)?;
            }
        }
        self.end_handler(client, observer, context)
    }
}

/// Says whether a client that asks for this is closed with a last message.
pub(in crate::cluster) fn is_kicked(action: ClientAction) -> bool {
    matches!(action, ClientAction::Speak(filling) if filling % 32 == 7)
}

/// Says whether a client that asks for this is closed at once.
pub(in crate::cluster) fn is_destroyed(action: ClientAction) -> bool {
    matches!(action, ClientAction::Speak(filling) if filling % 64 == 8)
}

fn fact_is_list(fact: Fact) -> bool {
    matches!(fact, Fact::Uid(_))
}

fn id_of(key: &php::Key) -> Option<u32> {
    match key {
        php::Key::Int(id) => u32::try_from(*id).ok(),
        php::Key::String(_) => None,
    }
}

fn text(text: String) -> Payload {
    Payload::plain(text)
}

fn group_name(name: u8) -> Bytes {
    format!("group{name}").into()
}

fn uid(name: u8) -> Bytes {
    format!("uid{name}").into()
}
