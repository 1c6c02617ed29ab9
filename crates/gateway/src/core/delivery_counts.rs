//! What became of events that were not simply handled, counted for `status` and the log.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a gateway, shared by its shards. They only grow.
#[derive(Debug, Default)]
pub struct DeliveryCounts {
    redelivered: AtomicU64,
    undeliverable: AtomicU64,
    dropped: AtomicU64,
    closes_lost: AtomicU64,
}

impl DeliveryCounts {
    /// Events that were given to another worker, or to the same one again, as the first had not
    /// finished them.
    pub fn redelivered(&self) -> u64 {
        self.redelivered.load(Ordering::Relaxed)
    }

    /// Events that were dropped as they ended one worker after another (`max_deliveries`).
    pub fn undeliverable(&self) -> u64 {
        self.undeliverable.load(Ordering::Relaxed)
    }

    /// Events that a worker may not have handled and that were not given out again: with
    /// `delivery = "at-most-once"`.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Closes that no worker heard of.
    pub fn closes_lost(&self) -> u64 {
        self.closes_lost.load(Ordering::Relaxed)
    }

    pub(super) fn count_redelivered(&self, events: usize) {
        self.redelivered.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(super) fn count_undeliverable(&self) {
        self.undeliverable.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self, events: usize) {
        self.dropped.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Returns how many were lost before.
    pub(super) fn count_closes_lost(&self, closes: usize) -> u64 {
        self.closes_lost.fetch_add(closes as u64, Ordering::Relaxed)
    }
}
