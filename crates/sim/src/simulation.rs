//! Runs the processes of a model on simulated time: one input to one process is a step.
//!
//! A [`Model`] says which processes there are and checks the invariants; [`Simulation`] takes the
//! events in their order, freezes, crashes and starts processes, and mends everything before the
//! end. It draws nothing itself, and never looks at a real clock: equal plans make equal runs.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::event_queue::Ticket;
use crate::model::{Context, Input, Model, Outcome, Plan};
use crate::network::{Arrival, Event, Network, ProcessId};
use crate::rng::{Rng, mix};
use crate::script::{Fault, ScriptEvent, ScriptStep};
use crate::trace::Trace;
use crate::violation::Violation;

/// What the simulation knows of a process, whether it runs or not.
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
            self.network.borrow_mut().heal_all();
            for process in 0..processes {
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
            Event::Abort(process, starts, restart_ms) if self.processes[process].starts == starts => {
                let mut network = self.network.borrow_mut();
                let now_ms = network.now_ms;
                network.at(now_ms + restart_ms, Event::Restart(process));
                drop(network);
                self.fault(Fault::Kill(process))
            }
            Event::Restart(process) => self.fault(Fault::Start(process)),
            Event::Script(index) => match self.script[index].event.clone() {
                ScriptEvent::Act(process, action) => self.input(process, Input::Act(action)),
                ScriptEvent::Fault(fault) => self.fault(fault),
            },
            Event::ReadAgain(..) | Event::Turn(..) | Event::Abort(..) | Event::Stage(_) => Ok(()),
        }
    }

    fn fault(&mut self, fault: Fault) -> Result<(), Violation> {
        if let Some(trace) = &mut self.trace {
            trace.note(format!("{fault:?}"));
        }
        let now_ms = self.network.borrow().now_ms;
        self.model.disturbed(fault, now_ms);
        match fault {
            Fault::Cut(path) => self.network.borrow_mut().cut(path),
            Fault::Heal(path) => self.network.borrow_mut().heal(path),
            Fault::Reset(path) => self.network.borrow_mut().reset_on(path),
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
            let now_ms = self.network.borrow().now_ms;
            self.model.crashed(process, &node, now_ms);
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
