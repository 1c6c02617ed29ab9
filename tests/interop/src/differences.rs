//! Where ours is meant to differ from the original.

use serde_json::Value;

use crate::cluster::Combination;

/// A difference that is intended.
#[derive(Debug)]
pub struct Difference {
    /// What it is called in tables.
    pub name: &'static str,
}

/// All of them.
pub const DIFFERENCES: &[Difference] = &[];

/// Which one explains that a step came out otherwise than with the original.
pub fn explain(_who: Combination, _step: &str, _theirs: &Value, _ours: &Value) -> Option<&'static Difference> {
    None
}
