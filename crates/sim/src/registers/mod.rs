//! Scenarios of registers: gateways announce themselves, workers follow the lists, and everything goes wrong.
//!
//! The cores are the register's `Roster` and, in gateways and workers, `RegisterConnection` and `AddressLists`. When
//! all is mended, each register lists all gateways that are left, and each worker knows these.

mod daemon;
mod lines;
mod register;

use std::collections::BTreeSet;

use daemon::Daemon;
use register::Register;

use crate::model::{Context, Input, Model, Plan};
use crate::network::{NetworkOptions, ProcessId};
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::script::{FaultOptions, ScriptEvent, ScriptStep, random_faults, sort};
use crate::violation::{Violation, ensure};

/// The scenario: one to three registers, up to five gateways and as many workers.
#[derive(Debug, Clone, Copy)]
pub struct Registers;

/// Which processes are what: registers first, then gateways, then workers.
#[derive(Debug, Clone)]
pub struct RegistersModel {
    registers: usize,
    gateways: usize,
    /// Gateways that have gone for good, and stay so when they are started again.
    retired: BTreeSet<ProcessId>,
}

/// A gateway goes for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retire;

/// What runs in a process.
#[derive(Debug)]
#[doc(hidden)]
pub enum RegistersNode {
    Register(Register),
    Daemon(Daemon),
}

/// How long the faults go on, in ms: longer than the register's timeouts.
const SCRIPT_MS: u64 = 200_000;

/// How long it may take until all is well again, in ms: a connection of which one end knows nothing
/// is found by the silence that the register waits for, 60 s, and is made again within 10 s.
const RECOVERY_MS: u64 = 90_000;

impl Scenario for Registers {
    type Model = RegistersModel;

    fn name(&self) -> &'static str {
        "registers"
    }

    fn plan(&self, rng: &mut Rng) -> Plan<RegistersModel> {
        let registers = rng.within(&(1..=3)) as usize;
        let gateways = rng.within(&(1..=5)) as usize;
        let processes = registers + gateways + rng.within(&(1..=5)) as usize;
        let pairs =
            (0..registers).flat_map(|register| (registers..processes).map(move |daemon| (register, daemon)));
        let faults = FaultOptions {
            count: rng.below(30),
            begin_ms: 0..=SCRIPT_MS - 1,
            lasting_ms: if rng.chance(50) { 1..=90_000 } else { 1..=2_000 },
            freeze: (0..processes).collect(),
            crash: (0..processes).collect(),
            disturb: pairs.collect(),
            ports: Vec::new(),
        };
        let mut script = random_faults(rng, &faults);
        if gateways > 1 && rng.chance(50) {
            let at_ms = rng.below(SCRIPT_MS);
            script.push(ScriptStep { at_ms, event: ScriptEvent::Act(registers, Retire) });
        }
        script.retain(|step| step.at_ms < SCRIPT_MS);
        sort(&mut script);
        Plan {
            model: RegistersModel { registers, gateways, retired: BTreeSet::new() },
            processes,
            network: NetworkOptions { delay_ms: 0..=20, ..NetworkOptions::default() },
            script,
            script_ms: SCRIPT_MS,
            stages: vec![RECOVERY_MS],
            max_steps: 500_000,
        }
    }
}

impl RegistersModel {
    /// Returns the addresses of gateways: all that there ever were, or those that stay.
    fn addresses(&self, with_retired: bool) -> BTreeSet<String> {
        let gateways = self.registers..self.registers + self.gateways;
        gateways.filter(|gateway| with_retired || !self.retired.contains(gateway)).map(address).collect()
    }
}

/// The address of a process: not of its own host, so that daemons ping their registers.
fn address(process: ProcessId) -> String {
    format!("10.0.0.{process}:1236")
}

impl Model for RegistersModel {
    type Node = RegistersNode;
    type Action = Retire;

    fn start(&mut self, context: &mut Context<'_>) -> RegistersNode {
        let process = context.process;
        if process < self.registers {
            return RegistersNode::Register(Register::new());
        }
        if self.retired.contains(&process) {
            return RegistersNode::Daemon(Daemon::new([].into_iter(), None));
        }
        let announced = (process < self.registers + self.gateways).then(|| address(process));
        RegistersNode::Daemon(Daemon::new((0..self.registers).map(address), announced))
    }

    fn step(
        &mut self,
        node: &mut RegistersNode,
        input: Input<Retire>,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if let Input::Act(Retire) = input {
            self.retired.insert(context.process);
            *node = self.start(context);
            return Ok(());
        }
        match node {
            RegistersNode::Register(register) => register.step(input, context),
            RegistersNode::Daemon(daemon) => daemon.step(input, context),
        }
    }

    fn next_deadline(&self, node: &RegistersNode) -> Option<u64> {
        match node {
            RegistersNode::Register(register) => register.next_deadline(),
            RegistersNode::Daemon(daemon) => daemon.next_deadline(),
        }
    }

    fn name(&self, process: ProcessId) -> String {
        match process {
            process if process < self.registers => format!("register {process}"),
            process if process < self.registers + self.gateways => format!("gateway {process}"),
            process => format!("worker {process}"),
        }
    }

    /// Whatever is listed is the address of a gateway, and once.
    fn check(&mut self, stepped: ProcessId, nodes: &[Option<RegistersNode>]) -> Result<(), Violation> {
        let Some(RegistersNode::Daemon(daemon)) = &nodes[stepped] else { return Ok(()) };
        let known = daemon.known();
        let is_sorted = known.is_sorted_by(|a, b| a < b);
        let all = self.addresses(true);
        let are_gateways = known.iter().all(|address| all.contains(address));
        ensure(is_sorted && are_gateways, "lists-are-of-gateways", || format!("{known:?}"))
    }

    fn check_stage(
        &mut self,
        _stage: usize,
        nodes: &[Option<RegistersNode>],
        connections: usize,
    ) -> Result<(), Violation> {
        let all = self.addresses(false);
        for (process, node) in nodes.iter().enumerate() {
            let name = self.name(process);
            match node {
                Some(RegistersNode::Register(register)) => {
                    let listed = register.gateways();
                    let details = || format!("{name} lists {listed} of {} gateways", all.len());
                    ensure(listed == all.len(), "registers-list-all-gateways", details)?;
                }
                Some(RegistersNode::Daemon(daemon)) if process >= self.registers + self.gateways => {
                    let known = daemon.known();
                    let details = || format!("{name} knows {known:?} of {all:?}");
                    ensure(known.iter().eq(&all), "workers-know-all-gateways", details)?;
                }
                _ => {}
            }
        }
        let daemons = nodes.len() - self.registers - self.retired.len();
        let expected = daemons * self.registers;
        ensure(connections == expected, "one-connection-each", || {
            format!("{connections} instead of {expected}")
        })
    }
}
