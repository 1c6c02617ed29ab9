//! The number of clients that have ended, by close reason, for `status` and the log.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use gatewayworker_protocol::CloseReason;

/// The number of clients that have ended, by close reason.
#[derive(Debug, Default)]
pub(crate) struct CloseCounts([AtomicU64; CloseReason::COUNT]);

impl CloseCounts {
    pub(crate) fn count(&self, reason: CloseReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of all clients that have ended.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl fmt::Display for CloseCounts {
    /// Writes `client-left=3 kicked=1`, without the reasons that did not occur.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for reason in CloseReason::all() {
            let count = self.0[reason as usize].load(Ordering::Relaxed);
            if count > 0 {
                write!(f, "{between}{reason}={count}")?;
                between = " ";
            }
        }
        if between.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}
