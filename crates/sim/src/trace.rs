//! The last steps of a run, for whoever reads why it failed. Only a replay has one.

use std::collections::VecDeque;
use std::fmt;

/// The last lines of a run.
#[derive(Debug)]
pub struct Trace {
    lines: VecDeque<String>,
    limit: usize,
}

impl Trace {
    /// Creates a trace of the last `limit` lines.
    pub fn new(limit: usize) -> Self {
        Self { lines: VecDeque::new(), limit }
    }

    pub(crate) fn step(&mut self, step: u64, at_ms: u64, name: &str, input: String) {
        self.push(format!("step {step} at {at_ms} ms, {name}: {input}"));
    }

    pub(crate) fn note(&mut self, line: String) {
        self.push(format!("    {line}"));
    }

    fn push(&mut self, line: String) {
        if self.lines.len() == self.limit {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
