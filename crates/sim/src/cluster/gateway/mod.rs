//! The process of a gateway: real shards, and a shell around them as the gateway's is.
//!
//! A shard is a thread in the gateway; here each of its inputs is a step, in an order that is drawn. What shards
//! and links share (the directory of workers) is changed in whole steps only.
//!
//! - `shard`: a core, its messages and effects; `client`: a client's connection,
//! - `link`: an inner link, `gathering`: a question on it; `epochs`: what both links of a worker are together,
//! - `checks`: what holds after each step, and at the end.

mod checks;
mod client;
mod epochs;
mod gathering;
mod link;
mod shard;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(super) use client::{ACCEPTED, NO_WORKER};
use client::{ClientTask, Stage};
use gatewayworker_gateway::internals::{
    DeliverySettings, Framing, Heartbeat, IsolationTimer, ListenerPolicy, MembershipLimits, Pairings,
    Routing, Settings, SlowConsumer, UnheardTimer, WebSocketType,
};
use gatewayworker_protocol::ClientId;
use link::{Doing, Link};
use shard::{ShardMessage, ShardNode};

use super::Act;
use super::observer::Observer;
use super::ports::{Core, SimDirectory};
use super::timing::{ISOLATED_AFTER_MS, LINKS_END_MS, TICK_MS, UNHEARD_AFTER_MS};
use crate::epochs::{EpochName, Life};
use crate::model::{Context, Input};
use crate::network::{ProcessId, SocketId};
use crate::rng::Rng;

/// The port that workers connect to, as faults know it: that of their event links, and that of their call links.
pub(super) const EVENT_LINKS: u16 = 2300;
pub(super) const CALL_LINKS: u16 = 2301;
/// The port that clients connect to.
pub(super) const CLIENTS: u16 = 8289;

/// How long a gateway that stops waits for its workers, in ms.
const STOP_TIMEOUT_MS: u64 = 1_500;

/// The settings of a gateway.
#[derive(Debug, Clone)]
pub(super) struct GatewayOptions {
    pub(super) shards: usize,
    pub(super) routing: Routing,
    pub(super) admission_timeout_ms: u64,
    pub(super) worker_wait_ms: u64,
    pub(super) handshake_timeout_ms: u64,
    pub(super) max_waiting: usize,
    /// A link is full with so many bytes.
    pub(super) link_bytes: usize,
    pub(super) outbox_bytes: usize,
    pub(super) outbox_budget: usize,
    pub(super) heartbeat_ms: u64,
    pub(super) delivery: DeliverySettings,
}

impl GatewayOptions {
    /// Draws settings that are met within a run: small buffers, short times.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let routings = [Routing::LeastConnections, Routing::Random, Routing::RoundRobin];
        Self {
            shards: rng.within(&(1..=3)) as usize,
            routing: *rng.pick(&routings).unwrap_or(&Routing::Random),
            admission_timeout_ms: 300,
            worker_wait_ms: 200,
            handshake_timeout_ms: 300,
            max_waiting: rng.within(&(1..=4)) as usize,
            link_bytes: rng.within(&(200..=8_000)) as usize,
            outbox_bytes: rng.within(&(500..=30_000)) as usize,
            outbox_budget: rng.within(&(1_000..=60_000)) as usize,
            heartbeat_ms: rng.within(&(150..=1_000)),
            delivery: DeliverySettings {
                max_deliveries: rng.within(&(2..=5)) as u8,
                window_events: rng.within(&(2..=64)) as usize,
                window_bytes: rng.within(&(500..=60_000)) as usize,
                ..DeliverySettings::default()
            },
        }
    }

    fn policy(&self) -> ListenerPolicy {
        ListenerPolicy {
            resume: None,
            index: 0,
            port: CLIENTS,
            framing: Framing::WebSocket(WebSocketType::Auto),
            heartbeat: Heartbeat::new(Duration::from_millis(self.heartbeat_ms), 1, true),
            ping: (&[0x89, 0][..]).into(),
            max_message_bytes: 1 << 20,
            outbox_bytes: self.outbox_bytes,
            slow_consumer: SlowConsumer::Close,
            rate_limits: None,
            compression: None,
        }
    }
}

/// What a turn is for, or what a socket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    Flush(usize),
    Messages(usize),
    WorkersChanged(usize),
    Client(u32),
    Link(u32),
}

impl Wake {
    fn encode(self) -> u32 {
        let (kind, number) = match self {
            Self::Flush(shard) => (0, shard as u32),
            Self::Messages(shard) => (1, shard as u32),
            Self::WorkersChanged(shard) => (2, shard as u32),
            Self::Client(number) => (3, number),
            Self::Link(number) => (4, number),
        };
        number * 8 + kind
    }

