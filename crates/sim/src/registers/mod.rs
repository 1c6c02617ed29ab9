//! Scenarios of registers: gateways announce themselves, workers follow the lists, and everything goes wrong.
//!
//! The cores are the register's `Roster` and, in gateways and workers, `RegisterConnection` and `AddressLists`. When
//! all is mended, each register lists all gateways that are left, and each worker knows these. Where nothing but
//! registers fails (`Faults`), more holds at any time: a worker does not forget a gateway that lives, a register
//! closes nobody who lives, and a gateway that lost power is off the lists within a minute.

mod daemon;
mod lines;
mod register;

use std::collections::{BTreeMap, BTreeSet};

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
    faults: Faults,
    /// Gateways that have gone for good, and stay so when they are started again.
    retired: BTreeSet<ProcessId>,
    /// When gateways have lost their power; they are retired, too.
    lost_power_ms: BTreeMap<ProcessId, u64>,
    now_ms: u64,
    /// The gateways that each worker has known.
    known_once: BTreeMap<ProcessId, BTreeSet<String>>,
    /// Since when a worker does not know a gateway that lives and that it has known.
    forgotten_ms: BTreeMap<(ProcessId, String), u64>,
}

/// What goes wrong in a run, besides gateways that go for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faults {
    /// Registers end and start again.
    RegistersRestart,
    /// Registers freeze, too.
    RegistersFreeze,
    /// Everything: also gateways, workers and the network between all of them.
    Everywhere,
}

/// How a gateway goes for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayEnd {
    /// It closes its connections.
    Retires,
    /// Its host loses power: nobody is told.
    LosesPower,
}

/// What runs in a process.
#[derive(Debug)]
#[doc(hidden)]
pub enum RegistersNode {
    Register(Box<Register>),
    Daemon(Daemon),
}

/// How long the faults go on, in ms: longer than the register's timeouts.
const SCRIPT_MS: u64 = 200_000;

/// How long it may take until all is well again, in ms: a connection of which one end knows nothing
/// is found by the silence that the register waits for, 60 s, and is made again within 10 s.
const RECOVERY_MS: u64 = 90_000;

/// Within which time a gateway that lost power is off the list of a register that did not freeze.
const UNLISTED_MS: u64 = 60_000;

