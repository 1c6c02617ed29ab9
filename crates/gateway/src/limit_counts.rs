//! How often clients were throttled, and commands refused, for `status`.
//!
//! The core notes each case (`core::effects::Notice`); `shard::ending` counts it here. Clients that
//! are closed are counted by `close_counts`, connections that are rejected by `access::rejections`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::membership_limits::MembershipLimit;

/// How often a limit on clients was reached.
#[derive(Debug, Default)]
pub(crate) struct LimitCounts {
    /// How often the gateway stopped reading from a client that sent too fast.
    throttled: AtomicU64,
    /// Commands of workers that were not executed, by limit.
    refused: [AtomicU64; MembershipLimit::NAMES.len()],
}

impl LimitCounts {
    pub(crate) fn count_throttled(&self) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self, limit: MembershipLimit) {
        self.refused[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts that are not zero.
    pub(crate) fn stats(&self) -> Vec<(&'static str, u64)> {
        let refused = MembershipLimit::NAMES.iter().zip(&self.refused);
        let refused: Vec<_> =
            refused.map(|((_, _, stat), count)| (*stat, count.load(Ordering::Relaxed))).collect();
        let total = refused.iter().map(|(_, count)| count).sum();
        let throttled = self.throttled.load(Ordering::Relaxed);
        let counts = [("throttled", throttled), ("commands_refused", total)].into_iter().chain(refused);
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_a_count_and_a_name_of_its_own() {
        let counts = LimitCounts::default();
        assert_eq!(counts.stats(), []);
        counts.count_throttled();
        for (n, (limit, setting, stat)) in (1..).zip(MembershipLimit::NAMES) {
            assert_eq!((limit.setting(), limit as usize + 1), (setting, n));
            assert_eq!(stat, setting.replace("max_", "commands_refused_"));
            (0..n).for_each(|_| counts.count_refused(limit));
        }
        let expected = [
            ("throttled", 1),
            ("commands_refused", 6),
            ("commands_refused_groups_per_client", 1),
            ("commands_refused_clients_per_uid", 2),
            ("commands_refused_name_bytes", 3),
        ];
        assert_eq!(counts.stats(), expected);
    }
}