    fn decode(number: u32) -> Self {
        let (kind, number) = (number % 8, number / 8);
        match kind {
            0 => Self::Flush(number as usize),
            1 => Self::Messages(number as usize),
            2 => Self::WorkersChanged(number as usize),
            3 => Self::Client(number),
            _ => Self::Link(number),
        }
    }
}

/// A gateway.
pub(super) struct Gateway {
    options: GatewayOptions,
    policy: Rc<ListenerPolicy>,
    life: Life,
    directory: SimDirectory,
    shards: Vec<ShardNode>,
    clients: BTreeMap<u32, ClientTask>,
    links: BTreeMap<u32, Link>,
    pairings: Pairings<u32>,
    epochs: BTreeMap<u32, epochs::Epoch>,
    isolation: IsolationTimer,
    unheard: UnheardTimer,
    next_tick_ms: u64,
    sockets: BTreeMap<SocketId, Wake>,
    /// Clients that wait for a worker.
    waiting: usize,
    next_number: u32,
    /// The next number in the order of connecting, joining and binding.
    next_seq: u64,
    is_stopping: bool,
    stopped_links: bool,
    /// It stops, and gives up then what workers have not done.
    stop_until_ms: Option<u64>,
}

impl Gateway {
    pub(super) fn new(options: GatewayOptions, life: Life, context: &mut Context<'_>) -> Self {
        let directory = SimDirectory::new(options.routing, context.rng.next_u64());
        let policy = Rc::new(options.policy());
        let [unheard_after, links_end, tick] =
            [UNHEARD_AFTER_MS, LINKS_END_MS, TICK_MS].map(Duration::from_millis);
        let shards = (0..options.shards).map(|index| {
            let settings = Settings {
                address: super::address(context.process),
                index,
                shards: options.shards,
                admission_timeout_ms: options.admission_timeout_ms,
                max_session_bytes: 1 << 20,
                outbox_budget: options.outbox_budget,
                heartbeat_tick: Duration::from_millis(5),
                membership_limits: MembershipLimits::default(),
                presence: None,
                delivery: options.delivery,
                counters: Arc::default(),
            };
            ShardNode::new(Core::new(settings, directory.clone()))
        });
        Self {
            shards: shards.collect(),
            policy,
            life,
            directory,
            pairings: Pairings::new(context.rng.next_u64() as u32),
            epochs: BTreeMap::new(),
            isolation: IsolationTimer::new(Duration::from_millis(ISOLATED_AFTER_MS)),
            unheard: UnheardTimer::new(unheard_after, links_end, tick),
            next_tick_ms: context.now_ms,
            clients: BTreeMap::new(),
            links: BTreeMap::new(),
            sockets: BTreeMap::new(),
            waiting: 0,
            next_number: 1,
            next_seq: 1,
            is_stopping: false,
            stopped_links: false,
            stop_until_ms: None,
            options,
        }
    }

    pub(super) fn step(&mut self, input: Input<Act>, observer: &mut Observer, context: &mut Context<'_>) {
        match input {
            Input::Accepted { .. } if self.stopped_links => {}
            Input::Accepted { socket, port: EVENT_LINKS | CALL_LINKS } => self.accept_link(socket, context),
            Input::Accepted { socket, .. } => self.accept_client(socket, context),
            Input::Readable(socket) => match self.sockets.get(&socket).copied() {
                Some(Wake::Client(number)) => self.read_client(number, observer, context),
                Some(Wake::Link(number)) => self.run_link(number, observer, context),
                _ => {}
            },
            Input::Writable(socket) => match self.sockets.get(&socket).copied() {
                Some(Wake::Client(number)) => self.client_is_writable(number, observer, context),
                Some(Wake::Link(number)) => {
                    if let Some(link) = self.links.get(&number) {
                        link.writer.buffer.flush();
                    }
                    self.run_link_if_waiting(number, observer, context);
                }
                _ => {}
            },
            Input::Turn(number) => match Wake::decode(number) {
                Wake::Flush(shard) => self.flush_shard(shard, observer, context),
                Wake::Messages(shard) => self.run_messages(shard, observer, context),
                Wake::WorkersChanged(shard) => {
                    self.input(shard, observer, context, Core::workers_changed);
                }
                Wake::Client(number) => self.run_client(number, observer, context),
                Wake::Link(number) => {
                    if let Some(link) = self.links.get_mut(&number) {
                        link.woken();
                    }
                    self.run_link(number, observer, context);
                }
            },
            Input::Deadline => self.advance(observer, context),
            Input::Act(Act::Stop { spread_ms }) => self.stop(spread_ms, context),
            Input::Act(Act::Unlist { lasting_ms }) => {
                observer.registers.cut_off(context.process, context.now_ms + lasting_ms);
                observer.ledger.epochs.is_unlisted(self.life);
            }
            Input::Finish(0) => observer.registers.heal(),
            Input::Finish(1) => self.stop(0, context),
            Input::Connected(_) | Input::Act(_) | Input::Finish(_) => {}
        }
        self.end_step(observer, context);
    }