/// For how long a worker may not know a gateway that lives, where registers freeze: a gateway that left a frozen
/// register is back within a second, and within a second of the network's delays and its own wait.
const FORGOTTEN_MS: u64 = 2_000;

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
        let faults =
            [Faults::RegistersRestart, Faults::RegistersFreeze, Faults::Everywhere][rng.below(3) as usize];
        let (freeze, crash, disturb) = match faults {
            Faults::RegistersRestart => (0..0, 0..registers, Vec::new()),
            Faults::RegistersFreeze => (0..registers, 0..registers, Vec::new()),
            Faults::Everywhere => (0..processes, 0..processes, pairs.collect()),
        };
        let options = FaultOptions {
            count: rng.below(30),
            begin_ms: 0..=SCRIPT_MS - 1,
            lasting_ms: if rng.chance(50) { 1..=90_000 } else { 1..=2_000 },
            freeze: freeze.collect(),
            crash: crash.collect(),
            disturb,
            ports: Vec::new(),
        };
        let mut script = random_faults(rng, &options);
        if gateways > 1 && rng.chance(50) {
            let at_ms = rng.below(SCRIPT_MS);
            let end = if rng.chance(50) { GatewayEnd::Retires } else { GatewayEnd::LosesPower };
            script.push(ScriptStep { at_ms, event: ScriptEvent::Act(registers, end) });
        }
        script.retain(|step| step.at_ms < SCRIPT_MS);
        sort(&mut script);
        Plan {
            model: RegistersModel {
                registers,
                gateways,
                faults,
                retired: BTreeSet::new(),
                lost_power_ms: BTreeMap::new(),
                now_ms: 0,
                known_once: BTreeMap::new(),
                forgotten_ms: BTreeMap::new(),
            },
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
    /// Checks that a worker does not forget a gateway that lives: not at all if registers only end and start again,
    /// and not for long if they freeze.
    fn check_living_are_known(&mut self, nodes: &[Option<RegistersNode>]) -> Result<(), Violation> {
        let living = self.addresses(false);
        let limit_ms = if self.faults == Faults::RegistersFreeze { FORGOTTEN_MS } else { 0 };
        for (worker, node) in nodes.iter().enumerate().skip(self.registers + self.gateways) {
            let Some(RegistersNode::Daemon(daemon)) = node else { continue };
            let known_once = self.known_once.entry(worker).or_default();
            known_once.retain(|address| living.contains(address));
            known_once.extend(daemon.known().iter().filter(|address| living.contains(*address)).cloned());
            for address in known_once.iter() {
                let forgotten = (worker, address.clone());
                if daemon.known().contains(address) {
                    self.forgotten_ms.remove(&forgotten);
                    continue;
                }
                let since_ms = *self.forgotten_ms.entry(forgotten).or_insert(self.now_ms);
                ensure(self.now_ms - since_ms < limit_ms, "the-living-stay-known", || {
                    format!("worker {worker} has not known {address} since {since_ms} ms")
                })?;
            }
        }
        Ok(())
    }

    /// Checks that a register closes nobody for silence but gateways that lost power, and lists none that did so
    /// over a minute ago.
    fn check_register(&self, name: &str, register: &Register) -> Result<(), Violation> {
        let closed = register.closed_as_silent();
        ensure(!self.lost_power_ms.is_empty() || closed == 0, "the-living-are-not-closed", || {
            format!("{name} has closed {closed} peers that live")
        })?;
        if self.faults == Faults::RegistersFreeze {
            return Ok(());
        }
        let is_lost = |since_ms: &&u64| self.now_ms.saturating_sub(**since_ms) > UNLISTED_MS;
        let lost = self.lost_power_ms.values().filter(is_lost).count();
        let listed = register.gateways();
        ensure(listed + lost <= self.gateways, "lists-forget-the-lost", || {
            format!("{name} lists {listed} gateways though {lost} of {} lost power", self.gateways)
        })
    }

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
    type Action = GatewayEnd;

    fn start(&mut self, context: &mut Context<'_>) -> RegistersNode {
        let process = context.process;
        if process < self.registers {
            return RegistersNode::Register(Box::new(Register::new(context.now_ms)));
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
        input: Input<GatewayEnd>,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        self.now_ms = context.now_ms;
        if let Input::Act(end) = input {
            self.retired.insert(context.process);
            match (end, node) {
                (GatewayEnd::LosesPower, RegistersNode::Daemon(daemon)) => {
                    self.lost_power_ms.insert(context.process, context.now_ms);
                    daemon.lose_power();
                }
                (_, node) => *node = self.start(context),
            }
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

    /// Whatever is listed is the address of a gateway, and once. Where only registers fail, no living gateway is
    /// forgotten or closed.
    fn check(&mut self, stepped: ProcessId, nodes: &[Option<RegistersNode>]) -> Result<(), Violation> {
        if self.faults != Faults::Everywhere {
            self.check_living_are_known(nodes)?;
        }
        match &nodes[stepped] {
            Some(RegistersNode::Register(register)) if self.faults != Faults::Everywhere => {
                self.check_register(&self.name(stepped), register)
            }
            Some(RegistersNode::Daemon(daemon)) => {
                let known = daemon.known();
                let is_sorted = known.is_sorted_by(|a, b| a < b);
                let all = self.addresses(true);
                let are_gateways = known.iter().all(|address| all.contains(address));
                ensure(is_sorted && are_gateways, "lists-are-of-gateways", || format!("{known:?}"))
            }
            _ => Ok(()),
        }
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
