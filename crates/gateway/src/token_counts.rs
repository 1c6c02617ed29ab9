//! How many tokens were refused, by reason, at handshakes and later.
//!
//! `identity` counts, `metrics` and `status` show it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use gatewayworker_auth::Refusal;

/// The number of tokens that were refused, by reason.
#[derive(Debug, Default)]
pub(crate) struct TokenCounts([AtomicU64; Refusal::COUNT]);

impl TokenCounts {
    pub(crate) fn count(&self, refusal: Refusal) {
        self.0[refusal.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of each reason, by its name.
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::NAMES.into_iter().zip(&self.0).map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// Returns the reasons that occurred, for `status`.
    pub(crate) fn stats(&self) -> Vec<(&'static str, u64)> {
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
            Refusal::NAMES.iter().map(|name| format!("token_{name}").replace('-', "_")).collect()
        });
        let by_reason = NAMES.iter().zip(self.by_reason()).map(|(name, (_, count))| (name.as_str(), count));
        by_reason.filter(|(_, count)| *count > 0).collect()
    }
}
