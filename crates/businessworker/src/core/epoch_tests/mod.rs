//! What epochs do to clients, driven without a runtime; `returns`: what a worker that drains gives back.

mod returns;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_client::ClientId;
use gatewayworker_protocol::{CloseReason, Command, EventCounts, Origin, Pairing, Payload};

use super::*;

const GATEWAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300);

/// What a message costs.
const COST: usize = EVENT_COST + 2;

fn id(connection_id: u32) -> ClientId {
    ClientId::new(GATEWAY, connection_id)
}

fn origin(connection_id: u32) -> Origin {
    let client = SocketAddrV4::new([203, 0, 113, 7].into(), 54321);
    Origin { gateway: GATEWAY, client, connection_id, gateway_port: 8289 }
}

fn connect(connection_id: u32) -> Command {
    Command::OnConnect { origin: origin(connection_id), session: Bytes::new() }
}

fn message(connection_id: u32, session: &'static str) -> Command {
    let (origin, session) = (origin(connection_id), session.into());
    Command::OnMessage { origin, session, message: Payload::plain("hi") }
}

fn close(connection_id: u32) -> Command {
    Command::OnClose { origin: origin(connection_id), session: Bytes::new(), reason: Bytes::new() }
}

/// A worker that is paired with one gateway.
struct Paired {
    pairings: Pairings,
    epoch: Arc<Epoch>,
    clients: Clients<OrderedTable>,
}

impl Paired {
    fn new() -> Self {
        Self::with_budget(100_000)
    }

    fn with_budget(budget: usize) -> Self {
        let mut pairings = Pairings::new(Duration::from_secs(5));
        let (epoch, _) = pairings.begin(GATEWAY, Pairing { instance: 7, epoch: 1 }, 0);
        Self { pairings, epoch, clients: Clients::new(OrderedTable::default(), budget) }
    }

    /// Whether so many more small events could come.
    fn has_room_for(&self, events: usize) -> bool {
        let budget = self.clients.budget();
        let has_room = budget.try_reserve(events * COST);
        if has_room {
            budget.give_back(events * COST);
        }
        has_room
    }

    /// An event comes; returns it where it can start.
    fn receive(&self, command: Command) -> Option<Event> {
        let mut event = Event::from_command(command).unwrap();
        event.epoch = Some(self.epoch.clone());
        assert!(self.clients.try_reserve(&event));
        match self.clients.enqueue(event) {
            Enqueued::Start(event) => Some(event),
            Enqueued::Queued => None,
            Enqueued::Returned(_) => panic!("it is given back"),
        }
    }

    /// Handles a started event and those behind it; returns what handlers saw.
    fn handle(&self, started: Option<Event>) -> Vec<String> {
        let (mut next, mut seen) = (started, Vec::new());
        while let Some(event) = next {
            let id = event.client_id();
            next = match event.epoch.as_ref().map_or(Turn::Begin, |epoch| epoch.turn(0)) {
                Turn::Drop => self.clients.drop_started(id),
                Turn::Wait => panic!("{event:?} waits"),
                Turn::Begin => {
                    let mark = if event.is_redelivered() { " again" } else { "" };
                    let name = match &event.kind {
                        EventKind::Connect => "connect".to_owned(),
                        EventKind::Close(reason) => CloseReason::from_wire(reason).to_string(),
                        _ => "message".to_owned(),
                    };
                    match self.clients.begin(id, &event.kind, event.session) {
                        Begin::Skip => {}
                        Begin::Run(session) | Begin::Ask(SessionQuestion { newest_known: session, .. }) => {
                            let session = String::from_utf8_lossy(&session).into_owned();
                            seen.push(format!("{} {name}{mark} [{session}]", id.connection_id()));
                        }
                    }
                    self.clients.finish(id)
                }
            };
        }
        seen
    }

    fn come(&self, connection_id: u32) {
        self.handle(self.receive(connect(connection_id)));
    }

