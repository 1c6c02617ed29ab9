//! Runs the processes of a model on simulated time: one input to one process is a step.
//!
//! A [`Model`] says which processes there are and checks the invariants; [`Simulation`] takes the
//! events in their order, freezes, crashes and starts processes, and mends everything before the
//! end. It draws nothing itself, and never looks at a real clock: equal plans make equal runs.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::rc::Rc;

use crate::event_queue::Ticket;
use crate::network::{Arrival, Event, Network, NetworkOptions, ProcessId, Socket, SocketId};
use crate::rng::{Rng, mix};
use crate::script::{Fault, ScriptEvent, ScriptStep};
use crate::trace::Trace;
use crate::violation::Violation;

/// What is simulated.
pub trait Model {
    /// A process that runs: its cores and its sockets.
    type Node;
    /// What a script may tell a process to do.
    type Action: Clone + Debug;

    /// Starts a process, at the beginning of a run and after a crash.
    fn start(&mut self, context: &mut Context<'_>) -> Self::Node;

    /// Gives an input to a process.
    ///
    /// # Errors
    /// When the node sees an invariant broken.
    fn step(
        &mut self,
        node: &mut Self::Node,
        input: Input<Self::Action>,
        context: &mut Context<'_>,
    ) -> Result<(), Violation>;

    /// Returns when a process wants an input though nothing happens, in ms.
    fn next_deadline(&self, node: &Self::Node) -> Option<u64>;

    /// Returns what the trace calls a process.
    fn name(&self, process: ProcessId) -> String {
        format!("process {process}")
    }

    /// Hears that a process is gone, before it is dropped.
    fn crashed(&mut self, _process: ProcessId, _node: &Self::Node) {}

    /// Checks the invariants after a step of the process `stepped`. It is called for every step: it
    /// looks at what that step can have changed.
    ///
    /// # Errors
    /// When one is broken.
    fn check(&mut self, stepped: ProcessId, nodes: &[Option<Self::Node>]) -> Result<(), Violation>;

    /// Checks what holds at the end of the stage `stage` of a run's end, when all is quiet and
    /// `connections` are left, half-closed ones among them.
    ///
    /// # Errors
    /// When something of it does not.
    fn check_stage(
        &mut self,
        stage: usize,
        nodes: &[Option<Self::Node>],
        connections: usize,
    ) -> Result<(), Violation>;
}

/// A run, before it begins.
#[derive(Debug)]
pub struct Plan<M: Model> {
    /// The model, with nothing running.
    pub model: M,
    /// How many processes there are; all are started at time 0, in their order.
    pub processes: usize,
    /// How the network behaves.
    pub network: NetworkOptions,
    /// What happens, sorted by time.
    pub script: Vec<ScriptStep<M::Action>>,
    /// When the script ends and the first stage begins, in ms. It stays when the script is shrunk.
    pub script_ms: u64,
    /// The stages of the end, each with its time in ms. Before the first, all faults are mended; at
    /// the beginning of each, every process gets [`Input::Finish`]; at its end it is checked.
    pub stages: Vec<u64>,
    /// A run of more steps goes round in a circle: the invariant `run-ends`.
    pub max_steps: u64,
}

/// An input to a process.
#[derive(Debug)]
pub enum Input<A> {
    /// Somebody has connected to a port of it.
    Accepted {
        /// The connection.
        socket: Socket,
        /// What the peer gave to [`Context::connect`].
        port: u16,
    },
    /// A connection that it has begun was accepted. One that was not becomes readable, with a reset.
    Connected(SocketId),
    /// Something has arrived. It comes once for each arrival, whether the process has read all or not.
    Readable(SocketId),
    /// A socket that was full has room, or is broken.
    Writable(SocketId),
    /// The time of its next deadline has come.
    Deadline,
    /// A turn that it asked for, with the number that it gave.
    Turn(u32),
    /// A step of the script.
    Act(A),
    /// A stage of the end of the run begins, counted from 0: clients leave, then daemons stop.
    Finish(usize),
}

/// What a process can do in a step.
#[derive(Debug)]
pub struct Context<'a> {
    /// The simulated time.
    pub now_ms: u64,
    /// The process itself.
    pub process: ProcessId,
    /// Random numbers of this process, since its start.
    pub rng: &'a mut Rng,
    starts: u32,
    network: &'a Rc<RefCell<Network>>,
    trace: Option<&'a mut Trace>,
}

