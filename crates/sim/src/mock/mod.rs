//! A small model: one gateway that echoes through workers. It tests the simulator, and shows how a model is made.
//!
//! Process 0 is the gateway, then come workers, then clients. A frame is a length of two bytes and a
//! body; a client's message is its number and some filling, and comes back to it from its worker.

mod frames;
mod gateway;
mod peers;

use std::collections::BTreeMap;

use gateway::Gateway;
use peers::{Client, Worker};

use crate::client_script::{ClientAction, ClientScriptOptions, client_script};
use crate::history::{ClientEvent, ClientHistory, HistoryOptions};
use crate::model::{Context, Input, Model, Plan};
use crate::network::{NetworkOptions, ProcessId};
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::script::{FaultOptions, ScriptEvent, ScriptStep, random_faults, sort};
use crate::violation::{Violation, ensure};

const GATEWAY: ProcessId = 0;

/// The scenarios of the mock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mock {
    /// Clients come, speak, stop reading, and leave or reset.
    Calm,
    /// Besides, everything goes wrong that can.
    Rough,
}

/// What runs in a process.
#[derive(Debug)]
pub enum MockNode {
    #[doc(hidden)]
    Gateway(Gateway),
    #[doc(hidden)]
    Worker(Worker),
    #[doc(hidden)]
    Client(Client),
}

/// The model: how many workers there are, and what they have seen.
#[derive(Debug)]
pub struct MockModel {
    workers: usize,
    histories: Histories,
}

/// What all workers have seen of each client.
#[derive(Debug)]
pub(crate) struct Histories {
    options: HistoryOptions,
    clients: BTreeMap<u32, ClientHistory>,
}

impl Histories {
    fn add(&mut self, client: u32, event: ClientEvent) -> Result<(), Violation> {
        let history = self.clients.entry(client).or_default();
        history.add(client.into(), event, self.options)?;
        history.add(client.into(), ClientEvent::Returned, self.options)
    }
}

impl Scenario for Mock {
    type Model = MockModel;

    fn name(&self) -> &'static str {
        match self {
            Self::Calm => "mock-calm",
            Self::Rough => "mock-rough",
        }
    }

    fn plan(&self, rng: &mut Rng) -> Plan<MockModel> {
        let workers = rng.within(&(1..=3)) as usize;
        let clients = rng.within(&(1..=12)) as usize;
        let options = ClientScriptOptions { steps: 5..=60, pause_ms: 0..=30, names: 3 };
        let mut script = Vec::new();
        for client in 1 + workers..1 + workers + clients {
            let steps = client_script(rng, &options).into_iter();
            script.extend(steps.map(|(at_ms, action)| ScriptStep {
                at_ms: at_ms + 20,
                event: ScriptEvent::Act(client, action),
            }));
        }
        if *self == Self::Rough {
            let processes: Vec<ProcessId> = (0..1 + workers + clients).collect();
            let faults = FaultOptions {
                count: rng.below(12),
                begin_ms: 0..=600,
                lasting_ms: 1..=300,
                freeze: processes.clone(),
                crash: processes[..=workers].to_vec(),
                disturb: processes[1..].iter().map(|process| (GATEWAY, *process)).collect(),
            };
            script.extend(random_faults(rng, &faults));
        }
        sort(&mut script);
        let complete = *self == Self::Calm;
        let options = HistoryOptions { complete, no_overlap: true };
        Plan {
            model: MockModel { workers, histories: Histories { options, clients: BTreeMap::new() } },
            processes: 1 + workers + clients,
            network: NetworkOptions::default(),
            script_ms: script.last().map_or(0, |step| step.at_ms + 1),
            script,
            stages: vec![5_000],
            max_steps: 200_000,
        }
    }
}

impl Model for MockModel {
    type Node = MockNode;
    type Action = ClientAction;

    fn start(&mut self, context: &mut Context<'_>) -> MockNode {
        match context.process {
            GATEWAY => MockNode::Gateway(Gateway::default()),
            process if process <= self.workers => MockNode::Worker(Worker::start(context)),
            _ => MockNode::Client(Client::default()),
        }
    }

    fn step(
        &mut self,
        node: &mut MockNode,
        input: Input<ClientAction>,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        match node {
            MockNode::Gateway(gateway) => gateway.step(input, context),
            MockNode::Worker(worker) => worker.step(input, &mut self.histories, context)?,
            MockNode::Client(client) => client.step(input, context)?,
        }
        Ok(())
    }

    fn next_deadline(&self, node: &MockNode) -> Option<u64> {
        match node {
            MockNode::Worker(worker) => worker.retry_at_ms,
            _ => None,
        }
    }

    fn name(&self, process: ProcessId) -> String {
        match process {
            GATEWAY => "gateway".into(),
            process if process <= self.workers => format!("worker {process}"),
            process => format!("client {process}"),
        }
    }

    fn check(&mut self, stepped: ProcessId, nodes: &[Option<MockNode>]) -> Result<(), Violation> {
        match &nodes[stepped] {
            Some(MockNode::Gateway(gateway)) => gateway.check(),
            _ => Ok(()),
        }
    }

    fn check_stage(
        &mut self,
        _stage: usize,
        nodes: &[Option<MockNode>],
        connections: usize,
    ) -> Result<(), Violation> {
        let links = self.workers;
        ensure(connections == links, "nothing-is-left", || {
            format!("{connections} connections, {links} links")
        })?;
        for node in nodes.iter().flatten() {
            if let MockNode::Gateway(gateway) = node {
                gateway.check()?;
                ensure(gateway.is_idle(), "nothing-is-left", || format!("{gateway:?}"))?;
            }
        }
        let options = self.histories.options;
        self.histories.clients.iter().try_for_each(|(id, history)| history.check_end((*id).into(), options))
    }
}
