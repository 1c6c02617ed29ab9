//! The process of the gateway: the real core of one shard, and a shell around it as the gateway's is.
//!
//! `lines` has its connections. Workers are in this process, too: what they are told and what they say takes a while.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gatewayworker_gateway::internals::testing::MemoryDirectory;
use gatewayworker_gateway::internals::{
    DeliverySettings, Effect, Finished, Flushed, Framing, Gone, ListenerPolicy, MembershipLimits,
    ResumePolicy, Routing, Settings, ShardCommand, SlowConsumer, WebSocketType,
};
use gatewayworker_protocol::CloseReason;

use super::application;
use super::ledger::Ledger;
use super::lines::{LineTask, Stage};
use super::ports::{Core, Shared, SimConnection};
use super::workers::{Said, Worker, Workers};
use super::{Act, GATEWAY};
use crate::closing::{Closing, flush};
use crate::model::{Context, Input};
use crate::network::SocketId;
use crate::violation::{Violation, ensure};

/// The address that is part of every client's id.
pub(super) const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, GATEWAY as u8), 2300);

/// How long a client waits to be admitted, in ms.
const ADMISSION_MS: u64 = 500;

/// The settings of a gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct GatewayOptions {
    pub(super) resume_ms: u64,
    pub(super) resume_bytes: usize,
    pub(super) ping_ms: u64,
    pub(super) outbox_bytes: usize,
    pub(super) outbox_budget: usize,
    /// A worker's link is full with so many unfinished bytes.
    pub(super) link_bytes: usize,
    pub(super) window_events: usize,
}

/// What a turn is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Flush,
    Handle,
    Execute,
    Line(u32),
}

impl Wake {
    pub(super) fn encode(self) -> u32 {
        match self {
            Self::Flush => 0,
            Self::Handle => 1,
            Self::Execute => 2,
            Self::Line(number) => 3 + number,
        }
    }

    fn decode(number: u32) -> Self {
        match number {
            0 => Self::Flush,
            1 => Self::Handle,
            2 => Self::Execute,
            number => Self::Line(number - 3),
        }
    }
}

/// A gateway.
pub(super) struct Gateway {
    pub(super) policy: Rc<ListenerPolicy>,
    pub(super) core: Core,
    pub(super) directory: MemoryDirectory,
    pub(super) shared: Rc<Shared>,
    pub(super) lines: BTreeMap<u32, LineTask>,
    pub(super) sockets: BTreeMap<SocketId, u32>,
    pub(super) next_number: u32,
    workers: Workers,
    is_flush_planned: bool,
    is_handle_planned: bool,
    is_execute_planned: bool,
}

impl GatewayOptions {
    fn policy(&self) -> ListenerPolicy {
        let Self { resume_ms, resume_bytes, ping_ms, outbox_bytes, .. } = *self;
        ListenerPolicy {
            resume: Some(ResumePolicy { resume_ms, resume_bytes, ping_ms }),
            index: 0,
            port: 8289,
            framing: Framing::WebSocket(WebSocketType::Auto),
            heartbeat: None,
            ping: Default::default(),
            max_message_bytes: 1 << 20,
            outbox_bytes,
            slow_consumer: SlowConsumer::DropNewest,
            rate_limits: None,
            compression: None,
        }
    }
}

