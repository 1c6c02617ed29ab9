//! A broken invariant: what checks return.

use std::fmt;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The name of the invariant. Shrinking keeps a script that breaks the same one.
    pub invariant: &'static str,
    /// What was seen, with the ids and numbers of this case.
    pub details: String,
}

impl Violation {
    /// Creates a violation of `invariant`.
    pub fn new(invariant: &'static str, details: impl Into<String>) -> Self {
        Self { invariant, details: details.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.details)
    }
}

/// Returns a violation unless `holds`.
///
/// # Errors
/// With `details`, if `holds` is false.
pub fn ensure(
    holds: bool,
    invariant: &'static str,
    details: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(invariant, details())) }
}
