//! The process of a worker: the real core of the worker and of the client library, with a simulated application.
//!
//! The cycle of an event is the core's; here are the sockets, the bound on handlers at once, and the time that a
//! handler takes. What handlers do stands in `application`.

mod application;
mod links;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use application::{Handler, Question};
pub(super) use application::{is_destroyed, is_kicked};
use gatewayworker_businessworker::internals::{
    Begin, Clients, Enqueued, Event, Identity, OrderedTable, Received, SessionQuestion,
};
use gatewayworker_protocol::{ClientId, Command, Frame, MAX_LARGE_FRAME_LEN, SecretKey};
use links::{Asker, Calls, Connection, Events, Settled};

use super::Act;
use super::observer::Observer;
use crate::model::{Context, Input};
use crate::network::{ProcessId, SocketId};
use crate::rng::Rng;
use crate::violation::{Violation, ensure};

/// How long a worker that drains waits for a gateway to close its event link, in ms.
const DRAIN_TIMEOUT_MS: u64 = 2_000;

/// How long it takes until another worker takes the place of one that has drained, in ms.
const REPLACE_MS: u64 = 100;

/// The settings of a worker.
#[derive(Debug, Clone)]
pub(super) struct WorkerOptions {
    /// Handlers that run at once.
    pub(super) concurrency: usize,
    /// What all events may cost together, in bytes.
    pub(super) event_budget: usize,
    /// Its id is set, so that it comes back under the same.
    pub(super) has_id: bool,
    /// A client that is not to be answered has to wait so long, in ms.
    pub(super) silence_ms: u64,
}

impl WorkerOptions {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        Self {
            concurrency: rng.within(&(1..=8)) as usize,
            event_budget: rng.within(&(600..=60_000)) as usize,
            has_id: rng.chance(50),
            silence_ms: 350,
        }
    }
}

/// A worker.
pub(super) struct Worker {
    options: WorkerOptions,
    process: ProcessId,
    identity: Identity,
    clients: Clients<OrderedTable>,
    /// For each gateway, which is the process with the same number.
    events: Vec<Events>,
    calls: Vec<Calls>,
    /// Started events that wait for others to end.
    started: VecDeque<Event>,
    running: BTreeMap<ClientId, Running>,
    questions: BTreeMap<u64, Question>,
    /// Clients whose last session could not be written.
    unwritten: BTreeSet<ClientId>,
    /// Broadcasts to all that it has sent.
    broadcasts: u64,
    is_draining: bool,
    has_ended: bool,
    /// The run ends: nobody takes its place.
    is_last: bool,
    /// It has drained, and another one takes its place then.
    replaced_at_ms: Option<u64>,
}

/// A started event.
enum Running {
    /// The gateway is asked for its session.
    Asks(SessionQuestion, Event),
    /// Its handler runs.
    Handles(Handler),
}

impl Worker {
    pub(super) fn new(options: WorkerOptions, gateways: usize, context: &mut Context<'_>) -> Self {
        let (name, key) = (format!("worker{}", context.process), SecretKey::default());
        let identity = match options.has_id {
            true => Identity::with_id(name, "0".into(), key),
            false => Identity::with_drawn_id(name, context.rng.next_u64(), key),
        };
        let mut worker = Self {
            clients: Clients::new(OrderedTable::default(), options.event_budget),
            options,
            process: context.process,
            identity,
            events: (0..gateways).map(|_| Events::default()).collect(),
            calls: (0..gateways).map(|_| Calls::new()).collect(),
            started: VecDeque::new(),
            running: BTreeMap::new(),
            questions: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            broadcasts: 0,
            is_draining: false,
            has_ended: false,
            is_last: false,
            replaced_at_ms: None,
        };
        (0..gateways).for_each(|gateway| worker.connect_calls(gateway, context));
        worker
    }

    fn connect_events(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        let connection = Connection::new(gateway, context);
        self.events[gateway] = Events { connection: Some(connection), ..Events::default() };
    }

