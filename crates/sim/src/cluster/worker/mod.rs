//! The process of a worker: the real core of the worker and of the client library, with a simulated application.
//!
//! The cycle of an event is the core's; here are the sockets, the bound on handlers at once, and the time that a
//! handler takes.
//!
//! - `links`: the two links to a gateway; `pairs`: their epochs, and gateways that are lost,
//! - `events`: the way of an event to its handler and behind it; `done`: what the gateway is told of it,
//! - `application`, `asking`: what handlers do,
//! - `drain`: how a worker stops.

mod application;
mod asking;
mod done;
mod drain;
mod events;
mod links;
mod pairs;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use application::Handler;
pub(super) use application::{is_destroyed, is_kicked};
use asking::Question;
use done::Marks;
use gatewayworker_businessworker::internals::{
    Clients, Epoch, Event, Identity, OrderedTable, Pairings, SessionQuestion,
};
use gatewayworker_net::HeldFor;
use gatewayworker_protocol::{ClientId, SecretKey};
use links::{Calls, Events};

use super::Act;
use super::observer::Observer;
use super::timing::{GATEWAY_LOST_AFTER_MS, LINK_TIMEOUT_MS};
use crate::epochs::Life;
use crate::model::{Context, Input};
use crate::network::{ProcessId, SocketId};
use crate::rng::Rng;
use crate::violation::{Violation, ensure};

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
    life: Life,
    identity: Identity,
    clients: Clients<OrderedTable>,
    pairings: Pairings,
    /// For each gateway, which is the process with the same number.
    events: Vec<Events>,
    calls: Vec<Calls>,
    /// For how long each gateway has looked lost.
    lost_for: Vec<HeldFor>,
    next_ping_ms: u64,
    next_tick_ms: u64,
    /// When each gateway is told what is done.
    tell_done_at_ms: Vec<Option<u64>>,
    marks: Marks,
    /// Started events that wait for others to end.
    started: VecDeque<Event>,
    /// Started events that wait until their gateway is heard, or what has become of it is known.
    held: Vec<Event>,
    running: BTreeMap<ClientId, Running>,
    questions: BTreeMap<u64, Question>,
    /// Broadcasts to all that it has sent.
    broadcasts: u64,
    is_draining: bool,
    /// When it waits no longer for gateways.
    drain_until_ms: Option<u64>,
    has_ended: bool,
    /// A handler has ended the process.
    has_aborted: bool,
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
    pub(super) fn new(
        options: WorkerOptions,
        gateways: usize,
        life: Life,
        context: &mut Context<'_>,
    ) -> Self {
        let (name, key) = (format!("worker{}", context.process), SecretKey::default());
        let identity = match options.has_id {
            true => Identity::with_id(name, "0".into(), key),
            false => Identity::with_drawn_id(name, context.rng.next_u64(), key),
        };
        let lost_for = HeldFor::new(Duration::from_millis(GATEWAY_LOST_AFTER_MS));
        let mut worker = Self {
            clients: Clients::new(OrderedTable::default(), options.event_budget),
            options,
            life,
            // Every other worker asks for contexts, so events go from one kind to the other.
            identity: identity.with_process(life.id()).with_event_contexts(context.process.is_multiple_of(2)),
            pairings: Pairings::new(Duration::from_millis(LINK_TIMEOUT_MS / 2)),
            events: (0..gateways).map(|_| Events::default()).collect(),
            calls: (0..gateways).map(|_| Calls::new()).collect(),
            lost_for: vec![lost_for; gateways],
            next_ping_ms: context.now_ms,
            next_tick_ms: context.now_ms,
            tell_done_at_ms: vec![None; gateways],
            marks: Marks::default(),
            started: VecDeque::new(),
            held: Vec::new(),
            running: BTreeMap::new(),
            questions: BTreeMap::new(),
            broadcasts: 0,
            is_draining: false,
            drain_until_ms: None,
            has_ended: false,
            has_aborted: false,
            is_last: false,
            replaced_at_ms: None,
        };
        (0..gateways).for_each(|gateway| worker.connect_calls(gateway, context));
        worker
    }

    pub(super) fn life(&self) -> Life {
        self.life
    }

    pub(super) fn step(
        &mut self,
        input: Input<Act>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        match input {
            Input::Connected(socket) => match self.link_of(socket) {
                Some((gateway, true)) => self.say_hello(gateway, context),
                Some((gateway, false)) => {
                    self.calls[gateway].connected(context.now_ms);
                    self.connect_events_if_called(gateway, context);
                }
                None => {}
            },
            Input::Readable(socket) => match self.link_of(socket) {
                Some((gateway, true)) => self.read_events(gateway, observer, context)?,
                Some((gateway, false)) => {
                    self.read_calls(gateway, context);
                    self.run_held(observer, context)?;
                }
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
            Input::Act(Act::Drain) => self.drain(observer, context)?,
            Input::Finish(1) => {
                self.is_last = true;
                self.replaced_at_ms = None;
                self.drain(observer, context)?;
            }
            _ => {}
        }
        // What an aborted process has not written is lost.
        if self.has_aborted {
            return Ok(());
        }
        self.settle_calls(observer, context)?;
        self.return_unbegun(observer, context)?;
        self.release_done(observer, context);
        self.end_if_drained(observer, context)
    }

    /// Returns a socket's gateway, and whether events come on it.
    fn link_of(&self, socket: SocketId) -> Option<(ProcessId, bool)> {
        let is_it = |connection: &Option<links::Connection>| {
            connection.as_ref().is_some_and(|connection| connection.socket.id() == socket)
        };
        let events = self.events.iter().position(|events| is_it(&events.connection));
        let calls = || self.calls.iter().position(|calls| is_it(&calls.connection));
        events.map(|gateway| (gateway, true)).or_else(|| calls().map(|gateway| (gateway, false)))
    }

    fn advance(&mut self, observer: &mut Observer, context: &mut Context<'_>) -> Result<(), Violation> {
        let now_ms = context.now_ms;
        let is_due = |at_ms: Option<u64>| at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        for gateway in 0..self.events.len() {
            self.judge_events(gateway, observer, context)?;
            if is_due(self.calls[gateway].retry_at_ms) {
                self.connect_calls(gateway, context);
            }
            if is_due(self.calls[gateway].core_deadline()) {
                self.judge_calls(gateway, context);
            }
            if is_due(self.tell_done_at_ms[gateway]) {
                self.tell_done(gateway, context);
            }
        }
        if now_ms >= self.next_ping_ms {
            self.ping(now_ms);
        }
        if now_ms >= self.next_tick_ms {
            self.look_for_lost(observer, context)?;
        }
        self.run_held(observer, context)?;
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
        if self.has_ended {
            return self.replaced_at_ms;
        }
        let events = self.events.iter().filter_map(|events| events.deadline_ms);
        let calls = self.calls.iter().filter_map(Calls::next_deadline);
        let done = self.tell_done_at_ms.iter().copied().flatten();
        let handlers = self.running.values().filter_map(|running| match running {
            Running::Handles(handler) => handler.until_ms,
            Running::Asks(..) => None,
        });
        let regular = [self.next_ping_ms, self.next_tick_ms];
        let once = self.drain_until_ms.into_iter().chain(self.replaced_at_ms);
        events.chain(calls).chain(done).chain(handlers).chain(regular).chain(once).min()
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
        let is_untold = |epoch: &&Arc<Epoch>| {
            let mut is_untold = epoch.done().has_held();
            epoch.done().take(|_| is_untold = true);
            is_untold
        };
        let untold = self.pairings.live().filter(is_untold);
        let left = [
            ("handlers run", self.running.len()),
            ("events wait", self.started.len()),
            ("events are held", self.held.len()),
            ("questions are open", self.questions.len()),
            ("events are stalled", self.events.iter().filter(|events| events.stalled.is_some()).count()),
            ("epochs have done events that the gateway was not told of", untold.count()),
            ("marks are waited for", self.marks.len()),
            ("states are kept", usize::from(!self.clients.table().is_empty())),
        ];
        let left = left.iter().find(|(_, count)| *count > 0);
        ensure(left.is_none(), "nothing-is-left", || {
            format!("worker {:?}: {left:?}, of {:?}", self.life, self.clients.table())
        })?;
        ensure(self.clients.budget().is_whole(), "event-budget-is-given-back", || {
            format!("worker {:?}", self.life)
        })
    }
}