    /// The links end, and a gateway is paired again.
    fn pair_again(&mut self, instance: u64) -> Option<Previous> {
        self.epoch.end();
        let (epoch, previous) = self.pairings.begin(GATEWAY, Pairing { instance, epoch: 2 }, 0);
        self.epoch = epoch;
        previous
    }

    fn assert_nothing_is_left(&self) {
        assert!(self.clients.table().is_empty());
        assert!(self.clients.budget().is_whole());
    }
}

/// Closes all clients of the gateway, which is lost; returns what handlers saw.
fn close_all(worker: &Paired, epoch: &Epoch) -> Vec<String> {
    let lost = worker.clients.lose(epoch);
    lost.into_iter().flat_map(|id| worker.handle(worker.clients.close_lost(id))).collect()
}

#[test]
fn a_client_is_known_from_its_first_event_to_its_close() {
    let worker = Paired::new();
    worker.come(1);
    assert!(worker.clients.has_clients_of(&worker.epoch));
    worker.handle(worker.receive(message(1, "")));
    worker.handle(worker.receive(close(1)));
    assert!(!worker.clients.has_clients_of(&worker.epoch));
    worker.assert_nothing_is_left();
}

#[test]
fn a_link_that_ends_without_a_pairing_takes_no_book_of_an_epoch_away() {
    let worker = Paired::new();
    worker.come(1);
    worker.epoch.end();
    worker.clients.forget_gateway(worker.epoch.gateway());
    assert!(worker.clients.has_clients_of(&worker.epoch), "whoever finds the gateway lost closes it");
    assert_eq!(close_all(&worker, &worker.epoch.clone()).len(), 1);
    worker.assert_nothing_is_left();
}

#[test]
fn a_client_that_comes_from_another_worker_is_done_at_once_and_one_that_goes_leaves_nothing() {
    let worker = Paired::new();
    assert!(worker.clients.adopt(&origin(1), b"a", &worker.epoch).is_none(), "no handler runs");
    let mut told = Vec::new();
    worker.epoch.done().take(|counts| told.extend_from_slice(counts));
    assert_eq!(told, [(1, 1)]);
    worker.clients.forget(&worker.epoch, &[1, 2]);
    worker.assert_nothing_is_left();
}

#[test]
fn what_is_known_of_a_client_from_before_it_went_to_another_worker_does_not_count_when_it_is_back() {
    let worker = Paired::new();
    let started = worker.receive(message(1, "old"));
    worker.clients.note_write(id(1), b"ours");
    worker.clients.adopt(&origin(1), b"theirs", &worker.epoch);
    worker.handle(started);
    let Some(event) = worker.receive(message(1, "theirs")) else { panic!("it can start") };
    let begin = worker.clients.begin(id(1), &event.kind, event.session);
    assert!(matches!(begin, Begin::Run(session) if session == "theirs"), "nobody is asked");
}

#[test]
fn a_client_that_goes_while_its_handler_runs_is_forgotten_after_it() {
    let worker = Paired::new();
    let started = worker.receive(message(1, ""));
    worker.clients.note_write(id(1), b"1");
    worker.clients.forget(&worker.epoch, &[1]);
    worker.handle(started);
    worker.assert_nothing_is_left();
}

#[test]
fn the_same_process_of_a_gateway_gives_events_anew_so_what_was_held_is_dropped() {
    let mut worker = Paired::new();
    worker.come(1);
    let held = worker.receive(message(1, ""));
    worker.receive(message(1, ""));
    worker.come(2);
    let Some(Previous::Superseded(before)) = worker.pair_again(7) else { panic!("the same process") };
    worker.clients.supersede(&before);
    assert!(worker.clients.lose(&before).is_empty(), "its books are gone");
    worker.clients.supersede(&before);
    worker.receive(message(1, "now"));
    assert_eq!(worker.handle(held), ["1 message [now]"], "only the new one");
    worker.handle(worker.receive(close(1)));
    worker.assert_nothing_is_left();
}

