//! The cycle of events, driven without a runtime: a chat of two clients, and what happens
//! around it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::{Bytes, BytesMut};
use gatewayworker_client::ClientId;
use gatewayworker_protocol::{Audience, Body, Command, Frame, MAX_FRAME_LEN, Origin, Payload};

use super::*;

const GATEWAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300);
const BUDGET: usize = 10 * EVENT_COST;

fn id(connection_id: u32) -> ClientId {
    ClientId::new(GATEWAY, connection_id)
}

fn origin(connection_id: u32) -> Origin {
    Origin { gateway: GATEWAY, client: GATEWAY, connection_id, gateway_port: 8289 }
}

fn connect(connection_id: u32) -> Command {
    Command::OnConnect { origin: origin(connection_id), session: Bytes::new() }
}

fn handshake(connection_id: u32) -> Command {
    let (origin, session) = (origin(connection_id), Bytes::new());
    Command::OnWebSocketConnect { origin, session, handshake: "a:0:{}".into(), asks: true }
}

fn message(connection_id: u32, session: &'static str, text: &'static str) -> Command {
    let (origin, session, message) = (origin(connection_id), session.into(), Payload::plain(text));
    Command::OnMessage { origin, session, message }
}

fn close(connection_id: u32, session: &'static str) -> Command {
    Command::OnClose { origin: origin(connection_id), session: session.into(), reason: Bytes::new() }
}

fn to_all(text: &str) -> Command {
    Command::SendToAll { to: Audience::Everyone, message: Payload::plain(text.to_owned()) }
}

fn refuse(connection_id: u32) -> Command {
    let message = Some(Payload::plain("no"));
    Command::Refuse { connection_id, message, code: 4001 }
}

fn write(connection_id: u32, session: &'static str) -> Command {
    Command::SetSession { connection_id, session: session.into() }
}

/// A worker whose application sends each message to everybody, and counts each client's
/// messages in its session. Client 9 is refused.
struct Chat {
    link: EventLink,
    clients: Clients<OrderedTable>,
    /// Events whose handlers can run.
    started: VecDeque<Event>,
    /// What was said on the call link to the gateway.
    said: Vec<Command>,
    /// What the handlers saw: client, event, session.
    seen: Vec<String>,
    /// What the gateway answers to a question for a session.
    stored: Option<Bytes>,
    questions: usize,
}

impl Chat {
    fn new() -> Self {
        Self {
            link: EventLink::default(),
            clients: Clients::new(OrderedTable::default(), BUDGET),
            started: VecDeque::new(),
            said: Vec::new(),
            seen: Vec::new(),
            stored: None,
            questions: 0,
        }
    }

    /// Steps 1 to 3: the gateway's command, through its bytes.
    fn receive(&mut self, command: Command) {
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        let frame = Frame::parse(&mut bytes, MAX_FRAME_LEN).unwrap().unwrap();
        let received = self.link.receive(frame).unwrap();
        let Received::Event(event) = received else { panic!("no event: {received:?}") };
        assert!(self.clients.try_reserve(&event), "the budget suffices");
        if let Enqueued::Start(event) = self.clients.enqueue(event) {
            self.started.push_back(event);
        }
    }

    /// Steps 4 to 7 for the event that was started first; false where there is none.
    fn handle_one(&mut self) -> bool {
        let Some(event) = self.started.pop_front() else { return false };
        let id = event.client_id();
        let session = match self.clients.begin(id, &event.kind, event.session) {
            Begin::Skip => None,
            Begin::Run(session) => Some(session),
            Begin::Ask(question) => {
                self.questions += 1;
                Some(self.clients.answered(id, question, self.stored.clone()))
            }
        };
        if let Some(session) = session {
            let handled = self.run_handler(id, event.kind, &session);
            for command in self.clients.complete(id, handled, None).into_commands(id) {
                self.say(id, command);
            }
        }
        self.started.extend(self.clients.finish(id));
        true
    }

    fn handle_all(&mut self) {
        while self.handle_one() {}
    }

