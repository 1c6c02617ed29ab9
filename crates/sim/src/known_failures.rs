//! The list of known failures: runs that break an invariant, until somebody mends what they show.
//!
//! A line is `scenario seed kept invariant: why`, where `kept` is `all` or the steps of the script
//! (`3,5,9-12`). Empty lines and those with `#` in front count for nothing. A test asserts that
//! each still fails in the same way, so that a line is removed when its failure is mended.

use std::str::FromStr;

use crate::model::Outcome;
use crate::script::Kept;

/// The list.
pub const KNOWN_FAILURES: &str = include_str!("../known-failures");

/// A run that is known to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFailure {
    /// The scenario's name.
    pub scenario: String,
    /// The run's seed.
    pub seed: u64,
    /// The steps of the script; `None` is all.
    pub kept: Option<Kept>,
    /// The invariant that it breaks.
    pub invariant: String,
    /// Why it is not mended yet.
    pub why: String,
}

/// Reads the list.
///
/// # Errors
/// With the number of a line that is none, from 1.
pub fn parse_known_failures(list: &str) -> Result<Vec<KnownFailure>, String> {
    let lines = list.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(index, line)| line.parse().map_err(|error| format!("line {}: {error}", index + 1))).collect()
}

impl FromStr for KnownFailure {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let form = "it is not \"scenario seed kept invariant: why\"";
        let (head, why) = line.split_once(':').ok_or(form)?;
        let words: Vec<&str> = head.split_whitespace().collect();
        let [scenario, seed, kept, invariant] = words[..] else { return Err(form.into()) };
        Ok(Self {
            scenario: scenario.into(),
            seed: seed.parse().map_err(|_| format!("\"{seed}\" is not a seed"))?,
            kept: if kept == "all" { None } else { Some(kept.parse()?) },
            invariant: invariant.into(),
            why: why.trim().into(),
        })
    }
}

impl KnownFailure {
    pub(crate) fn is(&self, scenario: &str, seed: u64, invariant: &str) -> bool {
        self.scenario == scenario && self.seed == seed && self.invariant == invariant
    }

    /// Compares how its run goes now with what is known.
    ///
    /// # Errors
    /// With what is to be done when it does not break the same invariant.
    pub fn compare(&self, outcome: &Outcome) -> Result<(), String> {
        let Self { scenario, seed, .. } = self;
        match &outcome.violation {
            Some(violation) if violation.invariant == self.invariant => Ok(()),
            Some(violation) => Err(format!("seed {seed} of {scenario} fails otherwise now: {violation}")),
            None => Err(format!("seed {seed} of {scenario} passes now: remove it from the known failures")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read() {
        let list = "# a comment\n\ncluster 17 3,5-6 closes-are-told: a killed worker's events are lost\n";
        let known = parse_known_failures(list).unwrap();
        assert_eq!(known.len(), 1);
        assert!(known[0].is("cluster", 17, "closes-are-told"));
        assert_eq!(known[0].kept.as_ref().unwrap().to_string(), "3,5-6");
        assert_eq!(known[0].why, "a killed worker's events are lost");
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        assert!(parse_known_failures("\ncluster x all closes: why").unwrap_err().starts_with("line 2"));
        assert!(parse_known_failures("cluster 1 all").unwrap_err().starts_with("line 1"));
    }
}
