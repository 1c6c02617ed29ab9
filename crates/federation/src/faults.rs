//! [`Faults`]: why NATS is not connected, and what it refuses.
//!
//! `connection.rs` notes them as async-nats tells them, `federation.rs` makes sentences for an operator of them.

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

    /// Notes an error of the server on a connection that stands: "Permissions Violation for …". Returns whether it is the first of
    /// this connection.
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

    /// Why NATS is not connected, as far as it is known.
    pub(crate) fn not_connected(&self) -> Option<String> {
        self.known().not_connected.clone()
    }

    /// What the server has refused last on this connection.
    pub(crate) fn refused(&self) -> Option<String> {
        self.known().refused.clone()
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
        assert_eq!(faults.not_connected().as_deref(), Some("timed out"));
        faults.note_connected();
        assert_eq!(faults.not_connected(), None);
        assert!(faults.note_refused("Permissions Violation for Publish to a".into()));
        assert!(!faults.note_refused("Permissions Violation for Publish to b".into()));
        assert!(faults.refused().unwrap().ends_with("to b"));
        faults.note_connected();
        assert_eq!(faults.refused(), None);
    }
}