    /// The application.
    fn run_handler(&mut self, id: ClientId, kind: EventKind, session: &Bytes) -> Handled {
        let (n, outcome) = (id.connection_id(), HandlerOutcome::Done);
        let session = std::str::from_utf8(session).unwrap();
        match kind {
            EventKind::Connect | EventKind::Detached | EventKind::Resumed(_) => {
                Handled::Event { outcome, changes: SessionChanges::default() }
            }
            EventKind::WebSocketConnect { gateway_asks, .. } => {
                let refusal = Admission::refuse_with("no").with_code(4001);
                let admission = Some(if n == 9 { refusal } else { Admission::Admit });
                Handled::WebSocketConnect {
                    outcome,
                    changes: SessionChanges::default(),
                    admission,
                    gateway_asks,
                }
            }
            EventKind::Message(Payload { body: Body::Plain(text) | Body::Php(text), .. }) => {
                let text = std::str::from_utf8(&text).unwrap();
                self.seen.push(format!("{n} {text} [{session}]"));
                self.say(id, to_all(&format!("{n}: {text}")));
                let count = session.parse().unwrap_or(0) + 1;
                let changed = Some(count.to_string().into());
                Handled::Event { outcome, changes: SessionChanges { merged: None, changed } }
            }
            EventKind::Close(_) => {
                self.seen.push(format!("{n} leaves [{session}]"));
                Handled::Close
            }
        }
    }

    /// Says something on the call link.
    fn say(&mut self, id: ClientId, command: Command) {
        if let Command::SetSession { session, .. } = &command {
            self.clients.note_write(id, session);
        }
        self.said.push(command);
    }
}

#[test]
fn a_chat_of_two_clients_goes_through_the_cycle() {
    let mut chat = Chat::new();
    for client in [1, 2] {
        chat.receive(connect(client));
        chat.receive(handshake(client));
    }
    chat.handle_all();
    assert_eq!(chat.said, [Command::Admit(1), Command::Admit(2)]);
    chat.said.clear();

    chat.receive(message(1, "", "hi"));
    chat.receive(message(2, "", "hello"));
    chat.receive(close(1, "1"));
    chat.handle_all();
    assert_eq!(chat.said, [to_all("1: hi"), write(1, "1"), to_all("2: hello"), write(2, "1")]);
    assert_eq!(chat.seen, ["1 hi []", "2 hello []", "1 leaves [1]"]);

    chat.receive(close(2, "1"));
    chat.handle_all();
    assert!(chat.clients.table().is_empty(), "nothing is known of clients that are gone");
    assert!(chat.clients.budget().is_whole());
}

#[test]
fn a_clients_next_event_starts_when_the_one_before_has_finished() {
    let mut chat = Chat::new();
    chat.receive(message(1, "", "first"));
    chat.receive(message(1, "", "second"));
    chat.receive(message(2, "", "beside"));
    assert_eq!(chat.started.len(), 2, "one of each client");
    let first = chat.started.pop_front().unwrap();
    chat.handle_one();
    assert!(!chat.handle_one(), "the first of client 1 has not finished");
    chat.started.extend(chat.clients.finish(first.client_id()));
    chat.handle_all();
    assert_eq!(chat.seen, ["2 beside []", "1 second []"]);
}

#[test]
fn an_event_that_left_before_the_last_write_gets_the_session_that_the_gateway_answers() {
    let mut chat = Chat::new();
    chat.receive(message(1, "", "first"));
    chat.receive(message(1, "", "second"));
    chat.stored = Some("1".into());
    chat.handle_all();
    assert_eq!(chat.seen, ["1 first []", "1 second [1]"]);
    assert_eq!(chat.questions, 1);
}

#[test]
fn where_the_gateway_does_not_answer_the_last_write_stands_in() {
    let mut chat = Chat::new();
    for command in [message(1, "", "first"), message(1, "", "second"), close(1, "")] {
        chat.receive(command);
    }
    chat.handle_all();
    assert_eq!(chat.seen, ["1 first []", "1 second [1]", "1 leaves [2]"]);
    assert_eq!(chat.questions, 1, "nobody is asked about a client that is gone");
}