/// A worker whose links have ended while a handler ran for client 1, with an event behind; the event whose
/// calls were refused.
fn refused() -> (Paired, Event) {
    let worker = Paired::new();
    worker.come(1);
    let mut event = worker.receive(message(1, "")).unwrap();
    let Begin::Run(session) = worker.clients.begin(id(1), &event.kind, std::mem::take(&mut event.session))
    else {
        panic!("it does not run")
    };
    event.session = session;
    assert!(worker.receive(message(1, "")).is_none());
    worker.epoch.end();
    worker.clients.hold(&worker.epoch);
    assert_eq!(worker.epoch.turn(0), Turn::Wait);
    (worker, event)
}

#[test]
fn an_event_whose_calls_were_refused_runs_again_before_all_others_if_its_gateway_is_lost() {
    let (worker, event) = refused();
    for id in worker.clients.lose(&worker.epoch) {
        assert!(worker.clients.close_lost(id).is_none(), "its client's first event is not finished");
    }
    let expected = ["1 message again []", "1 message again []", "1 gateway-lost again []"];
    assert_eq!(worker.handle(Some(event)), expected);
    worker.assert_nothing_is_left();
}

#[test]
fn an_event_whose_calls_were_refused_is_dropped_when_its_gateway_is_back() {
    let (mut worker, event) = refused();
    let Some(Previous::Superseded(before)) = worker.pair_again(7) else { panic!("not superseded") };
    worker.clients.supersede(&before);
    assert!(worker.handle(Some(event)).is_empty());
    worker.assert_nothing_is_left();
}

#[test]
fn a_close_that_was_held_does_not_take_the_client_of_the_new_epoch_away() {
    let mut worker = Paired::new();
    worker.come(1);
    let held = worker.receive(close(1));
    let Some(Previous::Superseded(before)) = worker.pair_again(7) else { panic!("the same process") };
    worker.clients.supersede(&before);
    worker.clients.adopt(&origin(1), b"", &worker.epoch);
    worker.handle(held);
    assert!(worker.clients.has_clients_of(&worker.epoch));
}

#[test]
fn clients_of_a_lost_gateway_are_closed_behind_their_events_with_the_session_as_last_seen() {
    let mut worker = Paired::new();
    for connection_id in [1, 2] {
        worker.come(connection_id);
    }
    worker.handle(worker.receive(message(2, "seen")));
    let held = worker.receive(message(1, "held"));
    let before = worker.epoch.clone();
    before.end();
    assert_eq!(before.turn(0), Turn::Wait);
    let lost = worker.pairings.lose(GATEWAY).unwrap();
    assert!(Arc::ptr_eq(&lost, &before));
    assert_eq!(close_all(&worker, &lost), ["2 gateway-lost again [seen]"], "1 has an event before");
    assert_eq!(worker.handle(held), ["1 message again [held]", "1 gateway-lost again []"]);
    worker.assert_nothing_is_left();
}

#[test]
fn the_last_write_is_what_the_close_of_a_lost_gateway_sees() {
    let worker = Paired::new();
    let started = worker.receive(message(1, "old"));
    worker.handle(started);
    let started = worker.receive(message(1, "old"));
    worker.clients.note_write(id(1), b"new");
    worker.handle(started);
    worker.epoch.end();
    assert_eq!(close_all(&worker, &worker.epoch), ["1 gateway-lost again [new]"]);
}

#[test]
fn a_client_whose_close_is_held_is_closed_once() {
    let worker = Paired::new();
    worker.come(1);
    let held = worker.receive(message(1, ""));
    worker.receive(close(1));
    worker.epoch.end();
    assert!(close_all(&worker, &worker.epoch).is_empty());
    assert_eq!(worker.handle(held), ["1 message again []", "1 unknown again []"]);
    worker.assert_nothing_is_left();
}

