//! How many clients could not come back, by reason.
//!
//! `client` counts, `metrics` shows it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::resumption::control::Lost;

/// The number of clients that were lost, by reason.
#[derive(Debug, Default)]
pub(crate) struct LostCounts([AtomicU64; Lost::ALL.len()]);

impl LostCounts {
    pub(crate) fn count(&self, why: Lost) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of each reason, by its name.
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Lost::ALL.into_iter().map(|why| (why.name(), self.0[why as usize].load(Ordering::Relaxed)))
    }
}
