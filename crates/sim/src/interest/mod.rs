//! The scenario of interest: workers join, leave and send, and no send leaves a gateway out that has a member.
//!
//! The cores are the gateway's `Interest` and the client library's `InterestView`, over slow links, with processes
//! that freeze and end and links that are cut and reset, also at the gateway's end alone, and with workers that read
//! late what gateways announce. Clocks run apart by up to 3 %.
//!
//! At the moment at which a worker decides where a send goes, every gateway process that its call link reaches and
//! that has a member is among them; and so is every gateway where the worker has joined a client itself. So the mesh,
//! in which a send goes everywhere, would reach nobody more: whoever joins later, joins later.

mod gateway;
mod link;
mod worker;

use std::collections::BTreeSet;

use bytes::Bytes;
use gateway::Gateway;
use worker::Worker;

use crate::model::{Context, Input, Model, Plan};
use crate::network::{NetworkOptions, ProcessId};
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::script::{Fault, FaultOptions, ScriptEvent, ScriptStep, random_faults, sort};
use crate::violation::{Violation, ensure};

/// The scenario: up to five gateways and as many workers.
#[derive(Debug, Clone, Copy)]
pub struct Interest;

/// The length of a lease, in ms.
const LEASE_MS: u32 = 240;

/// How long a gateway gathers names, in ms.
const GATHER_MS: u64 = 2;

/// How long the script goes on, in ms.
const SCRIPT_MS: u64 = 5_000;

/// How long it may take until all is well again, in ms: connecting again, and the end of the time in which a slow worker
/// gets no lease.
const RECOVERY_MS: u64 = 3_000;

/// Groups that are joined and left.
const GROUPS: u64 = 6;

/// Which processes are what: gateways first, then workers.
#[derive(Debug, Clone)]
pub struct InterestModel {
    gateways: usize,
    now_ms: u64,
    /// Processes that were frozen once.
    frozen: BTreeSet<ProcessId>,
}

/// What a script tells a process to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// A worker puts a client into a group.
    Join {
        /// The client's gateway.
        gateway: ProcessId,
        /// The client: one of the worker's own.
        client: u32,
        /// The group.
        group: Bytes,
    },
    /// A worker takes a client out of a group.
    Leave {
        /// The client's gateway.
        gateway: ProcessId,
        /// The client.
        client: u32,
        /// The group.
        group: Bytes,
    },
    /// A worker sends to a group.
    Send {
        /// The group.
        group: Bytes,
    },
    /// A gateway makes its filter anew.
    Remake,
    /// A gateway finds an interest link broken, and its worker learns of it only after a while.
    Break {
        /// Which link, of those that there are.
        nth: usize,
        /// How long the worker does not know, in ms.
        unknown_ms: u64,
    },
    /// A worker does not read its interest links for a while.
    ReadLate {
        /// How long, in ms.
        for_ms: u64,
    },
}

/// What runs in a process.
#[derive(Debug)]
#[doc(hidden)]
pub enum InterestNode {
    Gateway(Box<Gateway>),
    Worker(Worker),
}

fn group(rng: &mut Rng) -> Bytes {
    Bytes::from(format!("room {}", rng.below(GROUPS)))
}

impl Scenario for Interest {
    type Model = InterestModel;

    fn name(&self) -> &'static str {
        "interest"
    }

    fn plan(&self, rng: &mut Rng) -> Plan<InterestModel> {
        let gateways = rng.within(&(1..=5)) as usize;
        let workers = rng.within(&(1..=5)) as usize;
        let processes = gateways + workers;
        let pairs =
            (0..gateways).flat_map(|gateway| (gateways..processes).map(move |worker| (gateway, worker)));
        let calm = rng.chance(25);
        let options = FaultOptions {
            count: if calm { 0 } else { rng.below(25) },
            begin_ms: 0..=SCRIPT_MS - 1,
            lasting_ms: if rng.chance(50) { 1..=150 } else { 1..=1_200 },
            freeze: (0..processes).collect(),
            crash: (0..processes).collect(),
            disturb: pairs.collect(),
            ports: vec![link::CALL, link::INTEREST],
        };
        let mut script = random_faults(rng, &options);
        for _ in 0..rng.below(600) {
            let worker = gateways + rng.below(workers as u64) as usize;
            let gateway = rng.below(gateways as u64) as usize;
            let client = worker as u32 * 10 + rng.below(3) as u32;
            let group = group(rng);
            let (process, action) = match rng.below(40) {
                0..=11 => (worker, Action::Join { gateway, client, group }),
                12..=23 => (worker, Action::Leave { gateway, client, group }),
                24..=35 => (worker, Action::Send { group }),
                36..=38 => (gateway, Action::Remake),
                _ if calm => (gateway, Action::Remake),
                _ if rng.chance(50) => {
                    let (nth, unknown_ms) = (rng.below(5) as usize, 1 + rng.below(300));
                    (gateway, Action::Break { nth, unknown_ms })
                }
                _ => (worker, Action::ReadLate { for_ms: 1 + rng.below(400) }),
            };
            script.push(ScriptStep { at_ms: rng.below(SCRIPT_MS), event: ScriptEvent::Act(process, action) });
        }
        script.retain(|step| step.at_ms < SCRIPT_MS);
        sort(&mut script);
        Plan {
            model: InterestModel { gateways, now_ms: 0, frozen: BTreeSet::new() },
            processes,
            network: NetworkOptions { capacity: 512..=16_384, ..NetworkOptions::default() },
            script,
            script_ms: SCRIPT_MS,
            stages: vec![RECOVERY_MS],
            max_steps: 500_000,
        }
    }
}

