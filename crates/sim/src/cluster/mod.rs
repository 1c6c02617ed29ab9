//! Scenarios of a whole cluster: gateways, workers and clients with their real cores, and everything goes wrong.
//!
//! Gateways are the first processes, then come workers, then clients; workers know all gateways from the start.
//! Handshakes are a line, and stand for those of HTTP. In the calm scenario clients do all that clients do, and
//! are cut off, and gateways stop; every order and every close is asserted. In the rough one workers drain,
//! freeze and die, and gateways die: events may be lost then, but nothing may be left over.
//!
//! - `gateway`, `worker`, `client`: the processes; `ports`: what the gateway's core is connected to,
//! - `observer`: what all have seen together.

mod client;
mod gateway;
mod observer;
mod ports;
mod worker;

use std::net::{Ipv4Addr, SocketAddrV4};

use client::Client;
use gateway::{Gateway, GatewayOptions};
use observer::Observer;
use worker::{Worker, WorkerOptions};

use crate::client_script::{ClientAction, ClientScriptOptions, client_script};
use crate::model::{Context, Input, Model, Plan};
use crate::network::{NetworkOptions, ProcessId};
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::script::{FaultOptions, ScriptEvent, ScriptStep, random_faults, sort};
use crate::violation::{Violation, ensure};

/// The scenarios of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cluster {
    /// No worker drains, freezes or dies, and no gateway dies.
    Calm,
    /// Besides, everything goes wrong that can.
    Rough,
}

/// A step of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A client does something.
    Client(ClientAction),
    /// A worker drains.
    Drain,
    /// A gateway stops.
    Stop {
        /// It closes its clients over so many ms.
        spread_ms: u64,
    },
}

/// What runs in a process.
#[doc(hidden)]
pub struct ClusterNode(Node);

enum Node {
    Gateway(Box<Gateway>),
    Worker(Box<Worker>),
    Client(Box<Client>),
}

/// The model.
#[derive(Debug)]
pub struct ClusterModel {
    gateways: usize,
    workers: usize,
    gateway_options: GatewayOptions,
    worker_options: WorkerOptions,
    observer: Observer,
}

/// The close frame of a gateway that stops.
const CLOSE_FRAME: &[u8] = &[0x88, 2, 0x03, 0xe9];

/// How long it takes until all clients are gone, in ms.
const LEAVE_MS: u64 = 12_000;

/// How long it takes until gateways and workers have stopped, in ms.
const STOP_MS: u64 = 5_000;

/// The address of a process.
fn address(process: ProcessId) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, process as u8), 2300)
}

/// The process with an address.
fn process_of(address: SocketAddrV4) -> ProcessId {
    address.ip().octets()[3].into()
}

impl Scenario for Cluster {
    type Model = ClusterModel;

    fn name(&self) -> &'static str {
        match self {
            Self::Calm => "cluster-calm",
            Self::Rough => "cluster-rough",
        }
    }

    fn plan(&self, rng: &mut Rng) -> Plan<ClusterModel> {
        let gateways = rng.within(&(1..=3)) as usize;
        let workers = rng.within(&(1..=3)) as usize;
        let clients = rng.within(&(1..=12)) as usize;
        let first_client = gateways + workers;
        let processes = first_client + clients;
        let options = ClientScriptOptions { steps: 5..=60, pause_ms: 0..=40, names: 3 };
        let mut script = Vec::new();
        for client in first_client..processes {
            let steps = client_script(rng, &options).into_iter();
            script.extend(steps.map(|(at_ms, action)| ScriptStep {
                at_ms: at_ms + 10,
                event: ScriptEvent::Act(client, Act::Client(action)),
            }));
        }
        let end_ms = script.iter().map(|step| step.at_ms).max().unwrap_or(0);
        if rng.chance(20) {
            let stop = Act::Stop { spread_ms: rng.below(100) };
            let gateway = rng.below(gateways as u64) as usize;
            script.push(ScriptStep { at_ms: rng.below(end_ms + 1), event: ScriptEvent::Act(gateway, stop) });
        }
        let pairs = |from: std::ops::Range<usize>| {
            from.flat_map(move |process| (0..gateways).map(move |gateway| (gateway, process)))
        };
        let count = rng.below(6);
        script.extend(random_faults(
            rng,
            &FaultOptions {
                count,
                begin_ms: 0..=end_ms,
                lasting_ms: 1..=400,
                freeze: (first_client..processes).collect(),
                crash: Vec::new(),
                disturb: pairs(first_client..processes).collect(),
                ports: Vec::new(),
            },
        ));
        if *self == Self::Rough {
            let count = rng.within(&(1..=10));
            script.extend(random_faults(
                rng,
                &FaultOptions {
                    count,
                    begin_ms: 0..=end_ms,
                    lasting_ms: 1..=400,
                    freeze: (0..first_client).collect(),
                    crash: (0..first_client).collect(),
                    disturb: pairs(gateways..first_client).collect(),
                    ports: Vec::new(),
                },
            ));
            if rng.chance(50) {
                let worker = gateways + rng.below(workers as u64) as usize;
                let at_ms = rng.below(end_ms + 1);
                script.push(ScriptStep { at_ms, event: ScriptEvent::Act(worker, Act::Drain) });
            }
        }
        sort(&mut script);
        Plan {
            model: ClusterModel {
                gateways,
                workers,
                gateway_options: GatewayOptions::draw(rng),
                worker_options: WorkerOptions::draw(rng),
                observer: Observer::new(*self == Self::Calm),
            },
            processes,
            network: NetworkOptions::default(),
            script_ms: script.last().map_or(0, |step| step.at_ms + 1),
            script,
            stages: vec![LEAVE_MS, STOP_MS],
            max_steps: 500_000,
        }
    }
}