impl Context<'_> {
    /// Connects to a process. What is written before it accepts arrives when it has.
    pub fn connect(&mut self, to: ProcessId, port: u16) -> Socket {
        Network::connect(self.network, self.process, to, port)
    }

    /// Asks for an [`Input::Turn`] in `delay_ms`, after the inputs that are there already for that
    /// time. `number` says which part of the process has it: a shard, a flush.
    pub fn turn_after(&mut self, delay_ms: u64, number: u32) {
        let event = Event::Turn(self.process, self.starts, number);
        self.network.borrow_mut().at(self.now_ms + delay_ms, event);
    }

    /// Asks for an [`Input::Readable`] at this time, after the inputs that are there already.
    pub fn read_again(&mut self, socket: SocketId) {
        self.network.borrow_mut().at(self.now_ms, Event::ReadAgain(self.process, self.starts, socket));
    }

    /// Adds a line to the trace; `line` is called only when there is one.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.note(line());
        }
    }
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Inputs that processes were given.
    pub steps: u64,
    /// The simulated time of the last one.
    pub at_ms: u64,
    /// A digest of all inputs and bytes: equal in equal runs.
    pub hash: u64,
    /// The invariant that was broken, which ended the run.
    pub violation: Option<Violation>,
}

/// A process, whether it runs or not.
#[derive(Debug)]
struct Process<A> {
    rng: Rng,
    starts: u32,
    deadline: Option<(u64, Ticket)>,
    frozen: bool,
    /// Inputs that have come while it is frozen.
    waiting: VecDeque<Input<A>>,
}

/// A run.
#[derive(Debug)]
pub struct Simulation<M: Model> {
    model: M,
    script: Vec<ScriptStep<M::Action>>,
    script_ms: u64,
    stages: Vec<u64>,
    seed: u64,
    max_steps: u64,
    network: Rc<RefCell<Network>>,
    // Dropped before the nodes: inputs hold sockets, as nodes do, and the network outlives both.
    processes: Vec<Process<M::Action>>,
    nodes: Vec<Option<M::Node>>,
    steps: u64,
    hash: u64,
    trace: Option<Trace>,
}

impl<M: Model> Simulation<M> {
    /// Prepares a run. With a trace it is slower, and otherwise the same.
    pub fn new(seed: u64, plan: Plan<M>, trace: Option<Trace>) -> Self {
        let process = |_| Process {
            rng: Rng::new(seed),
            starts: 0,
            deadline: None,
            frozen: false,
            waiting: VecDeque::new(),
        };
        Self {
            model: plan.model,
            script: plan.script,
            script_ms: plan.script_ms,
            stages: plan.stages,
            seed,
            max_steps: plan.max_steps,
            network: Network::new(seed, plan.processes, plan.network),
            processes: (0..plan.processes).map(process).collect(),
            nodes: (0..plan.processes).map(|_| None).collect(),
            steps: 0,
            hash: seed,
            trace,
        }
    }

    /// Runs to the end, or to the first violation.
    pub fn run(&mut self) -> Outcome {
        let violation = self.try_run().err();
        self.outcome(violation)
    }

    /// Returns how the run stands, with `violation` as what ended it.
    pub(crate) fn outcome(&self, violation: Option<Violation>) -> Outcome {
        // After a panic within the network it stays borrowed.
        let network = self.network.try_borrow();
        let (at_ms, bytes) = network.map(|network| (network.now_ms, network.hash)).unwrap_or_default();
        Outcome { steps: self.steps, at_ms, hash: mix(self.hash ^ bytes), violation }
    }