    fn connect_calls(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        self.calls[gateway].connection = Some(Connection::new(gateway, context));
        self.calls[gateway].retry_at_ms = None;
    }

    pub(super) fn step(
        &mut self,
        input: Input<Act>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        match input {
            Input::Connected(socket) => match self.link_of(socket) {
                Some((gateway, true)) => self.say_hello(gateway),
                Some((gateway, false)) => {
                    self.calls[gateway].connected(context.now_ms);
                    // Events come only where what handlers say to them can be sent.
                    let events = &self.events[gateway];
                    if events.connection.is_none() && events.retry_at_ms.is_none() && !self.is_draining {
                        self.connect_events(gateway, context);
                    }
                }
                None => {}
            },
            Input::Readable(socket) => match self.link_of(socket) {
                Some((gateway, true)) => self.read_events(gateway, observer, context)?,
                Some((gateway, false)) if self.calls[gateway].read(context) => {}
                Some((gateway, false)) => self.lose_calls(gateway, context),
                None => {}
            },
            Input::Writable(socket) => match self.link_of(socket) {
                Some((gateway, true)) => {
                    self.events[gateway].connection.iter().for_each(|c| c.writer.flush())
                }
                Some((gateway, false)) => {
                    self.calls[gateway].connection.iter().for_each(|c| c.writer.flush())
                }
                None => {}
            },
            Input::Turn(gateway) => {
                self.take_events(gateway as usize, observer, context)?;
                self.read_events(gateway as usize, observer, context)?;
            }
            Input::Deadline => self.advance(observer, context)?,
            Input::Act(Act::Drain) | Input::Finish(1) => self.drain(context),
            _ => {}
        }
        if let Input::Finish(1) = input {
            self.replaced_at_ms = None;
            self.is_last = true;
        }
        self.settle_calls(observer, context)?;
        self.end_if_drained(context.now_ms);
        Ok(())
    }

    /// Returns a socket's gateway, and whether events come on it.
    fn link_of(&self, socket: SocketId) -> Option<(ProcessId, bool)> {
        let is_it = |connection: &Option<Connection>| {
            connection.as_ref().is_some_and(|connection| connection.socket.id() == socket)
        };
        let events = self.events.iter().position(|events| is_it(&events.connection));
        let calls = || self.calls.iter().position(|calls| is_it(&calls.connection));
        events.map(|gateway| (gateway, true)).or_else(|| calls().map(|gateway| (gateway, false)))
    }

    fn say_hello(&mut self, gateway: ProcessId) {
        let hello = self.identity.hello(self.is_draining);
        let Some(connection) = &mut self.events[gateway].connection else { return };
        connection.is_connected = true;
        let _ = connection.writer.push(|out| hello.encode(out));
        connection.writer.flush();
        if self.is_draining {
            self.drain_events(gateway, 0);
        }
    }

    fn read_events(
        &mut self,
        gateway: ProcessId,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let events = &mut self.events[gateway];
        if events.stalled.is_some() {
            return Ok(());
        }
        let is_open = events.connection.as_mut().is_none_or(|connection| connection.read(context));
        self.take_events(gateway, observer, context)?;
        if !is_open && self.events[gateway].stalled.is_none() {
            self.lose_events(gateway, context);
        }
        Ok(())
    }

    /// Enqueues the events that have come from a gateway, as far as there is room for them.
    fn take_events(
        &mut self,
        gateway: ProcessId,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        loop {
            let events = &mut self.events[gateway];
            let event = match events.stalled.take() {
                Some(event) => event,
                None => {
                    let Some(connection) = &mut events.connection else { return Ok(()) };
                    let frame = Frame::parse(&mut connection.received, MAX_LARGE_FRAME_LEN);
                    let frame =
                        frame.map_err(|error| Violation::new("frames-are-whole", error.to_string()))?;
                    let Some(frame) = frame else { return Ok(()) };
                    let received = events.link.receive(frame);
                    match received.map_err(|error| Violation::new("frames-are-whole", error.to_string()))? {
                        Received::Event(event) => event,
                        _ => continue,
                    }
                }
            };
            if !self.clients.try_reserve(&event) {
                self.events[gateway].stalled = Some(event);
                return Ok(());
            }
            if let Enqueued::Start(event) = self.clients.enqueue(event) {
                self.start(event, observer, context)?;
            }
        }
    }