impl Gateway {
    pub(super) fn new(options: GatewayOptions) -> Self {
        let directory = MemoryDirectory::new(Routing::LeastConnections);
        let settings = Settings {
            address: ADDRESS,
            index: 0,
            shards: 1,
            admission_timeout_ms: ADMISSION_MS,
            max_session_bytes: 1 << 20,
            outbox_budget: options.outbox_budget,
            heartbeat_tick: Duration::from_millis(5),
            membership_limits: MembershipLimits::default(),
            presence: None,
            delivery: DeliverySettings {
                // An event ends no worker here.
                max_deliveries: u8::MAX,
                window_events: options.window_events,
                ..DeliverySettings::default()
            },
            counters: Arc::default(),
        };
        Self {
            policy: Rc::new(options.policy()),
            core: Core::new(settings, directory.clone()),
            workers: Workers::new(directory.clone(), options.link_bytes),
            directory,
            shared: Rc::default(),
            lines: BTreeMap::new(),
            sockets: BTreeMap::new(),
            next_number: 1,
            is_flush_planned: false,
            is_handle_planned: false,
            is_execute_planned: false,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let lines = self.lines.values().filter_map(LineTask::deadline);
        lines.chain(self.core.next_deadline()).min()
    }

    pub(super) fn step(
        &mut self,
        input: Input<Act>,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let now_ms = context.now_ms;
        self.shared.now_ms.set(now_ms);
        match input {
            Input::Accepted { socket, .. } => self.accept(socket, now_ms),
            Input::Readable(socket) => {
                if let Some(number) = self.sockets.get(&socket).copied() {
                    self.read(number, ledger, context)?;
                }
            }
            Input::Writable(socket) => {
                if let Some(number) = self.sockets.get(&socket).copied() {
                    self.is_writable(number, ledger, context)?;
                }
            }
            Input::Turn(number) => match Wake::decode(number) {
                Wake::Flush => {
                    self.is_flush_planned = false;
                    if self.input(ledger, context, Core::flush)? {
                        self.plan_flush(0, context);
                    }
                }
                Wake::Handle => {
                    self.is_handle_planned = false;
                    self.workers.handle(ledger, context.rng)?;
                }
                Wake::Execute => {
                    self.is_execute_planned = false;
                    for _ in 0..=context.rng.below(8) {
                        let Some((said, commands)) = self.workers.next_said() else { break };
                        self.execute(said, commands, ledger, context)?;
                    }
                }
                Wake::Line(number) => self.run(number, ledger, context)?,
            },
            Input::Deadline => {
                if self.core.next_deadline().is_some_and(|at_ms| at_ms <= now_ms) {
                    self.input(ledger, context, |core| core.advance(now_ms))?;
                }
                self.time_out(now_ms);
            }
            Input::Act(Act::Say { to, messages }) => {
                if let Some(worker) = self.workers.newest() {
                    (0..messages).for_each(|_| worker.say(application::say(to, ledger)));
                }
            }
            Input::Act(Act::End { nth, how }) => {
                if let Some(said) = application::close(nth, how, ledger)
                    && let Some(worker) = self.workers.newest()
                {
                    worker.say(said);
                }
            }
            Input::Act(Act::Replace { is_crash }) => self.replace(is_crash, ledger, context)?,
            Input::Connected(_) | Input::Act(_) | Input::Finish(_) => {}
        }
        self.end_step(ledger, context)
    }

    /// Gives the core an input, and carries out what it asks for.
    pub(super) fn input<R>(
        &mut self,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
        input: impl FnOnce(&mut Core) -> R,
    ) -> Result<R, Violation> {
        let result = input(&mut self.core);
        self.carry_out(ledger, context)?;
        Ok(result)
    }

    pub(super) fn carry_out(
        &mut self,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if self.core.take_signals().flush {
            let delay_ms = context.rng.below(2);
            self.plan_flush(delay_ms, context);
        }
        let ended = self.shared.ended.take();
        ended.into_iter().for_each(|number| self.forget(number));
        while let Some(effect) = self.core.next_effect() {
            match effect {
                Effect::WaitWritable(key) => {
                    if let Some(line) = self.line_of(key)
                        && let Stage::Open(open) = &mut line.stage
                    {
                        open.waits_writable = true;
                    }
                }
                Effect::Resume(key) => {
                    if let Some(line) = self.line_of(key) {
                        line.wake(context);
                    }
                }
                Effect::Finish(finished) => self.finish(*finished, ledger, context)?,
                Effect::Log(notice) => context.note(|| format!("{notice:?}")),
                Effect::NewToken(..) | Effect::Admitted(_) | Effect::Traced(_) | Effect::Span(_) => {}
            }
        }
        Ok(())
    }

    fn plan_flush(&mut self, delay_ms: u64, context: &mut Context<'_>) {
        if !std::mem::replace(&mut self.is_flush_planned, true) {
            context.turn_after(delay_ms, Wake::Flush.encode());
        }
    }

    /// Ends the connection of a client that is out of the table, if it has one.
    fn finish(
        &mut self,
        finished: Finished<SimConnection>,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Finished { connection, mut outbox, id, reason, ending, .. } = finished;
        context.note(|| format!("client {id} is let go: {reason}"));
        ledger.ends(id.connection_id(), reason, connection.detached_ms, context.now_ms)?;
        let Some(line) = connection.line else { return Ok(()) };
        let is_over = match flush(&line.socket, &mut outbox) {
            Flushed::Broken => true,
            Flushed::Empty => ending.at_once || ending.has_left,
            Flushed::Blocked => ending.at_once || reason == CloseReason::TimedOut,
        };
        if is_over {
            self.forget(line.number);
            return Ok(());
        }
        let is_slow = reason == CloseReason::SlowConsumer;
        let closing = Closing::new(outbox, ending.with_close_frame, is_slow, context.now_ms);
        self.begin_closing(line.number, closing, context.now_ms);
        Ok(())
    }

    fn execute(
        &mut self,
        said: Said,
        commands: Vec<ShardCommand>,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        ledger.executes(&said);
        self.input(ledger, context, |core| core.execute(commands))
    }

    /// Another worker takes the place of the oldest one.
    fn replace(
        &mut self,
        is_crash: bool,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if is_crash {
            if let Some(worker) = self.workers.take_oldest() {
                self.end_worker(worker, Gone::Ended, ledger, context)?;
            }
            self.workers.join();
            return Ok(());
        }
        let oldest = self.workers.oldest().cloned();
        self.workers.join();
        if let Some(oldest) = oldest.filter(|oldest| self.directory.drain(oldest, 1)) {
            context.note(|| format!("{} drains", oldest.key()));
            self.input(ledger, context, |core| core.worker_drains(&oldest))?;
        }
        Ok(())
    }

    /// A worker is gone. What it has said is executed before.
    fn end_worker(
        &mut self,
        mut worker: Worker,
        how: Gone,
        ledger: &mut Ledger,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        while let Some((said, commands)) = worker.next_said() {
            self.execute(said, commands, ledger, context)?;
        }
        context.note(|| format!("{} is gone: {how:?}", worker.link.key()));
        self.directory.leave(&worker.link);
        self.input(ledger, context, |core| core.worker_gone(&worker.link, how))?;
        Ok(())
    }

    fn end_step(&mut self, ledger: &mut Ledger, context: &mut Context<'_>) -> Result<(), Violation> {
        while let Some(worker) = self.workers.take_drained() {
            self.end_worker(worker, Gone::Stopped, ledger, context)?;
        }
        while self.directory.take_changed() {
            self.input(ledger, context, Core::workers_changed)?;
        }
        self.wake_lines(context);
        let (has_events, has_said) = self.workers.busy();
        if has_events && !std::mem::replace(&mut self.is_handle_planned, true) {
            let delay_ms = context.rng.below(6);
            context.turn_after(delay_ms, Wake::Handle.encode());
        }
        if has_said && !std::mem::replace(&mut self.is_execute_planned, true) {
            let delay_ms = context.rng.below(6);
            context.turn_after(delay_ms, Wake::Execute.encode());
        }
        Ok(())
    }

    /// Checks the books of the core.
    pub(super) fn check(&self) -> Result<(), Violation> {
        self.core.check().map_err(|details| Violation::new("shards-add-up", details))
    }

    /// Checks that nothing is left of clients that are all gone.
    pub(super) fn check_empty(&self) -> Result<(), Violation> {
        self.core.check_empty().map_err(|details| Violation::new("nothing-is-left", details))?;
        ensure(self.lines.is_empty(), "nothing-is-left", || format!("{} connections", self.lines.len()))
    }
}
