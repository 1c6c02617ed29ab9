//! A histogram of latencies, in bounded memory. Its buckets grow with the value: a percentile is exact to 1/64 of its
//! value, for any number of values. The cases record, `report` gets the percentiles.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets per power of two.
const STEPS: u64 = 64;

/// Counts of nanosecond values.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { counts: vec![0; bucket(u64::MAX) + 1], total: 0, max: 0 }
    }

    /// Adds one value.
    pub(crate) fn record(&mut self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds the values of another one.
    pub(crate) fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| *count += other);
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The number of values.
    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// Removes all values.
    pub(crate) fn clear(&mut self) {
        *self = Histogram::new();
    }

    /// Returns the percentile in microseconds; 0 without values.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let rank = ((self.total as f64 * percent / 100.0).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index).min(self.max) as f64 / 1000.0;
            }
        }
        0.0
    }

    /// Returns the largest value in microseconds; 0 without values.
    pub(crate) fn max(&self) -> f64 {
        self.max as f64 / 1000.0
    }
}

/// The bucket of a value. Each value below `STEPS` has its own; above, each power of two has `STEPS` buckets.
fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = u64::from(value.ilog2() - STEPS.ilog2());
    ((shift * STEPS) + (value >> shift)) as usize
}

/// The largest value of a bucket.
fn upper(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    let first = (index - shift * STEPS) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let mut before = 0;
        for value in (0..100_000).chain((5..63).map(|power| 1 << power)).chain([u64::MAX]) {
            let index = bucket(value);
            assert!(upper(index) >= value, "{value}");
            assert!(index == 0 || upper(index - 1) < value, "{value}");
            assert!(upper(index) - value <= value / STEPS, "{value}");
            assert!(value < 100_000 || index >= before);
            before = index;
        }
    }

    #[test]
    fn percentiles_are_ranks() {
        let mut histogram = Histogram::new();
        for micros in 1..=100 {
            histogram.record(Duration::from_micros(micros));
        }
        for (percent, micros) in [(1.0, 1.0), (50.0, 50.0), (99.0, 99.0), (100.0, 100.0)] {
            let found = histogram.percentile(percent);
            assert!((found - micros).abs() <= micros / 64.0, "p{percent} is {found}");
        }
        assert_eq!(histogram.max(), 100.0);
    }

    #[test]
    fn nothing_recorded_is_zero() {
        assert_eq!(Histogram::new().percentile(99.0), 0.0);
    }

    #[test]
    fn one_slow_value_is_the_last_percentile_only() {
        let mut histogram = Histogram::new();
        (0..999).for_each(|_| histogram.record(Duration::from_micros(10)));
        histogram.record(Duration::from_secs(2));
        assert!(histogram.percentile(99.9) < 11.0);
        assert_eq!(histogram.percentile(100.0), 2_000_000.0);
    }
}
