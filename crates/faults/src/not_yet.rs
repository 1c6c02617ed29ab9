//! The rows that break their promise today, each with its reason.
//!
//! The test of a row in `NOT_YET` fails when the row keeps its promise, so an entry does not outlive its reason.

/// Names of rows, and why they fail.
pub const NOT_YET: &[(&str, &str)] = &[];

/// Names of rows that break their promise now and then, and why. Their tests prove nothing until that is mended.
pub const UNSTEADY: &[(&str, &str)] = &[];

/// Returns why a row breaks its promise each time, if it does.
pub fn reason(row: &str) -> Option<&'static str> {
    NOT_YET.iter().find(|(name, _)| *name == row).map(|(_, reason)| *reason)
}

/// Whether a row breaks its promise now and then.
pub fn is_unsteady(row: &str) -> bool {
    UNSTEADY.iter().any(|(name, _)| *name == row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_a_row() {
        for (name, _) in NOT_YET.iter().chain(UNSTEADY) {
            assert!(crate::rows::all().iter().any(|row| row.name == *name), "{name}");
        }
    }
}
