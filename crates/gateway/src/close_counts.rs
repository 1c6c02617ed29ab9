//! How many clients ended in which way.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use gatewayworker_protocol::CloseReason;

/// How many clients ended in which way.
#[derive(Debug, Default)]
pub(crate) struct CloseCounts([AtomicU64; CloseReason::COUNT]);

impl CloseCounts {
    pub(crate) fn count(&self, reason: CloseReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// In all ways together.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl fmt::Display for CloseCounts {
    /// `client-left=3 kicked=1`, leaving out what did not happen.
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
