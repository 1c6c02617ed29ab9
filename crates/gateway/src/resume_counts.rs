//! Clients that could not come back, by reason, and connections of those that other gateways have.
//!
//! `client` counts, `metrics` shows it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::resumption::control::Lost;

/// What a gateway counts of clients that come back, beside what its shards do.
#[derive(Debug, Default)]
pub(crate) struct ResumeCounts {
    lost: [AtomicU64; Lost::ALL.len()],
    relayed: AtomicU64,
}

/// A connection that is relayed. It is counted until this is dropped.
pub(crate) struct CountedRelay<'c>(&'c ResumeCounts);

impl ResumeCounts {
    /// Counts a client that is lost.
    pub(crate) fn lost(&self, why: Lost) {
        self.lost[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many were lost for each reason, by its name.
    pub(crate) fn lost_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Lost::ALL.into_iter().map(|why| (why.name(), self.lost[why as usize].load(Ordering::Relaxed)))
    }

    /// Counts a connection that is relayed.
    pub(crate) fn relay(&self) -> CountedRelay<'_> {
        self.relayed.fetch_add(1, Ordering::Relaxed);
        CountedRelay(self)
    }

    /// Returns how many connections are relayed.
    pub(crate) fn relayed(&self) -> u64 {
        self.relayed.load(Ordering::Relaxed)
    }
}

impl Drop for CountedRelay<'_> {
    fn drop(&mut self) {
        self.0.relayed.fetch_sub(1, Ordering::Relaxed);
    }
}
