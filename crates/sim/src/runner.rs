//! Runs seeds of a scenario until a budget of steps is used or an invariant is broken.
//!
//! A failure is shrunk (`shrink.rs`), replayed with a trace, and printed with a command that replays it.

use std::fmt;

use crate::known_failures::KnownFailure;
use crate::model::Outcome;
use crate::scenario::{AnyScenario, Run};
use crate::script::Kept;
use crate::shrink::shrink;
use crate::violation::Violation;

/// Lines of the trace of a failure.
const TRACE_LINES: usize = 60;

/// Steps that shrinking a failure may take.
const SHRINK_STEPS: u64 = 20_000_000;

/// Which seeds to run.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// The first seed; the others follow it.
    pub first_seed: u64,
    /// No further run begins when so many steps are made.
    pub steps: u64,
}

impl Campaign {
    /// Returns the campaign of a test: of `steps` steps from seed 1, or as `SIM_STEPS` and `SIM_SEED` say.
    pub fn from_environment(steps: u64) -> Self {
        let number = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
        Self { first_seed: number("SIM_SEED").unwrap_or(1), steps: number("SIM_STEPS").unwrap_or(steps) }
    }
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
    /// The steps of the script that are left; `None` is all.
    pub kept: Option<Kept>,
    /// What was broken.
    pub violation: Violation,
    /// The run with these steps.
    pub run: Run,
}

/// Runs a seed once, without a trace: with all of its script, or with the steps in `kept`.
pub fn run_one(scenario: &dyn AnyScenario, seed: u64, kept: Option<&Kept>) -> Outcome {
    scenario.run(seed, kept, None).outcome
}

/// Runs a seed as [`run_one`] does, with a trace of `lines` lines.
///
/// # Errors
/// With the failure, if an invariant is broken.
pub fn replay(
    scenario: &dyn AnyScenario,
    seed: u64,
    kept: Option<&Kept>,
    lines: usize,
) -> Result<Outcome, Box<Failure>> {
    let run = scenario.run(seed, kept, Some(lines));
    let Some(violation) = run.outcome.violation.clone() else { return Ok(run.outcome) };
    Err(Box::new(Failure { scenario: scenario.name(), seed, kept: kept.cloned(), violation, run }))
}

/// Runs seeds until the budget is used.
///
/// # Errors
/// With the first failure that is not known, shrunk.
pub fn run_many(
    scenario: &dyn AnyScenario,
    campaign: Campaign,
    known: &[KnownFailure],
) -> Result<Passed, Box<Failure>> {
    let mut passed = Passed { runs: 0, steps: 0, known: 0 };
    while passed.steps < campaign.steps {
        let seed = campaign.first_seed.wrapping_add(passed.runs);
        let run = scenario.run(seed, None, None);
        passed.runs += 1;
        // A run without steps costs something too.
        passed.steps += run.outcome.steps.max(1);
        let Some(violation) = &run.outcome.violation else { continue };
        if known.iter().any(|known| known.is(scenario.name(), seed, violation.invariant)) {
            passed.known += 1;
            continue;
        }
        let kept = shrink_failure(scenario, seed, violation.invariant, run.script_len);
        replay(scenario, seed, Some(&kept), TRACE_LINES)?;
        // Something in the run is not drawn from the seed.
        let details = format!("seed {seed} broke {violation}, and a replay did not");
        let violation = Violation::new("replays-are-equal", details);
        return Err(Box::new(Failure { scenario: scenario.name(), seed, kept: None, violation, run }));
    }
    Ok(passed)
}

fn shrink_failure(scenario: &dyn AnyScenario, seed: u64, invariant: &str, script_len: usize) -> Kept {
    let mut steps = 0;
    shrink((0..script_len).collect(), |kept| {
        if steps > SHRINK_STEPS {
            return false;
        }
        let outcome = run_one(scenario, seed, Some(kept));
        steps += outcome.steps;
        outcome.violation.is_some_and(|violation| violation.invariant == invariant)
    })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, seed, kept, violation, run } = self;
        let Outcome { steps, at_ms, hash, .. } = run.outcome;
        writeln!(f, "broken invariant: {violation}")?;
        writeln!(f, "scenario {scenario}, seed {seed}, step {steps}, at {at_ms} ms, trace hash {hash:016x}")?;
        if let Some(trace) = &run.trace {
            writeln!(f, "script, {} of {} steps:", run.script.len(), run.script_len)?;
            run.script.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            writeln!(f, "the last steps:\n{trace}")?;
        }
        write!(f, "replay: cargo run -p gatewayworker-sim -- --scenario {scenario} --seed {seed}")?;
        kept.iter().try_for_each(|kept| write!(f, " --keep {kept}"))
    }
}

impl std::error::Error for Failure {}
