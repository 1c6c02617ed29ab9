//! The number of clients that have ended, by close reason, for `status` and the log.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use gatewayworker_protocol::CloseReason;

/// The number of clients that have ended, by close reason.
#[derive(Debug, Default)]
pub(crate) struct CloseCounts([AtomicU64; CloseReason::COUNT]);

impl CloseCounts {
    pub(crate) fn count(&self, reason: CloseReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn of(&self, reason: CloseReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// Returns the number of each reason, by its name.
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CloseReason::all().map(|reason| (reason.as_str(), self.of(reason)))
    }

    /// Returns the number of all clients that have ended, and the numbers of the reasons that
    /// occurred, for `status`.
    pub(crate) fn stats(&self) -> Vec<(&'static str, u64)> {
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
            CloseReason::all().map(|reason| format!("closed_{reason}").replace('-', "_")).collect()
        });
        let by_reason = CloseReason::all().zip(NAMES.iter());
        let by_reason: Vec<_> = by_reason.map(|(reason, name)| (name.as_str(), self.of(reason))).collect();
        let total = by_reason.iter().map(|(_, count)| count).sum();
        let occurred = by_reason.into_iter().filter(|(_, count)| *count > 0);
        std::iter::once(("closed", total)).chain(occurred).collect()
    }
}

impl fmt::Display for CloseCounts {
    /// Writes `client-left=3 kicked=1`, without the reasons that did not occur.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for reason in CloseReason::all() {
            let count = self.of(reason);
            if count > 0 {
                write!(f, "{between}{reason}={count}")?;
                between = " ";
            }
        }
        if between.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_shows_all_closes_and_the_reasons_that_occurred() {
        let counts = CloseCounts::default();
        assert_eq!(counts.stats(), [("closed", 0)]);
        for reason in [CloseReason::RateLimited, CloseReason::ClientLeft, CloseReason::RateLimited] {
            counts.count(reason);
        }
        let expected = [("closed", 3), ("closed_client_left", 1), ("closed_rate_limited", 2)];
        assert_eq!(counts.stats(), expected);
        assert_eq!(counts.to_string(), "client-left=1 rate-limited=2");
    }
}