    fn run_link_if_waiting(&mut self, number: u32, observer: &mut Observer, context: &mut Context<'_>) {
        if self.links.get(&number).is_some_and(|link| !matches!(link.doing, Doing::Read)) {
            self.run_link(number, observer, context);
        }
    }

    fn end_step(&mut self, observer: &mut Observer, context: &mut Context<'_>) {
        self.look_after_links(observer, context);
        if self.directory.take_changed() {
            for shard in 0..self.shards.len() {
                let delay_ms = context.rng.below(3);
                context.turn_after(delay_ms, Wake::WorkersChanged(shard).encode());
            }
        }
        self.wake_clients(context);
        self.end_if_stopped(observer, context);
    }

    /// Ends when all clients are gone and all closes are done, or given up.
    fn end_if_stopped(&mut self, observer: &mut Observer, context: &mut Context<'_>) {
        let are_closed = |shard: &ShardNode| shard.core.has_closed_all() && shard.messages.is_empty();
        if !self.is_stopping || self.stopped_links || !self.shards.iter().all(are_closed) {
            return;
        }
        let until_ms = *self.stop_until_ms.get_or_insert(context.now_ms + STOP_TIMEOUT_MS);
        let are_done = self.shards.iter().all(|shard| shard.core.has_stopped());
        if !are_done && context.now_ms < until_ms && self.directory.expects_worker() {
            return;
        }
        if !self.clients.is_empty() {
            return;
        }
        for shard in &mut self.shards {
            let given_up = shard.core.give_up_closes();
            if given_up.lost + given_up.unfinished > 0 {
                context.note(|| format!("gives up {given_up:?}"));
                observer.ledger.gives_up(self.life);
            }
        }
        context.note(|| "all clients are gone: the links end".into());
        self.stopped_links = true;
        observer.registers.ends(context.process);
        observer.ledger.epochs.is_unlisted(self.life);
        for number in self.epochs.keys() {
            let epoch = EpochName { gateway: self.life, number: *number };
            observer.ledger.epoch_ends(epoch, context.now_ms);
        }
        self.stop_links(context);
    }

    fn advance(&mut self, observer: &mut Observer, context: &mut Context<'_>) {
        let now_ms = context.now_ms;
        for shard in 0..self.shards.len() {
            if self.shards[shard].core.next_deadline().is_some_and(|at_ms| at_ms <= now_ms) {
                self.input(shard, observer, context, |core| core.advance(now_ms));
            }
        }
        self.time_out_clients(context);
        self.time_out_links(now_ms);
        self.keep_alive(context);
        if now_ms >= self.next_tick_ms {
            self.next_tick_ms = now_ms + TICK_MS;
            let has_register = !observer.registers.is_absent(context.process, now_ms);
            let has_worker = self.directory.len() > 0;
            if let Some(is_unheard) = self.unheard.tick(has_register, has_worker, now_ms) {
                context.note(|| format!("is unheard: {is_unheard}"));
                for shard in 0..self.shards.len() {
                    self.send(shard, ShardMessage::Unheard(is_unheard), context);
                }
            }
            if let Some(which) = self.isolation.tick(has_register, has_worker, now_ms) {
                context.note(|| format!("is isolated: {which:?}"));
                for shard in 0..self.shards.len() {
                    self.send(shard, ShardMessage::CloseIsolated(which), context);
                }
            }
        }
    }

    fn stop(&mut self, spread_ms: u64, context: &mut Context<'_>) {
        if !std::mem::replace(&mut self.is_stopping, true) {
            for shard in 0..self.shards.len() {
                self.send(shard, ShardMessage::Stop(spread_ms), context);
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let shards = self.shards.iter().filter_map(|shard| shard.core.next_deadline());
        let clients = self.clients.values().filter_map(ClientTask::deadline);
        let links = self.links.values().filter_map(|link| match link.doing {
            Doing::Finish { until_ms } => Some(until_ms),
            _ => None,
        });
        let tick = (!self.stopped_links).then_some(self.next_tick_ms);
        let stop = self.stop_until_ms.filter(|_| !self.stopped_links);
        shards.chain(clients).chain(stop).chain(links).chain(self.epoch_deadline()).chain(tick).min()
    }

    pub(super) fn life(&self) -> Life {
        self.life
    }

    /// The process is about to die: reports which workers know which clients to be their own.
    pub(super) fn report_owners(&self, observer: &mut Observer) {
        for (connection_id, worker) in self.shards.iter().flat_map(|shard| shard.core.owners()) {
            if let Some(process) = worker.process() {
                let id = ClientId::new(super::address(self.life.process), connection_id);
                observer.ledger.is_owned(id, Life::of_id(process));
            }
        }
    }

    pub(super) fn is_of(process: ProcessId, id: ClientId) -> bool {
        id.gateway() == super::address(process)
    }
}