#[test]
fn a_client_of_another_process_with_the_same_id_comes_behind_the_close_of_the_lost_one() {
    let mut worker = Paired::new();
    worker.handle(worker.receive(message(1, "lost")));
    let Some(Previous::Lost(before)) = worker.pair_again(8) else { panic!("another process") };
    let lost = worker.clients.lose(&before);
    assert_eq!(lost, [id(1)]);
    let started = worker.receive(connect(1));
    assert!(worker.clients.close_lost(id(1)).is_none(), "it is queued already");
    assert_eq!(worker.handle(started), ["1 gateway-lost again [lost]", "1 connect []"]);
    assert!(worker.clients.has_clients_of(&worker.epoch), "the new one is there");
    worker.handle(worker.receive(close(1)));
    worker.assert_nothing_is_left();
}

/// Client 1 is refused by the handler of a handshake that is started.
fn refuse(worker: &Paired, handshake: Option<Event>) -> Option<Event> {
    let event = handshake.unwrap();
    let epoch = event.epoch.clone();
    assert!(matches!(worker.clients.begin(id(1), &event.kind, event.session), Begin::Run(_)));
    let refused = Handled::WebSocketConnect {
        outcome: HandlerOutcome::Done,
        changes: SessionChanges::default(),
        admission: Some(Admission::refuse()),
        gateway_asks: true,
    };
    assert!(worker.clients.complete(id(1), refused, epoch.as_deref()).verdict.is_some());
    worker.clients.finish(id(1))
}

fn handshake() -> Command {
    Command::OnWebSocketConnect {
        origin: origin(1),
        session: Bytes::new(),
        handshake: "a:0:{}".into(),
        asks: true,
    }
}

#[test]
fn a_client_that_was_refused_is_asked_about_anew_when_its_gateway_gives_it_again() {
    let mut worker = Paired::new();
    worker.come(1);
    refuse(&worker, worker.receive(handshake()));
    let Some(Previous::Superseded(before)) = worker.pair_again(7) else { panic!("the same process") };
    worker.clients.supersede(&before);
    worker.assert_nothing_is_left();
    // The gateway had not read that it is refused.
    worker.clients.adopt(&origin(1), b"", &worker.epoch);
    refuse(&worker, worker.receive(handshake()));
    assert!(worker.handle(worker.receive(message(1, ""))).is_empty(), "no handler runs");
    worker.handle(worker.receive(close(1)));
    worker.assert_nothing_is_left();
}

#[test]
fn a_client_that_another_worker_has_admitted_is_heard_though_a_handler_has_refused_it_too_late() {
    let mut worker = Paired::new();
    worker.come(1);
    let started = worker.receive(handshake());
    let Some(Previous::Superseded(before)) = worker.pair_again(7) else { panic!("the same process") };
    worker.clients.supersede(&before);
    refuse(&worker, started);
    worker.assert_nothing_is_left();
    worker.clients.adopt(&origin(1), b"", &worker.epoch);
    assert_eq!(worker.handle(worker.receive(message(1, ""))), ["1 message []"]);
    worker.handle(worker.receive(close(1)));
    worker.assert_nothing_is_left();
}

#[test]
fn a_client_of_another_process_with_the_same_id_lets_the_refused_one_stay_refused() {
    let mut worker = Paired::new();
    worker.come(1);
    let started = worker.receive(handshake());
    worker.receive(message(1, ""));
    let held = refuse(&worker, started);
    let Some(Previous::Lost(before)) = worker.pair_again(8) else { panic!("another process") };
    assert_eq!(worker.clients.lose(&before), [id(1)]);
    assert!(worker.clients.adopt(&origin(1), b"theirs", &worker.epoch).is_none());
    assert_eq!(worker.handle(held), ["1 gateway-lost again []"], "no message");
    assert!(worker.clients.has_clients_of(&worker.epoch), "the new one is there");
    assert_eq!(worker.handle(worker.receive(message(1, "theirs"))), ["1 message [theirs]"]);
    worker.epoch.end();
    assert_eq!(close_all(&worker, &worker.epoch), ["1 gateway-lost again [theirs]"]);
    worker.assert_nothing_is_left();
}

