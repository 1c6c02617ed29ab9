//! Scenarios of a whole cluster: gateways, workers and clients with their real cores, and everything goes wrong.
//!
//! Gateways are the first processes, then come workers, then clients; workers know all gateways from the start.
//! Handshakes are a line, and stand for those of HTTP. In the calm scenario clients do all that clients do, and
//! are cut off, gateways stop, and workers drain: every event is handled once, and none is marked. In the rough
//! one links are cut, and processes freeze and die: every event is handled at least once, and repeats are marked.
//!
//! - `gateway`, `worker`, `client`: the processes; `ports`: what the gateway's core is connected to,
//! - `plan`: what goes wrong in a run, `timing`: how long what takes,
//! - `observer`, `ledger`: what all have seen together; `witness`: the registers, as these processes see them.

mod client;
mod gateway;
mod ledger;
mod observer;
mod plan;
mod ports;
mod timing;
mod witness;
mod worker;

use std::net::{Ipv4Addr, SocketAddrV4};

use client::Client;
use gateway::{Gateway, GatewayOptions};
use observer::Observer;
use worker::{Worker, WorkerOptions};

use crate::client_script::ClientAction;
use crate::epochs::Life;
use crate::model::{Context, Input, Model, Plan};
use crate::network::ProcessId;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::script::Fault;
use crate::violation::{Violation, ensure};

/// The scenarios of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cluster {
    /// No process dies, and no link between daemons is given up.
    Calm,
    /// Everything goes wrong that can.
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
    /// A gateway is cut off from the registers.
    Unlist {
        /// For so many ms.
        lasting_ms: u64,
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
    /// Processes that were started by now.
    lives: u32,
}

/// The close frame of a gateway that stops.
const CLOSE_FRAME: &[u8] = &[0x88, 2, 0x03, 0xe9];

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
        plan::draw(*self, rng)
    }
}

impl Model for ClusterModel {
    type Node = ClusterNode;
    type Action = Act;

    fn start(&mut self, context: &mut Context<'_>) -> ClusterNode {
        self.lives += 1;
        let life = Life { process: context.process, starts: self.lives };
        ClusterNode(match context.process {
            process if process < self.gateways => {
                self.observer.registers.starts(process);
                Node::Gateway(Box::new(Gateway::new(self.gateway_options.clone(), life, context)))
            }
            process if process < self.gateways + self.workers => {
                Node::Worker(Box::new(Worker::new(self.worker_options.clone(), self.gateways, life, context)))
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
        self.observer.check()
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

    fn crashed(&mut self, process: ProcessId, node: &ClusterNode, now_ms: u64) {
        match &node.0 {
            Node::Gateway(gateway) => {
                self.observer.gateway_dies(gateway.life(), now_ms, |id| Gateway::is_of(process, id));
                gateway.report_owners(&mut self.observer);
            }
            Node::Worker(worker) => {
                self.observer.worker_ends_early(worker.life(), worker.open_questions().collect());
            }
            Node::Client(_) => {}
        }
    }

    fn disturbed(&mut self, fault: Fault, _now_ms: u64) {
        match fault {
            Fault::Kill(process) | Fault::Crash(process) if process < self.gateways => {}
            Fault::Start(_) | Fault::Thaw(_) | Fault::Heal(_) => {}
            _ => self.observer.ledger.has_trouble(),
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
                Node::Gateway(gateway) => gateway.check_empty()?,
                Node::Worker(worker) => worker.check_empty()?,
                Node::Client(client) => {
                    ensure(client.is_gone(), "nothing-is-left", || "a client's connection".into())?;
                }
            }
        }
        self.observer.check_end()
    }
}