    pub(crate) fn into_trace(self) -> Option<Trace> {
        self.trace
    }

    fn try_run(&mut self) -> Result<(), Violation> {
        for process in 0..self.processes.len() {
            self.start(process);
        }
        for (index, step) in self.script.iter().enumerate() {
            self.network.borrow_mut().at(step.at_ms, Event::Script(index));
        }
        self.network.borrow_mut().at(self.script_ms, Event::Stage(0));
        loop {
            let event = {
                let mut network = self.network.borrow_mut();
                let Some((at_ms, event)) = network.events.pop() else { return Ok(()) };
                network.now_ms = at_ms;
                event
            };
            if let Event::Stage(stage) = event {
                if let Some(over) = stage.checked_sub(1) {
                    let connections = self.network.borrow().connections();
                    self.model.check_stage(over, &self.nodes, connections)?;
                }
                if stage == self.stages.len() {
                    return Ok(());
                }
                self.begin_stage(stage)?;
            } else {
                self.happen(event)?;
            }
            if self.steps > self.max_steps {
                let details = format!("{} steps are made, and there are more", self.steps);
                return Err(Violation::new("run-ends", details));
            }
        }
    }

    fn begin_stage(&mut self, stage: usize) -> Result<(), Violation> {
        let processes = self.processes.len();
        if stage == 0 {
            for process in 0..processes {
                (0..processes).for_each(|to| self.network.borrow_mut().heal(process, to));
                if self.nodes[process].is_none() {
                    self.fault(Fault::Start(process))?;
                }
                if self.processes[process].frozen {
                    self.fault(Fault::Thaw(process))?;
                }
            }
        }
        for process in 0..processes {
            self.input(process, Input::Finish(stage))?;
        }
        let mut network = self.network.borrow_mut();
        let end_ms = network.now_ms + self.stages[stage];
        network.at(end_ms, Event::Stage(stage + 1));
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Deliver(id) => {
                let arrival = self.network.borrow_mut().deliver(id);
                match arrival {
                    None => Ok(()),
                    Some(Arrival::Opening { to, socket, .. }) if self.nodes[to].is_none() => {
                        self.network.borrow_mut().refuse(socket);
                        Ok(())
                    }
                    Some(Arrival::Opening { to, socket, port }) => {
                        let socket = Network::accept(&self.network, socket);
                        self.input(to, Input::Accepted { socket, port })
                    }
                    Some(Arrival::Connected(process, id)) => self.input(process, Input::Connected(id)),
                    Some(Arrival::Readable(process, id)) => self.input(process, Input::Readable(id)),
                }
            }
            Event::Room(id) => {
                let process = self.network.borrow_mut().room(id);
                process.map_or(Ok(()), |process| self.input(process, Input::Writable(id)))
            }
            Event::ReadAgain(process, starts, id) if self.processes[process].starts == starts => {
                self.input(process, Input::Readable(id))
            }
            Event::Turn(process, starts, number) if self.processes[process].starts == starts => {
                self.input(process, Input::Turn(number))
            }
            Event::Deadline(process) => {
                self.processes[process].deadline = None;
                self.input(process, Input::Deadline)
            }
            Event::Script(index) => match self.script[index].event.clone() {
                ScriptEvent::Act(process, action) => self.input(process, Input::Act(action)),
                ScriptEvent::Fault(fault) => self.fault(fault),
            },
            Event::ReadAgain(..) | Event::Turn(..) | Event::Stage(_) => Ok(()),
        }
    }

    fn fault(&mut self, fault: Fault) -> Result<(), Violation> {
        if let Some(trace) = &mut self.trace {
            trace.note(format!("{fault:?}"));
        }
        match fault {
            Fault::Cut(from, to) => self.network.borrow_mut().cut(from, to),
            Fault::Heal(from, to) => self.network.borrow_mut().heal(from, to),
            Fault::Reset(a, b) => self.network.borrow_mut().reset_between(a, b),
            Fault::Freeze(process) => self.processes[process].frozen = self.nodes[process].is_some(),
            Fault::Thaw(process) => {
                self.processes[process].frozen = false;
                while let Some(input) = self.processes[process].waiting.pop_front() {
                    self.input(process, input)?;
                }
            }
            Fault::Kill(process) => self.stop(process),
            Fault::Crash(process) => {
                self.network.borrow_mut().crash(process);
                self.stop(process);
            }
            Fault::Start(process) if self.nodes[process].is_none() => self.start(process),
            Fault::Start(_) => {}
        }
        Ok(())
    }

    fn start(&mut self, process: ProcessId) {
        let place = &mut self.processes[process];
        place.starts += 1;
        place.rng = Rng::derive(self.seed, &[process as u64, place.starts.into()]);
        let now_ms = self.network.borrow().now_ms;
        let (network, trace) = (&self.network, self.trace.as_mut());
        let mut context =
            Context { now_ms, process, rng: &mut place.rng, starts: place.starts, network, trace };
        let node = self.model.start(&mut context);
        self.nodes[process] = Some(node);
        self.plan_deadline(process, now_ms);
    }

    fn stop(&mut self, process: ProcessId) {
        let place = &mut self.processes[process];
        place.frozen = false;
        place.starts += 1;
        if let Some((_, ticket)) = place.deadline.take() {
            self.network.borrow_mut().events.cancel(ticket);
        }
        place.waiting.clear();
        if let Some(node) = self.nodes[process].take() {
            self.model.crashed(process, &node);
        }
    }

    fn input(&mut self, process: ProcessId, input: Input<M::Action>) -> Result<(), Violation> {
        let place = &mut self.processes[process];
        if place.frozen {
            place.waiting.push_back(input);
            return Ok(());
        }
        let Some(node) = &mut self.nodes[process] else { return Ok(()) };
        let now_ms = self.network.borrow().now_ms;
        self.steps += 1;
        self.hash = mix(self.hash ^ mix(now_ms) ^ input.digest().wrapping_add(process as u64));
        if let Some(trace) = &mut self.trace {
            trace.step(self.steps, now_ms, &self.model.name(process), format!("{input:?}"));
        }
        let (network, trace) = (&self.network, self.trace.as_mut());
        let mut context =
            Context { now_ms, process, rng: &mut place.rng, starts: place.starts, network, trace };
        self.model.step(node, input, &mut context)?;
        self.plan_deadline(process, now_ms);
        self.model.check(process, &self.nodes)
    }

    /// Moves the process's event to its next deadline.
    fn plan_deadline(&mut self, process: ProcessId, now_ms: u64) {
        let next = self.nodes[process].as_ref().and_then(|node| self.model.next_deadline(node));
        let place = &mut self.processes[process];
        if place.deadline.map(|(at_ms, _)| at_ms) == next {
            return;
        }
        let mut network = self.network.borrow_mut();
        if let Some((_, ticket)) = place.deadline.take() {
            network.events.cancel(ticket);
        }
        // One that has passed comes in the next ms, so that the time moves on.
        place.deadline =
            next.map(|at_ms| (at_ms, network.at(at_ms.max(now_ms + 1), Event::Deadline(process))));
    }
}

impl<A: Debug> Input<A> {
    fn digest(&self) -> u64 {
        let socket = |kind: u64, id: SocketId| kind ^ mix(id.number());
        match self {
            Self::Accepted { socket: accepted, port } => socket((1 << 32) | u64::from(*port), accepted.id()),
            Self::Connected(id) => socket(2 << 32, *id),
            Self::Readable(id) => socket(3 << 32, *id),
            Self::Writable(id) => socket(4 << 32, *id),
            Self::Deadline => 5 << 32,
            Self::Turn(number) => (6 << 32) | u64::from(*number),
            Self::Act(_) => 7 << 32,
            Self::Finish(stage) => (8 << 32) | *stage as u64,
        }
    }
}