    /// Begins with a started event, now or when a handler has ended.
    fn start(
        &mut self,
        event: Event,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if self.running.len() >= self.options.concurrency {
            self.started.push_back(event);
            return Ok(());
        }
        let id = event.client_id();
        match self.clients.begin(id, &event.kind, event.session.clone()) {
            Begin::Skip => self.finish(id, observer, context),
            Begin::Run(session) => self.handle(id, event, session, observer, context),
            Begin::Ask(question) => {
                let gateway = super::process_of(id.gateway());
                let calls = &mut self.calls[gateway];
                let now = calls.instant(context.now_ms);
                let ask = gatewayworker_protocol::Question::Session(id.connection_id());
                context.note(|| format!("asks for the session of {id}"));
                match calls.core.ask(Command::Ask(ask).into_frame(), Asker::Session(id), now) {
                    Ok(_) => {
                        self.running.insert(id, Running::Asks(question, event));
                        Ok(())
                    }
                    Err(_) => {
                        let session = self.clients.answered(id, question, None);
                        self.handle(id, event, session, observer, context)
                    }
                }
            }
        }
    }

    /// Ends a client's started event, and begins with those that can run now.
    fn finish(
        &mut self,
        id: ClientId,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if let Some(next) = self.clients.finish(id) {
            self.started.push_back(next);
        }
        for gateway in 0..self.events.len() {
            if self.events[gateway].stalled.is_some() {
                let delay_ms = context.rng.below(2);
                context.turn_after(delay_ms, gateway as u32);
            }
        }
        match self.started.pop_front() {
            Some(event) => self.start(event, observer, context),
            None => Ok(()),
        }
    }

    fn lose_events(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        context.note(|| format!("the event link to gateway {gateway} is over"));
        self.events[gateway] = Events::default();
        self.clients.forget_gateway(super::address(gateway));
        if !self.is_draining {
            self.events[gateway].retry_at_ms = Some(context.now_ms + 20 + context.rng.below(30));
        }
    }

    fn lose_calls(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        context.note(|| format!("the call link to gateway {gateway} is over"));
        self.calls[gateway].disconnect(!self.has_ended, context);
    }

    /// Carries out what the call links ask for.
    fn settle_calls(&mut self, observer: &mut Observer, context: &mut Context<'_>) -> Result<(), Violation> {
        // An outcome may end a handler, which may ask anew.
        loop {
            let mut all: Settled = Vec::new();
            for gateway in 0..self.calls.len() {
                let (settled, is_closed) = self.calls[gateway].carry_out();
                all.extend(settled);
                if is_closed {
                    self.lose_calls(gateway, context);
                }
            }
            if all.is_empty() {
                return Ok(());
            }
            for (asker, outcome) in all {
                match asker {
                    Asker::Session(id) => {
                        let Some(Running::Asks(question, event)) = self.running.remove(&id) else {
                            let details = format!("nobody waits for the session of {id}");
                            return Err(Violation::new("answered-once", details));
                        };
                        let answer = outcome.ok().and_then(|answer| application::read_session(&answer));
                        let session = self.clients.answered(id, question, answer);
                        self.handle(id, event, session, observer, context)?;
                    }
                    Asker::Application(number) => self.take_answer(number, outcome, observer, context)?,
                }
            }
        }
    }

