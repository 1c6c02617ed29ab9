//! [`Faults`]: why NATS is not connected, and what it refuses.
//!
//! `connection.rs` notes them as async-nats tells them, `federation.rs` shows them to an operator.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is wrong with NATS at the moment.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    not_connected: Option<String>,
    refused: Option<String>,
}

impl Faults {
    /// Notes why the last attempts to connect have failed. Returns whether that is new.
    pub(crate) fn note_not_connected(&self, why: String) -> bool {
        let mut known = self.known();
        let is_new = known.not_connected.as_ref() != Some(&why);
        known.not_connected = Some(why);
        is_new
    }

    /// Notes an error of the server: "Permissions Violation for …", "stale connection". Returns whether it is the first of this connection.
    pub(crate) fn note_refused(&self, why: String) -> bool {
        let mut known = self.known();
        let is_new = known.refused.is_none();
        known.refused = Some(why);
        is_new
    }

    /// Notes a new connection: what was wrong before is over, or will be noted again.
    pub(crate) fn note_connected(&self) {
        *self.known() = Known::default();
    }

    /// What an operator has to mend, in a sentence: why NATS is not connected, as far as it is known, or what the server has refused last on this
    /// connection.
    pub(crate) fn problem(&self, is_connected: bool) -> Option<String> {
        let known = self.known();
        if !is_connected {
            let why = known.not_connected.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            return Some(format!(
                "federation: NATS is not connected at the moment, other clusters are not reached{why}"
            ));
        }
        let why = known.refused.as_ref()?;
        let is_of_permissions = why.to_lowercase().contains("permissions violation");
        let hint = if is_of_permissions { ", look at the permissions of its user" } else { "" };
        Some(format!("federation: NATS refuses something{hint}: {why}"))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_new_once_and_ends_with_a_new_connection() {
        let faults = Faults::default();
        assert!(faults.note_not_connected("refused".into()));
        assert!(!faults.note_not_connected("refused".into()));
        assert!(faults.note_not_connected("timed out".into()));
        assert!(faults.problem(false).unwrap().ends_with("other clusters are not reached: timed out"));
        faults.note_connected();
        assert!(faults.problem(false).unwrap().ends_with("other clusters are not reached"));
        assert!(faults.note_refused("Permissions Violation for Publish to a".into()));
        assert!(!faults.note_refused("Permissions Violation for Publish to b".into()));
        assert!(faults.problem(true).unwrap().ends_with("to b"));
        faults.note_connected();
        assert_eq!(faults.problem(true), None);
    }

    #[test]
    fn permissions_are_named_where_they_are_violated_only() {
        let problem = |why: &str| {
            let faults = Faults::default();
            faults.note_refused(why.into());
            faults.problem(true).unwrap()
        };
        assert!(problem("Permissions Violation for Publish to a").contains("the permissions of its user"));
        let other = problem("maximum connections exceeded");
        assert!(!other.contains("permissions") && other.ends_with("exceeded"), "{other}");
    }
}