impl Model for ClusterModel {
    type Node = ClusterNode;
    type Action = Act;

    fn start(&mut self, context: &mut Context<'_>) -> ClusterNode {
        ClusterNode(match context.process {
            process if process < self.gateways => {
                Node::Gateway(Box::new(Gateway::new(self.gateway_options.clone(), context)))
            }
            process if process < self.gateways + self.workers => {
                Node::Worker(Box::new(Worker::new(self.worker_options.clone(), self.gateways, context)))
            }
            _ => Node::Client(Box::new(Client::new(self.gateways))),
        })
    }

    fn step(
        &mut self,
        node: &mut ClusterNode,
        input: Input<Act>,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if let (Node::Worker(worker), Input::Deadline) = (&node.0, &input)
            && worker.is_replaced(context.now_ms)
        {
            *node = self.start(context);
            return Ok(());
        }
        let observer = &mut self.observer;
        match &mut node.0 {
            Node::Gateway(gateway) => gateway.step(input, observer, context),
            Node::Worker(worker) => worker.step(input, observer, context)?,
            Node::Client(client) => client.step(input, observer, context)?,
        }
        Ok(())
    }

    fn next_deadline(&self, node: &ClusterNode) -> Option<u64> {
        match &node.0 {
            Node::Gateway(gateway) => gateway.next_deadline(),
            Node::Worker(worker) => worker.next_deadline(),
            Node::Client(client) => client.next_deadline(),
        }
    }

    fn name(&self, process: ProcessId) -> String {
        match process {
            process if process < self.gateways => format!("gateway {process}"),
            process if process < self.gateways + self.workers => format!("worker {process}"),
            process => format!("client {process}"),
        }
    }

    fn crashed(&mut self, process: ProcessId, node: &ClusterNode) {
        match &node.0 {
            Node::Gateway(_) => self.observer.gateway_dies(|id| Gateway::is_of(process, id)),
            Node::Worker(worker) => {
                for question in worker.open_questions() {
                    // Each is open: it cannot have been settled before.
                    let _ = self.observer.questions.failed(question);
                }
            }
            Node::Client(_) => {}
        }
    }

    fn check(&mut self, stepped: ProcessId, nodes: &[Option<ClusterNode>]) -> Result<(), Violation> {
        match nodes[stepped].as_ref().map(|node| &node.0) {
            Some(Node::Gateway(gateway)) => gateway.check(),
            _ => Ok(()),
        }
    }

    fn check_stage(
        &mut self,
        stage: usize,
        nodes: &[Option<ClusterNode>],
        connections: usize,
    ) -> Result<(), Violation> {
        let nodes = nodes.iter().flatten().map(|node| &node.0);
        if stage > 0 {
            for node in nodes {
                if let Node::Gateway(gateway) = node {
                    gateway.check_stopped()?;
                }
            }
            return ensure(connections == 0, "nothing-is-left", || format!("{connections} connections"));
        }
        for node in nodes {
            match node {
                Node::Gateway(gateway) => gateway.check_empty(!self.observer.is_calm)?,
                Node::Worker(worker) => worker.check_empty()?,
                Node::Client(client) => {
                    ensure(client.is_gone(), "nothing-is-left", || "a client's connection".into())?;
                }
            }
        }
        self.observer.check_end()
    }
}