    fn advance(&mut self, observer: &mut Observer, context: &mut Context<'_>) -> Result<(), Violation> {
        let now_ms = context.now_ms;
        let is_due = |at_ms: Option<u64>| at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        for gateway in 0..self.events.len() {
            if is_due(self.events[gateway].retry_at_ms) {
                self.events[gateway].retry_at_ms = None;
                // Where there is no call link, its connecting starts this one.
                if self.calls[gateway].core.connection().is_ok() {
                    self.connect_events(gateway, context);
                }
            }
            if is_due(self.events[gateway].drain_until_ms) {
                self.lose_events(gateway, context);
            }
            if is_due(self.calls[gateway].retry_at_ms) {
                self.connect_calls(gateway, context);
            }
            let now = self.calls[gateway].instant(now_ms);
            self.calls[gateway].core.handle_timeout(now);
        }
        let is_over = |running: &Running| match running {
            Running::Handles(handler) => is_due(handler.until_ms),
            Running::Asks(..) => false,
        };
        let over: Vec<ClientId> =
            self.running.iter().filter(|(_, running)| is_over(running)).map(|(id, _)| *id).collect();
        for id in over {
            self.end_handler(id, observer, context)?;
        }
        Ok(())
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let events =
            self.events.iter().flat_map(|events| [events.retry_at_ms, events.drain_until_ms]).flatten();
        let calls = self.calls.iter().filter_map(Calls::next_deadline);
        let handlers = self.running.values().filter_map(|running| match running {
            Running::Handles(handler) => handler.until_ms,
            Running::Asks(..) => None,
        });
        events.chain(calls).chain(handlers).chain(self.replaced_at_ms).min()
    }

    /// Takes no new clients, and ends when it has handled all events.
    fn drain(&mut self, context: &mut Context<'_>) {
        if !std::mem::replace(&mut self.is_draining, true) {
            for gateway in 0..self.events.len() {
                self.drain_events(gateway, context.now_ms);
            }
        }
    }

    fn drain_events(&mut self, gateway: ProcessId, now_ms: u64) {
        let events = &mut self.events[gateway];
        events.retry_at_ms = None;
        match &events.connection {
            Some(connection) if connection.is_connected => {
                if let Some(command) = events.link.drain() {
                    let _ = connection.writer.push(|out| command.encode(out));
                }
                connection.writer.finish();
                events.drain_until_ms = Some(now_ms + DRAIN_TIMEOUT_MS);
            }
            // It is told nothing, as it does not know of this worker.
            _ => *events = Events::default(),
        }
    }

    fn end_if_drained(&mut self, now_ms: u64) {
        let is_idle = self.running.is_empty()
            && self.started.is_empty()
            && self.events.iter().all(|events| events.connection.is_none());
        if self.is_draining && is_idle && !std::mem::replace(&mut self.has_ended, true) {
            self.replaced_at_ms = (!self.is_last).then_some(now_ms + REPLACE_MS);
            for calls in &mut self.calls {
                calls.retry_at_ms = None;
                calls.connection.iter().for_each(|connection| connection.writer.finish());
            }
        }
    }

    /// Says whether it has drained, and another one takes its place now.
    pub(super) fn is_replaced(&self, now_ms: u64) -> bool {
        self.replaced_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Returns the questions of the application that are open.
    pub(super) fn open_questions(&self) -> impl Iterator<Item = u64> {
        self.questions.keys().copied()
    }

    /// Checks that nothing is left of clients that are all gone.
    pub(super) fn check_empty(&self) -> Result<(), Violation> {
        let left = [
            ("handlers run", self.running.len()),
            ("events wait", self.started.len()),
            ("questions are open", self.questions.len()),
            ("events are stalled", self.events.iter().filter(|events| events.stalled.is_some()).count()),
            (
                "call links have questions",
                self.calls.iter().filter(|calls| calls.core.next_deadline().is_some()).count(),
            ),
            ("states are kept", usize::from(!self.clients.table().is_empty())),
        ];
        let left = left.iter().find(|(_, count)| *count > 0);
        ensure(left.is_none(), "nothing-is-left", || {
            format!("worker {}: {left:?}, of {:?}", self.process, self.clients.table())
        })?;
        ensure(self.clients.budget().is_whole(), "event-budget-is-given-back", || {
            format!("worker {}", self.process)
        })
    }
}