#[test]
fn a_refused_client_is_heard_no_more_and_told_once() {
    let mut chat = Chat::new();
    for command in [connect(9), handshake(9), message(9, "", "but"), close(9, "")] {
        chat.receive(command);
    }
    chat.handle_all();
    assert_eq!(chat.said, [refuse(9)]);
    assert_eq!(chat.seen, ["9 leaves []"]);
    assert!(chat.clients.table().is_empty());
    assert!(chat.clients.budget().is_whole());
}

#[test]
fn a_new_client_with_an_old_id_is_not_taken_for_the_old_one() {
    let mut chat = Chat::new();
    for command in [handshake(9), message(1, "", "old"), connect(9), connect(1)] {
        chat.receive(command);
    }
    for client in [9, 1] {
        chat.receive(message(client, "", "new"));
    }
    chat.handle_all();
    assert_eq!(chat.seen, ["1 old []", "9 new []", "1 new []"]);
}

#[test]
fn an_event_without_room_in_the_budget_waits_for_others_to_finish() {
    let mut chat = Chat::new();
    let event = || Event::from_command(connect(1)).unwrap();
    for _ in 0..10 {
        chat.receive(connect(1));
    }
    assert!(!chat.clients.try_reserve(&event()));
    chat.handle_one();
    assert!(chat.clients.try_reserve(&event()));
}

#[test]
fn the_session_of_an_interrupted_handler_is_not_written() {
    let clients = Clients::new(OrderedTable::default(), BUDGET);
    clients.enqueue(Event::from_command(message(1, "", "hi")).unwrap());
    for (outcome, written) in [
        (HandlerOutcome::Done, Some("new".into())),
        (HandlerOutcome::Failed, Some("new".into())),
        (HandlerOutcome::Interrupted, None),
    ] {
        let changes = SessionChanges { merged: None, changed: Some("new".into()) };
        let reply = clients.complete(id(1), Handled::Event { outcome, changes }, None);
        assert_eq!(reply, Reply { session: written, verdict: None });
    }
}

#[test]
fn a_gateway_is_forgotten_with_all_its_clients_but_those_whose_events_wait() {
    let written = |clients: &Clients<OrderedTable>| {
        let known = clients.table().update(id(1), |state| state.has_written_session());
        known.unwrap_or(false)
    };
    let mut chat = Chat::new();
    chat.receive(message(1, "", "hi"));
    chat.clients.note_write(id(1), b"1");
    chat.clients.forget_gateway(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2301));
    assert!(written(&chat.clients), "it is another gateway's");
    chat.clients.forget_gateway(GATEWAY);
    assert!(written(&chat.clients), "its event waits");
    chat.handle_all();
    assert!(chat.clients.table().is_empty(), "nobody would tell this worker that the client has closed");
    // Nor of one whose first event waits, which begins with nothing known.
    chat.receive(connect(1));
    chat.receive(message(1, "", "hi"));
    chat.clients.forget_gateway(GATEWAY);
    chat.handle_all();
    assert!(chat.clients.table().is_empty());
}

#[test]
fn a_client_whose_gateway_comes_back_is_known_until_it_closes() {
    let mut chat = Chat::new();
    chat.receive(message(1, "", "hi"));
    chat.clients.forget_gateway(GATEWAY);
    chat.receive(message(1, "", "over the new link"));
    chat.handle_all();
    assert!(!chat.clients.table().is_empty(), "the session that was written is its");
    chat.receive(close(1, ""));
    chat.handle_all();
    assert!(chat.clients.table().is_empty());
}

#[test]
fn a_write_to_a_client_without_events_is_not_kept() {
    let chat = Chat::new();
    chat.clients.note_write(id(1), b"1");
    chat.clients.note_merge(id(1), &[(1, 7)].into_iter().collect());
    assert!(chat.clients.table().is_empty());
}
