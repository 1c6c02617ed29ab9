//! Runs seeds of a scenario until a budget of steps is used or an invariant is broken.
//!
//! A failure is shrunk (`shrink.rs`), replayed with a trace, and printed with a command that replays it.

use std::fmt;

use crate::known_failures::KnownFailure;
use crate::panics;
use crate::rng::Rng;
use crate::script::Kept;
use crate::shrink::shrink;
use crate::simulation::{Model, Outcome, Plan, Simulation};
use crate::trace::Trace;
use crate::violation::Violation;

/// A family of runs: the same kinds of processes and events, other numbers for each seed.
pub trait Scenario {
    /// What is simulated.
    type Model: Model;

    /// Returns the name, as the command line and the list of known failures have it.
    fn name(&self) -> &'static str;

    /// Draws a run.
    fn plan(&self, rng: &mut Rng) -> Plan<Self::Model>;
}

/// Which seeds to run.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The first seed; the others follow it.
    pub first_seed: u64,
    /// No further run begins when so many steps are made.
    pub steps: u64,
}

/// What a campaign that found nothing has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Runs, each with a seed of its own.
    pub runs: u64,
    /// Steps of all of them.
    pub steps: u64,
    /// Runs that failed as the list of known failures says.
    pub known: u64,
}

/// A run that broke an invariant. It prints what a reader needs to see it again.
#[derive(Debug)]
pub struct Failure {
    /// The scenario's name.
    pub scenario: &'static str,
    /// The run's seed.
    pub seed: u64,
    /// How the shrunk run went.
    pub outcome: Outcome,
    /// The steps of the script that are left.
    pub kept: Kept,
    /// How many steps the script had before.
    pub script_len: usize,
    /// The steps that are left, a line each.
    script: Vec<String>,
    trace: Option<Trace>,
}

/// Runs a seed once: with all of its script, or with the steps in `kept`.
pub fn run_one<S: Scenario>(scenario: &S, seed: u64, kept: Option<&Kept>) -> Outcome {
    run(scenario, seed, kept, None).0
}

/// Runs a seed as [`run_one`] does, and returns its failure, with a trace of `lines` lines.
pub fn replay<S: Scenario>(
    scenario: &S,
    seed: u64,
    kept: Option<&Kept>,
    lines: usize,
) -> Result<Outcome, Box<Failure>> {
    let (outcome, trace) = run(scenario, seed, kept, Some(Trace::new(lines)));
    if outcome.violation.is_none() {
        return Ok(outcome);
    }
    let script = plan(scenario, seed).script;
    let kept = kept.cloned().unwrap_or_else(|| Kept((0..script.len()).collect()));
    let lines = script.iter().enumerate().filter(|(index, _)| kept.0.contains(index));
    Err(Box::new(Failure {
        scenario: scenario.name(),
        seed,
        outcome,
        script_len: script.len(),
        script: lines
            .map(|(index, step)| format!("#{index} at {} ms: {:?}", step.at_ms, step.event))
            .collect(),
        kept,
        trace,
    }))
}

/// Runs seeds until the budget is used.
///
/// # Errors
/// With the first failure that is not known, shrunk.
pub fn run_many<S: Scenario>(
    scenario: &S,
    campaign: &Campaign,
    known: &[KnownFailure],
) -> Result<Passed, Box<Failure>> {
    let mut passed = Passed { runs: 0, steps: 0, known: 0 };
    while passed.steps < campaign.steps {
        let seed = campaign.first_seed.wrapping_add(passed.runs);
        let outcome = run_one(scenario, seed, None);
        passed.runs += 1;
        // A run without steps costs something too.
        passed.steps += outcome.steps.max(1);
        let Some(violation) = outcome.violation else { continue };
        if known.iter().any(|known| known.is(scenario.name(), seed, violation.invariant)) {
            passed.known += 1;
            continue;
        }
        let kept = shrink_failure(scenario, seed, violation.invariant);
        replay(scenario, seed, Some(&kept), TRACE_LINES)?;
        // A run that fails once and not again: something in it is not drawn from the seed.
        let details = format!("seed {seed} broke {violation}, and a replay did not");
        return Err(Box::new(Failure {
            scenario: scenario.name(),
            seed,
            outcome: Outcome { violation: Some(Violation::new("replays-are-equal", details)), ..outcome },
            script_len: kept.0.len(),
            script: Vec::new(),
            kept,
            trace: None,
        }));
    }
    Ok(passed)
}

/// Lines of the trace of a failure.
const TRACE_LINES: usize = 60;

fn shrink_failure<S: Scenario>(scenario: &S, seed: u64, invariant: &str) -> Kept {
    let all = (0..plan(scenario, seed).script.len()).collect();
    shrink(all, |kept| {
        run_one(scenario, seed, Some(kept))
            .violation
            .is_some_and(|violation| violation.invariant == invariant)
    })
}

fn plan<S: Scenario>(scenario: &S, seed: u64) -> Plan<S::Model> {
    scenario.plan(&mut Rng::new(seed))
}

fn run<S: Scenario>(
    scenario: &S,
    seed: u64,
    kept: Option<&Kept>,
    trace: Option<Trace>,
) -> (Outcome, Option<Trace>) {
    let mut plan = plan(scenario, seed);
    if let Some(kept) = kept {
        let mut index = 0;
        plan.script.retain(|_| {
            index += 1;
            kept.0.contains(&(index - 1))
        });
    }
    let mut simulation = Simulation::new(seed, plan, trace);
    let outcome = match panics::catch(|| simulation.run()) {
        Ok(outcome) => outcome,
        Err(panic) => simulation.outcome(Some(panic)),
    };
    (outcome, simulation.into_trace())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { steps, at_ms, hash, violation } = &self.outcome;
        if let Some(violation) = violation {
            writeln!(f, "broken invariant: {violation}")?;
        }
        let Self { scenario, seed, kept, .. } = self;
        writeln!(f, "scenario {scenario}, seed {seed}, step {steps}, at {at_ms} ms, trace hash {hash:016x}")?;
        writeln!(f, "script, {} of {} steps:", kept.0.len(), self.script_len)?;
        self.script.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        if let Some(trace) = &self.trace {
            writeln!(f, "the last steps:\n{trace}")?;
        }
        write!(
            f,
            "replay: cargo run -p gatewayworker-sim -- --scenario {scenario} --seed {seed} --keep {kept}"
        )
    }
}

impl std::error::Error for Failure {}
