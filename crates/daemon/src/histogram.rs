//! A histogram for the metrics of a daemon.

use std::sync::atomic::{AtomicU64, Ordering};

/// The upper bounds of the buckets, in microseconds: from a quarter of a millisecond to a minute.
const BOUNDS_US: [u64; 16] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 60_000_000,
];

/// How long something took, counted in buckets. Any thread may observe; the atomic operations are relaxed and order
/// nothing else.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what is longer. Each counts its own alone.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// What a histogram has counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistogramCounts {
    counts: [u64; BOUNDS_US.len() + 1],
    /// The sum of all times, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Counts one that took so many microseconds.
    pub fn observe_us(&self, us: u64) {
        self.buckets[bucket(us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// As [`observe_us`](Self::observe_us), for a histogram that no other thread counts in meanwhile: without locked
    /// instructions. Any thread may read it.
    pub fn observe_us_alone(&self, us: u64) {
        add_alone(&self.buckets[bucket(us)], 1);
        add_alone(&self.sum_us, us);
    }

    /// Returns what it has counted. What is observed meanwhile may be missing in the sum.
    pub fn read(&self) -> HistogramCounts {
        HistogramCounts {
            counts: std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed)),
            sum: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

/// Returns the bucket of what took so many microseconds.
fn bucket(us: u64) -> usize {
    // Most are short, above all where the clock is a coarse one.
    if us <= BOUNDS_US[0] { 0 } else { BOUNDS_US.partition_point(|bound| *bound < us) }
}

/// Adds to a number that no other thread changes meanwhile.
fn add_alone(number: &AtomicU64, more: u64) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl HistogramCounts {
    /// Returns how many were observed.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the upper bound of each bucket, in seconds, with its own count alone; the last bound is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        bounds.zip(self.counts)
    }
}

impl std::ops::AddAssign for HistogramCounts {
    fn add_assign(&mut self, other: Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_the_first_bucket_that_it_fits() {
        let histogram = Histogram::default();
        [0, 250, 251].into_iter().for_each(|us| histogram.observe_us(us));
        histogram.observe_us_alone(60_000_001);
        let mut counts = histogram.read();
        let filled: Vec<_> = counts.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.000_25, 2), (0.000_5, 1), (f64::INFINITY, 1)]);
        assert_eq!((counts.count(), counts.sum), (4, 60.000_502));
        counts += histogram.read();
        assert_eq!(counts.count(), 8);
    }
}