impl InterestModel {
    /// Checks that a send of a worker leaves out nobody who has a member.
    fn check_sends(&self, worker: &Worker, nodes: &[Option<InterestNode>]) -> Result<(), Violation> {
        for send in &worker.sends {
            for (process, node) in nodes.iter().enumerate().take(self.gateways) {
                if send.to.contains(&process) {
                    continue;
                }
                ensure(!worker.has_joined(process, &send.group), "a-send-follows-the-own-join", || {
                    format!("a send to {:?} leaves {} out", send.group, self.name(process))
                })?;
                let Some(InterestNode::Gateway(gateway)) = node else { continue };
                // A link to a process that has ended loses the send in the mesh, too.
                let is_reached = worker.call_link(process).is_some_and(|call| gateway.has_call_link(call));
                ensure(!is_reached || !gateway.has_members(&send.group), "a-send-finds-all-members", || {
                    format!("a send to {:?} leaves {} out", send.group, self.name(process))
                })?;
            }
        }
        Ok(())
    }
}

impl Model for InterestModel {
    type Node = InterestNode;
    type Action = Action;

    fn start(&mut self, context: &mut Context<'_>) -> InterestNode {
        if context.process < self.gateways {
            InterestNode::Gateway(Box::new(Gateway::new(context.now_ms)))
        } else {
            InterestNode::Worker(Worker::new(self.gateways, context))
        }
    }

    fn step(
        &mut self,
        node: &mut InterestNode,
        input: Input<Action>,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        self.now_ms = context.now_ms;
        match node {
            InterestNode::Gateway(gateway) => gateway.step(input, context),
            InterestNode::Worker(worker) => worker.step(input, context),
        }
    }

    fn next_deadline(&self, node: &InterestNode) -> Option<u64> {
        match node {
            InterestNode::Gateway(gateway) => gateway.next_deadline(),
            InterestNode::Worker(worker) => worker.next_deadline(),
        }
    }

    fn name(&self, process: ProcessId) -> String {
        let kind = if process < self.gateways { "gateway" } else { "worker" };
        format!("{kind} {process}")
    }

    fn disturbed(&mut self, fault: Fault, _: u64) {
        if let Fault::Freeze(process) = fault {
            self.frozen.insert(process);
        }
    }

    fn check(&mut self, stepped: ProcessId, nodes: &[Option<InterestNode>]) -> Result<(), Violation> {
        match &nodes[stepped] {
            Some(InterestNode::Worker(worker)) => self.check_sends(worker, nodes),
            Some(InterestNode::Gateway(gateway)) if !self.frozen.contains(&stepped) => {
                let longest_ms = gateway.longest_hold_ms;
                let limit_ms = u64::from(LEASE_MS) + GATHER_MS + 2;
                ensure(longest_ms <= limit_ms, "joins-wait-for-a-lease-at-most", || {
                    format!("{} has held a join for {longest_ms} ms", self.name(stepped))
                })
            }
            _ => Ok(()),
        }
    }

    /// Everybody trusts every view again, and what nobody has joined goes nowhere.
    fn check_stage(
        &mut self,
        _: usize,
        nodes: &[Option<InterestNode>],
        connections: usize,
    ) -> Result<(), Violation> {
        let (mut sends, workers) = (0, nodes.len() - self.gateways);
        for (process, node) in nodes.iter().enumerate() {
            let name = self.name(process);
            match node {
                Some(InterestNode::Gateway(gateway)) => gateway.check_quiet(&name)?,
                Some(InterestNode::Worker(worker)) => {
                    let untrusted = worker.untrusted(self.now_ms);
                    let details = || format!("{name} does not trust what {untrusted:?} say");
                    ensure(untrusted.is_empty(), "views-are-trusted-again", details)?;
                    sends += worker.probed;
                }
                None => {}
            }
        }
        ensure(sends == 0, "a-send-to-nobody-goes-nowhere", || format!("{sends} frames for nobody"))?;
        let expected = 2 * self.gateways * workers;
        ensure(connections == expected, "two-connections-each", || {
            format!("{connections} instead of {expected}")
        })
    }
}
