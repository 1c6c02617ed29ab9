//! Simulates gateways, workers, clients and registers: their cores, without sockets and clocks, on
//! simulated time and a simulated network, all drawn from one seed.
//!
//! A run is a seed and a script. After each step the invariants are checked. A run that breaks one
//! is shrunk to few steps of its script, and printed with a command that replays it exactly.
//! Nothing of this is shipped, and what threads share is not tested here: cores only.
//!
//! - `rng`, `event_queue`: random numbers and simulated time,
//! - `network`: connections between processes, and what goes wrong with them,
//! - `link_buffer`: the sending end of a link, as a port for cores,
//! - `script`, `client_script`: what happens in a run,
//! - `model`: what is simulated; `simulation`: gives its processes their inputs, one at a time,
//! - `scenario`: draws runs from seeds,
//! - `websocket`: a client's side of the protocol,
//! - `history`, `epochs`, `questions`: what has been seen so far, and what of it breaks an invariant,
//! - `runner`: runs many seeds; `shrink`: few steps that still fail; `known_failures`: those that wait to be mended,
//! - `cluster`: gateways, workers and clients,
//! - `closing`: how a simulated gateway ends a connection,
//! - `interest`: what gateways tell workers about groups, and where sends go,
//! - `registers`: registers, and daemons as far as registers see them,
//! - `resumption`: clients that keep their connection over cuts.
//!
//! To plug cores in, write a [`Model`]: its nodes own cores and [`Socket`]s, give a core its input, and
//! drain what it wants done: bytes go to [`Socket::try_write`] or a [`LinkBuffer`], a wish for a turn to
//! [`Context::turn_after`], the next deadline to [`Model::next_deadline`]. Then write a [`Scenario`],
//! add it to [`scenarios`], a test that runs it, and defects that it has to find (`defects.sh`).

mod client_script;
mod closing;
pub mod cluster;
mod epochs;
mod event_queue;
mod history;
pub mod interest;
mod known_failures;
mod link_buffer;
mod model;
mod network;
mod panics;
mod questions;
pub mod registers;
pub mod resumption;
mod rng;
mod runner;
mod scenario;
mod script;
mod shrink;
mod simulation;
mod trace;
mod violation;
pub mod websocket;

pub use client_script::{Admission, ClientAction, ClientScriptOptions, Request, client_script};
pub use epochs::{EpochName, Epochs, Life};
pub use history::{ClientEvent, ClientHistory, CloseKind, Handling, HistoryOptions};
pub use known_failures::{KNOWN_FAILURES, KnownFailure, parse_known_failures};
pub use link_buffer::{LinkBuffer, LinkClosed};
pub use model::{Context, Input, Model, Outcome, Plan};
pub use network::{NetworkOptions, Path, ProcessId, ReadOutcome, Socket, SocketId, Written};
pub use questions::Questions;
pub use rng::Rng;
pub use runner::{Campaign, Failure, Passed, replay, run_many, run_one};
pub use scenario::{AnyScenario, Run, Scenario};
pub use script::{Fault, FaultOptions, Kept, ScriptEvent, ScriptStep, random_faults, sort};
pub use simulation::Simulation;
pub use trace::Trace;
pub use violation::{Violation, ensure};

/// Returns all scenarios.
pub fn scenarios() -> Vec<Box<dyn AnyScenario>> {
    vec![
        Box::new(cluster::Cluster::Calm),
        Box::new(cluster::Cluster::Rough),
        Box::new(registers::Registers),
        Box::new(interest::Interest),
        Box::new(resumption::Resumption),
    ]
}

/// Returns the scenario of this name.
///
/// # Errors
/// With the names that there are.
pub fn scenario(name: &str) -> Result<Box<dyn AnyScenario>, String> {
    let names: Vec<_> = scenarios().iter().map(|scenario| scenario.name()).collect();
    let found = scenarios().into_iter().find(|scenario| scenario.name() == name);
    found.ok_or_else(|| format!("there is no scenario \"{name}\", only {}", names.join(", ")))
}
