//! All scenarios by name, for the program and for the test of the known failures.

use crate::known_failures::KnownFailure;
use crate::mock::Mock;
use crate::runner::{self, Campaign, Failure, Passed, Scenario};
use crate::script::Kept;
use crate::simulation::Outcome;

/// A scenario, whatever its model is. A call is one or more whole runs.
pub trait AnyScenario {
    /// As [`Scenario::name`].
    fn name(&self) -> &'static str;

    /// As [`run_one`](crate::run_one).
    fn run_one(&self, seed: u64, kept: Option<&Kept>) -> Outcome;

    /// As [`replay`](crate::replay).
    ///
    /// # Errors
    /// As there.
    fn replay(&self, seed: u64, kept: Option<&Kept>, lines: usize) -> Result<Outcome, Box<Failure>>;

    /// As [`run_many`](crate::run_many).
    ///
    /// # Errors
    /// As there.
    fn run_many(&self, campaign: &Campaign, known: &[KnownFailure]) -> Result<Passed, Box<Failure>>;
}

impl<S: Scenario> AnyScenario for S {
    fn name(&self) -> &'static str {
        Scenario::name(self)
    }

    fn run_one(&self, seed: u64, kept: Option<&Kept>) -> Outcome {
        runner::run_one(self, seed, kept)
    }

    fn replay(&self, seed: u64, kept: Option<&Kept>, lines: usize) -> Result<Outcome, Box<Failure>> {
        runner::replay(self, seed, kept, lines)
    }

    fn run_many(&self, campaign: &Campaign, known: &[KnownFailure]) -> Result<Passed, Box<Failure>> {
        runner::run_many(self, campaign, known)
    }
}

/// Returns all scenarios.
pub fn scenarios() -> Vec<Box<dyn AnyScenario>> {
    vec![Box::new(Mock::Calm), Box::new(Mock::Rough)]
}

/// Returns the scenario of this name.
///
/// # Errors
/// With the names that there are.
pub fn scenario(name: &str) -> Result<Box<dyn AnyScenario>, String> {
    let names: Vec<_> = scenarios().iter().map(|scenario| scenario.name()).collect();
    let found = scenarios().into_iter().find(|scenario| scenario.name() == name);
    found.ok_or_else(|| format!("there is no scenario \"{name}\", but {}", names.join(", ")))
}
