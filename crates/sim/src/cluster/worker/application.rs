//! The simulated application of a worker: it admits or refuses, echoes, joins, binds, sends to many and asks.
//!
//! It keeps in each client's session how many messages it has handled, and checks that the session it gets is the
//! one that was written last. A handler takes no time, mostly. `asking` has the questions of handlers.

use bytes::Bytes;
use gatewayworker_businessworker::internals::{
    Admission, Event, EventKind, Handled, HandlerOutcome, SessionChanges, Verdict,
};
use gatewayworker_protocol::php::{self, Value};
use gatewayworker_protocol::{Audience, Body, ClientId, CloseReason, Command, Payload};

use super::done::Said;
use super::{Running, Worker};
use crate::client_script::{Admission as Wanted, ClientAction, Request};
use crate::cluster::ledger::Seen;
use crate::cluster::observer::{ConnectionName, Observer};
use crate::cluster::process_of;
use crate::epochs::{EpochName, Life};
use crate::history::{ClientEvent, Handling};
use crate::model::Context;
use crate::violation::Violation;

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
    /// Its gateway was lost when it began: it may speak to others.
    has_lost_gateway: bool,
    /// What it has said to other gateways.
    said: Said,
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

/// Returns what an event is to an application, unless it is a close.
pub(super) fn client_event(event: &Event) -> Option<ClientEvent> {
    match &event.kind {
        EventKind::Connect => Some(ClientEvent::Connect),
        EventKind::WebSocketConnect { .. } => Some(ClientEvent::WebSocketConnect),
        EventKind::Message(Payload { body: Body::Plain(body) | Body::Php(body), .. }) => {
            let request = std::str::from_utf8(body).ok().and_then(Request::decode)?;
            Some(ClientEvent::Message(request.number))
        }
        EventKind::Detached | EventKind::Resumed(_) | EventKind::Close(_) => None,
    }
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
        let handling = self.handling(&event);
        let mut request = None;
        let seen = match &event.kind {
            EventKind::Connect => Seen::Event(ClientEvent::Connect),
            EventKind::WebSocketConnect { handshake, .. } => {
                takes_ms *= 5;
                if let Some((_, Wanted::Silent)) = parse_handshake(handshake) {
                    takes_ms = self.options.silence_ms;
                }
                Seen::Event(ClientEvent::WebSocketConnect)
            }
            EventKind::Message(payload) => {
                let Body::Plain(body) = &payload.body else {
                    return Err(Violation::new("messages-arrive-as-sent", "a body is not plain"));
                };
                request = std::str::from_utf8(body).ok().and_then(Request::decode);
                let Some(request) = request else {
                    return Err(Violation::new("messages-arrive-as-sent", format!("{body:?}")));
                };
                observer.ledger.sees_session(id, request.number, handled(&newest), handling)?;
                observer.begins_request(id, request);
                Seen::Event(ClientEvent::Message(request.number))
            }
            EventKind::Detached | EventKind::Resumed(_) => {
                return Err(Violation::new(
                    "events-are-the-clients-own",
                    "no client here keeps its connection",
                ));
            }
            EventKind::Close(reason) => Seen::Close(CloseReason::from_wire(reason)),
        };
        context.note(|| format!("{seen:?} of {id}, {takes_ms} ms, marked {}", handling.is_marked));
        observer.ledger.begins(id, seen, handling, context.now_ms)?;
        if let Some(Request { number, action: ClientAction::Abort(times) }) = request
            && observer.ledger.aborts(id, number, times)?
        {
            self.has_aborted = true;
            let restart_ms = context.rng.within(&(10..=100));
            context.abort(restart_ms);
            return Ok(());
        }
        let handler = Handler {
            has_lost_gateway: event.has_lost_gateway(),
            event,
            request,
            session: newest,
            until_ms: Some(context.now_ms + takes_ms),
            has_asked: false,
            said: Said::default(),
        };
        self.running.insert(id, Running::Handles(handler));
        match takes_ms {
            0 => self.end_handler(id, observer, context),
            _ => Ok(()),
        }
    }

    /// Returns for which delivery of its event a handler runs.
    fn handling(&self, event: &Event) -> Handling {
        let epoch = match &event.epoch {
            Some(epoch) => EpochName { gateway: Life::of_id(epoch.instance()), number: epoch.number() },
            // It is the worker's own: its gateway is lost.
            None => EpochName {
                gateway: Life { process: process_of(event.origin.gateway), starts: 0 },
                number: 0,
            },
        };
        Handling { worker: self.life, epoch, is_marked: event.is_redelivered() }
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
        let Some(Running::Handles(mut handler)) = self.running.remove(&id) else { return Ok(()) };
        observer.ledger.returned(id, self.life);
        if handler.is_refused() {
            context.note(|| format!("a handler of {id} is refused: its event waits"));
            let Handler { mut event, session, .. } = handler;
            event.session = session;
            self.held.push(event);
            self.run_held(observer, context)?;
            return self.go_on(None, observer, context);
        }
        let outcome = HandlerOutcome::Done;
        let result = match &handler.event.kind {
            EventKind::Connect => {
                let connection_id = id.connection_id();
                let greeting = Command::SendToOne { to: connection_id, message: text(format!("id {id}")) };
                self.tell(&mut handler, greeting);
                // Of a group and a uid from the start, admitted or not.
                self.tell(&mut handler, Command::JoinGroup { connection_id, group: group_name(2) });
                self.tell(&mut handler, Command::BindUid { connection_id, uid: uid(1) });
                Handled::Event { outcome, changes: SessionChanges::default() }
            }
            EventKind::WebSocketConnect { handshake, gateway_asks } => {
                let admission = match parse_handshake(handshake) {
                    Some((_, Wanted::Refuse)) => Admission::refuse_with("refused").with_code(4001),
                    _ => Admission::Admit,
                };
                let changes = SessionChanges { merged: None, changed: Some(session(0)) };
                let gateway_asks = *gateway_asks;
                Handled::WebSocketConnect { outcome, changes, admission: Some(admission), gateway_asks }
            }
            EventKind::Message(_) => {
                let changes = self.answer(id, &mut handler);
                Handled::Event { outcome, changes }
            }
            EventKind::Detached | EventKind::Resumed(_) => {
                Handled::Event { outcome, changes: SessionChanges::default() }
            }
            EventKind::Close(_) => Handled::Close,
        };
        let reply = self.clients.complete(id, result, handler.event.epoch.as_deref());
        let (session, verdict) = (reply.session.clone(), reply.verdict.clone());
        let mut is_told = true;
        for command in reply.into_commands(id) {
            is_told &= self.tell(&mut handler, command);
        }
        if let Some(session) = session.filter(|_| is_told) {
            self.clients.note_write(id, &session);
        }
        if let Some(Verdict::Refuse { .. }) = &verdict {
            observer.ledger.refuses(id, is_told);
        }
        if let (Some(Verdict::Admit), EventKind::WebSocketConnect { handshake, .. }) =
            (&verdict, &handler.event.kind)
            && let Some((connection, _)) = parse_handshake(handshake).filter(|_| is_told)
        {
            observer.admits(id, connection);
        }
        self.finish(id, &handler.event, Some(handler.said), observer, context)
    }

    /// Does what a message asks for, echoes it, and counts it in the session, which it writes or merges into.
    fn answer(&mut self, id: ClientId, handler: &mut Handler) -> SessionChanges {
        let Some(request) = handler.request else { return SessionChanges::default() };
        let connection_id = id.connection_id();
        self.execute(id, request, handler);
        let counted = session(request.number as i64 + 1);
        let mut changes = SessionChanges::default();
        match (request.action, php::merge_sessions(&handler.session, &counted, MAX_SESSION)) {
            (ClientAction::Join(_), Ok(merged)) => {
                if self.tell(handler, Command::UpdateSession { connection_id, session: counted.clone() }) {
                    if let Ok(Value::Array(with)) = php::unserialize(&counted) {
                        self.clients.note_merge(id, &with);
                    }
                    changes.merged = Some(merged.into());
                }
            }
            _ => changes.changed = Some(counted),
        }
        let filling = match request.action {
            ClientAction::Speak(filling) => filling,
            _ => 0,
        };
        let echo = format!("own {} {}", request.number, ".".repeat(filling.into()));
        self.tell(handler, Command::SendToOne { to: connection_id, message: text(echo) });
        match request.action {
            action if is_kicked(action) => {
                let message = Some(text("refused".into()));
                self.tell(handler, Command::Kick { connection_id, message });
            }
            action if is_destroyed(action) => drop(self.tell(handler, Command::Destroy(connection_id))),
            _ => {}
        }
        changes
    }

    /// Does what a client asks for.
    fn execute(&mut self, id: ClientId, request: Request, handler: &mut Handler) {
        let connection_id = id.connection_id();
        match request.action {
            ClientAction::Join(name) => {
                self.tell(handler, Command::JoinGroup { connection_id, group: group_name(name) });
                self.tell(handler, Command::JoinGroup { connection_id, group: group_name(SHORT_LIVED) });
            }
            ClientAction::LeaveGroup(name) => {
                self.tell(handler, Command::LeaveGroup { connection_id, group: group_name(name) });
                if name == 0 {
                    self.tell_all(handler, &Command::Ungroup(group_name(SHORT_LIVED)));
                    self.tell(handler, Command::UnbindUid { connection_id, uid: uid(2) });
                }
            }
            ClientAction::Bind(name) => {
                self.tell(handler, Command::BindUid { connection_id, uid: uid(name) });
            }
            ClientAction::Broadcast(0, filling) => {
                for _ in 0..=filling % 8 {
                    self.broadcasts += 1;
                    let message = self.for_many("all", self.broadcasts, filling);
                    self.tell_all(handler, &Command::SendToAll { to: Audience::Everyone, message });
                }
            }
            ClientAction::Broadcast(1, filling) => {
                let message = self.for_many("uid", 0, filling);
                self.tell_all(handler, &Command::SendToUid { uids: vec![uid(1)], message });
            }
            ClientAction::Broadcast(name, filling) => {
                let message = self.for_many("group", 0, filling);
                let groups = vec![group_name(name)];
                let command = Command::SendToGroup { groups, except: vec![connection_id], message };
                self.tell_all(handler, &command);
            }
            _ => {}
        }
    }

    fn for_many(&self, kind: &str, number: u64, filling: u16) -> Payload {
        text(format!("many {kind} {} {number} {}", self.life.id(), ".".repeat(filling.into())))
    }

    /// Sends a handler's command to its client's gateway; false where the epoch of its event is over, or the
    /// gateway is lost or not connected.
    fn tell(&self, handler: &mut Handler, command: Command) -> bool {
        if handler.is_fenced() || handler.has_lost_gateway {
            return false;
        }
        self.calls[process_of(handler.event.origin.gateway)].tell(command).is_ok()
    }

    /// Sends a handler's command to all gateways.
    fn tell_all(&self, handler: &mut Handler, command: &Command) {
        if handler.is_fenced() {
            return;
        }
        let own = process_of(handler.event.origin.gateway);
        for (gateway, calls) in self.calls.iter().enumerate() {
            let told = calls.tell(command.clone());
            if gateway != own {
                let writer = calls.connection.as_ref().map(|connection| &connection.writer);
                handler.said.note(gateway, writer.filter(|_| told.is_ok()));
            }
        }
    }
}

impl Handler {
    /// Says whether the epoch of its event is over, so that nothing that it says counts.
    pub(super) fn is_fenced(&self) -> bool {
        let epoch = self.event.epoch.as_ref();
        epoch.is_some_and(|epoch| epoch.fence().is_over()) && !self.has_lost_gateway
    }

    /// Says whether calls of it are refused. Handlers of handshakes and closes make none.
    fn is_refused(&self) -> bool {
        self.is_fenced() && matches!(self.event.kind, EventKind::Connect | EventKind::Message(_))
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

fn text(text: String) -> Payload {
    Payload::plain(text)
}

pub(super) fn group_name(name: u8) -> Bytes {
    format!("group{name}").into()
}

pub(super) fn uid(name: u8) -> Bytes {
    format!("uid{name}").into()
}
