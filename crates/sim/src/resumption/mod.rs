//! The scenario of clients that keep their connection over cuts: the subprotocol `gw.1`.
//!
//! One gateway with its real core, workers beside it, and up to five clients whose end is written from
//! `docs/client-protocol.md`. Connections are cut at any byte, at one end or both, again while a resume is answered,
//! for shorter and longer than a client is kept; clients read slowly, leave, lie about their counts and come with old
//! attempts; the application sends to one, to a uid, to a group and to all, and closes clients, also while they are
//! away; workers drain and end.
//!
//! Every message arrives once and in order in both directions, unless the client is told that it is `lost` or closed.
//! `on_connect` and `on_close` run once, and not while a client is detached within its time. No more is kept than may
//! be, and nothing is left at the end.
//!
//! - `gateway`, `lines`: the process of the gateway, and its connections; `opening`: their first message; `ports`: what the
//!   core is connected to,
//! - `workers`, `application`: what handles events, and what it says,
//! - `client`, `endpoint`: the process of a client, and what it knows of its connection,
//! - `ledger`, `life`: what all have seen together; `message`: what is said,
//! - `plan`: what happens in a run.

mod application;
mod client;
mod endpoint;
mod gateway;
mod ledger;
mod life;
mod lines;
mod message;
mod opening;
mod plan;
mod ports;
mod workers;

use client::{Client, ClientOptions};
use gateway::{Gateway, GatewayOptions};
use ledger::Ledger;
pub use plan::{Cut, ToWhom};

use crate::model::{Context, Input, Model, Plan};
use crate::network::ProcessId;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::violation::{Violation, ensure};

/// The scenario.
#[derive(Debug, Clone, Copy)]
pub struct Resumption;

/// The process of the gateway; all others are clients.
const GATEWAY: ProcessId = 0;

/// What a script tells a process to do.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// A client without a connection opens one.
    Connect,
    /// A client sends so many messages.
    Send(u8),
    /// A client's connection is cut, and it comes back later.
    Cut {
        /// How.
        how: Cut,
        /// It has written only a part of its next message.
        in_a_message: bool,
        /// How long it is away, in ms.
        away_ms: u64,
    },
    /// The client's next connection is cut when so many bytes have arrived.
    CutAnswer {
        /// So many.
        bytes: usize,
    },
    /// A client reads nothing until it reads again.
    StopReading,
    /// A client reads again.
    ReadAgain,
    /// A client leaves.
    Leave,
    /// A second connection comes with an attempt that was answered long ago.
    OldAttempt,
    /// When the client comes back next, it says that it has got what it was never sent.
    LieWhenBack,
    /// The client acknowledges what it was never sent.
    LieInAck,
    /// A client asks for an acknowledgement.
    Ping,
    /// A client acknowledges.
    Acknowledge,
    /// The application says something.
    Say {
        /// To whom.
        to: ToWhom,
        /// So many messages.
        messages: u8,
    },
    /// The application closes a client.
    End {
        /// Which of those that there are.
        nth: usize,
        /// With a last message, without one, with a code, or at once.
        how: u8,
    },
    /// Another worker takes the place of one.
    Replace {
        /// The old one is gone at once; else it drains.
        is_crash: bool,
    },
}

/// What runs in a process.
#[doc(hidden)]
pub struct ResumptionNode(Node);

enum Node {
    Gateway(Box<Gateway>),
    Client(Box<Client>),
}

/// The model.
#[derive(Debug)]
pub struct ResumptionModel {
    gateway_options: GatewayOptions,
    client_options: ClientOptions,
    ledger: Ledger,
}

impl Scenario for Resumption {
    type Model = ResumptionModel;

    fn name(&self) -> &'static str {
        "resumption"
    }

    fn plan(&self, rng: &mut Rng) -> Plan<ResumptionModel> {
        plan::draw(rng)
    }
}

impl Model for ResumptionModel {
    type Node = ResumptionNode;
    type Action = Act;

    fn start(&mut self, context: &mut Context<'_>) -> ResumptionNode {
        ResumptionNode(match context.process {
            GATEWAY => Node::Gateway(Box::new(Gateway::new(self.gateway_options))),
            process => Node::Client(Box::new(Client::new(process, self.client_options))),
        })
    }

    fn step(
        &mut self,
        node: &mut ResumptionNode,
        input: Input<Act>,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        match &mut node.0 {
            Node::Gateway(gateway) => gateway.step(input, &mut self.ledger, context),
            Node::Client(client) => client.step(input, &mut self.ledger, context),
        }
    }

    fn next_deadline(&self, node: &ResumptionNode) -> Option<u64> {
        match &node.0 {
            Node::Gateway(gateway) => gateway.next_deadline(),
            Node::Client(client) => client.next_deadline(),
        }
    }

    fn name(&self, process: ProcessId) -> String {
        if process == GATEWAY { "gateway".into() } else { format!("client {process}") }
    }

    fn check(&mut self, stepped: ProcessId, nodes: &[Option<ResumptionNode>]) -> Result<(), Violation> {
        match nodes[stepped].as_ref().map(|node| &node.0) {
            Some(Node::Gateway(gateway)) => gateway.check(),
            _ => Ok(()),
        }
    }

    fn check_stage(
        &mut self,
        stage: usize,
        nodes: &[Option<ResumptionNode>],
        connections: usize,
    ) -> Result<(), Violation> {
        for node in nodes.iter().flatten() {
            match &node.0 {
                Node::Client(client) if stage == 0 => client.check_quiet(&self.ledger)?,
                Node::Gateway(gateway) if stage > 0 => gateway.check_empty()?,
                _ => {}
            }
        }
        if stage == 0 {
            return Ok(());
        }
        ensure(connections == 0, "nothing-is-left", || format!("{connections} connections"))?;
        self.ledger.check_ended()
    }
}
