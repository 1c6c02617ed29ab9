//! What a model is: the processes to simulate, their inputs, and the invariants.
//!
//! `simulation.rs` calls a [`Model`]; a model's nodes call their cores, and write to their sockets.

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;

use crate::network::{Event, Network, NetworkOptions, ProcessId, Socket, SocketId};
use crate::rng::{Rng, mix};
use crate::script::{Fault, ScriptStep};
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
    fn crashed(&mut self, _process: ProcessId, _node: &Self::Node, _now_ms: u64) {}

    /// Hears that a fault begins or ends, before it does.
    fn disturbed(&mut self, _fault: Fault, _now_ms: u64) {}

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
    pub(crate) starts: u32,
    pub(crate) network: &'a Rc<RefCell<Network>>,
    pub(crate) trace: Option<&'a mut Trace>,
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

    /// Ends this process behind this step, as one that is killed, and starts it again in `restart_ms`.
    pub fn abort(&mut self, restart_ms: u64) {
        let event = Event::Abort(self.process, self.starts, restart_ms);
        self.network.borrow_mut().now(event);
    }

    /// Says how often this process was started before.
    pub fn starts(&self) -> u32 {
        self.starts
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

impl<A: Debug> Input<A> {
    /// Returns a number for the digest of the run.
    pub(crate) fn digest(&self) -> u64 {
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