/// Client 1 is adopted while the close of a lost gateway's client with the same id is held, which is returned.
fn adopted_behind_a_close() -> (Paired, Option<Event>) {
    let mut worker = Paired::new();
    worker.come(1);
    let held = worker.receive(close(1));
    let Some(Previous::Lost(before)) = worker.pair_again(8) else { panic!("another process") };
    assert!(worker.clients.lose(&before).is_empty(), "its close is here");
    worker.clients.adopt(&origin(1), b"", &worker.epoch);
    (worker, held)
}

#[test]
fn a_client_behind_the_close_of_another_is_closed_too_when_its_gateway_is_lost() {
    let (worker, held) = adopted_behind_a_close();
    worker.epoch.end();
    assert_eq!(worker.clients.lose(&worker.epoch), [id(1)]);
    assert_eq!(worker.handle(held), ["1 unknown again []"]);
    assert_eq!(worker.handle(worker.clients.close_lost(id(1))), ["1 gateway-lost again []"]);
    worker.assert_nothing_is_left();
}

#[test]
fn a_client_behind_the_close_of_another_that_is_closed_too_is_closed_once() {
    let (worker, held) = adopted_behind_a_close();
    assert!(worker.receive(close(1)).is_none(), "the one before is not done");
    worker.epoch.end();
    assert!(worker.clients.lose(&worker.epoch).is_empty(), "its close is here, too");
    assert_eq!(worker.handle(held).len(), 2);
    worker.assert_nothing_is_left();
}

#[test]
fn held_events_of_a_missing_gateway_take_no_room_until_it_is_lost() {
    let mut worker = Paired::with_budget(4 * COST);
    let started = worker.receive(message(1, ""));
    worker.receive(message(1, ""));
    worker.receive(message(2, ""));
    let other = Event::from_command(message(9, "")).unwrap();
    assert!(!worker.has_room_for(3), "they take three quarters");
    worker.epoch.end();
    worker.clients.hold(&worker.epoch);
    worker.clients.hold(&worker.epoch);
    assert!(worker.has_room_for(4), "all of it is the others'");
    assert!(worker.clients.try_reserve(&other) && worker.clients.try_reserve(&other));
    let lost = worker.pairings.lose(GATEWAY).unwrap();
    worker.clients.lose(&lost);
    assert!(!worker.has_room_for(1), "they run, and others wait for that");
    assert_eq!(worker.handle(started).len(), 2);
    assert!(worker.has_room_for(1));
}

#[test]
fn held_events_that_are_dropped_were_given_back_once() {
    for is_held in [false, true] {
        let mut worker = Paired::with_budget(4 * COST);
        let started = worker.receive(message(1, ""));
        worker.receive(message(1, ""));
        let before = worker.epoch.clone();
        worker.epoch.end();
        if is_held {
            worker.clients.hold(&before);
        }
        worker.pair_again(7);
        worker.clients.supersede(&before);
        assert!(worker.has_room_for(3), "what waits behind a handler is dropped before that has ended");
        worker.handle(started);
        worker.assert_nothing_is_left();
    }
}

#[test]
fn what_a_handler_writes_when_its_epoch_is_superseded_is_forgotten_behind_it() {
    for begins in [false, true] {
        let worker = Paired::new();
        let event = worker.receive(message(1, "")).unwrap();
        if begins {
            worker.clients.begin(id(1), &event.kind, event.session);
        }
        worker.epoch.end();
        worker.clients.supersede(&worker.epoch);
        worker.clients.note_write(id(1), b"late");
        let next = if begins { worker.clients.finish(id(1)) } else { worker.clients.drop_started(id(1)) };
        assert!(next.is_none());
        worker.assert_nothing_is_left();
    }
}
