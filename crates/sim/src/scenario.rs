//! A scenario: a family of runs with the same kinds of processes and events, and other numbers for each seed.
//!
//! Models differ in their types; `runner.rs` sees all of them as [`AnyScenario`]. Its one call is a whole run.

use crate::model::{Model, Outcome, Plan};
use crate::panics;
use crate::rng::Rng;
use crate::script::Kept;
use crate::simulation::Simulation;
use crate::trace::Trace;

/// A family of runs.
pub trait Scenario {
    /// What is simulated.
    type Model: Model;

    /// Returns the name, as the command line and the list of known failures have it.
    fn name(&self) -> &'static str;

    /// Draws a run.
    fn plan(&self, rng: &mut Rng) -> Plan<Self::Model>;
}

/// A scenario, whatever its model is.
pub trait AnyScenario {
    /// Returns the scenario's name.
    fn name(&self) -> &'static str;

    /// Runs a seed: with all of its script, or with the steps in `kept`; with a trace of the last
    /// `trace` lines, or without one. A panic in a core is the violation `no-panic`.
    fn run(&self, seed: u64, kept: Option<&Kept>, trace: Option<usize>) -> Run;
}

/// A run that has ended.
#[derive(Debug)]
pub struct Run {
    /// How it went.
    pub outcome: Outcome,
    /// How many steps the script has, dropped ones among them.
    pub script_len: usize,
    /// The last lines, with [`Run::script`], if they were asked for.
    pub trace: Option<Trace>,
    /// The steps of the script that were kept, a line each.
    pub script: Vec<String>,
}

impl<S: Scenario> AnyScenario for S {
    fn name(&self) -> &'static str {
        Scenario::name(self)
    }

    fn run(&self, seed: u64, kept: Option<&Kept>, trace: Option<usize>) -> Run {
        let mut plan = self.plan(&mut Rng::new(seed));
        let script_len = plan.script.len();
        let is_kept = |index: &usize| kept.is_none_or(|kept| kept.0.contains(index));
        let numbered = plan.script.into_iter().enumerate().filter(|(index, _)| is_kept(index));
        let (numbers, script): (Vec<usize>, Vec<_>) = numbered.unzip();
        let lines = numbers.iter().zip(&script).filter(|_| trace.is_some());
        let lines =
            lines.map(|(number, step)| format!("#{number} at {} ms: {:?}", step.at_ms, step.event)).collect();
        plan.script = script;
        let mut simulation = Simulation::new(seed, plan, trace.map(Trace::new));
        let outcome = match panics::catch(|| simulation.run()) {
            Ok(outcome) => outcome,
            Err(panic) => simulation.outcome(Some(panic)),
        };
        Run { outcome, script_len, trace: simulation.into_trace(), script: lines }
    }
}
