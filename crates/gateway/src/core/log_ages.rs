//! Since when the event logs of a shard have had the first event that they have, as numbers of logs by second.
//!
//! It answers how long the longest wait is without a look at the logs. `event_log` keeps it.

use std::collections::VecDeque;

/// Waits that are longer count as so long, in seconds: a day.
const LONGEST_S: u64 = 24 * 3600;

/// How many logs have waited since each second.
#[derive(Debug, Default)]
pub(super) struct LogAges {
    now_s: u64,
    /// The second of the first number. The first number is not 0.
    first_s: u64,
    counts: VecDeque<u32>,
}

impl LogAges {
    /// Sets the time, which does not go back.
    #[inline]
    pub(super) fn set_now(&mut self, now_s: u64) {
        self.now_s = self.now_s.max(now_s);
    }

    /// Counts a log that waits from now on. Returns the second, to be given to [`remove`](Self::remove).
    #[inline]
    pub(super) fn add(&mut self) -> u64 {
        if self.counts.is_empty() {
            self.first_s = self.now_s;
        }
        while self.now_s - self.first_s >= LONGEST_S
            && let Some(oldest) = self.counts.pop_front()
        {
            self.first_s += 1;
            match self.counts.front_mut() {
                Some(next) => *next += oldest,
                None => self.counts.push_back(oldest),
            }
        }
        let at = (self.now_s - self.first_s) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        self.now_s
    }

    /// Takes a log out that has waited since a second.
    #[inline]
    pub(super) fn remove(&mut self, since_s: u64) {
        let at = since_s.saturating_sub(self.first_s) as usize;
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_sub(1);
        }
        while self.counts.front() == Some(&0) {
            self.counts.pop_front();
            self.first_s += 1;
        }
    }

    /// Returns how long the log has waited that waits longest, in seconds.
    pub(super) fn oldest_s(&self) -> u64 {
        if self.counts.is_empty() { 0 } else { self.now_s - self.first_s }
    }

    /// Returns how many logs wait.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn len(&self) -> usize {
        self.counts.iter().map(|count| *count as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_the_first_that_is_left() {
        let mut ages = LogAges::default();
        assert_eq!(ages.oldest_s(), 0);
        ages.set_now(10);
        let first = ages.add();
        ages.set_now(15);
        let (second, third) = (ages.add(), ages.add());
        ages.set_now(20);
        assert_eq!(ages.oldest_s(), 10);
        ages.remove(first);
        assert_eq!(ages.oldest_s(), 5);
        ages.remove(third);
        assert_eq!((ages.oldest_s(), ages.len()), (5, 1));
        ages.remove(second);
        assert_eq!((ages.oldest_s(), ages.len()), (0, 0));
        ages.add();
        ages.set_now(1);
        assert_eq!(ages.oldest_s(), 0, "time does not go back");
    }

    #[test]
    fn a_wait_without_end_takes_memory_for_a_day_only() {
        let mut ages = LogAges::default();
        let first = ages.add();
        for day in 1..=3 {
            ages.set_now(day * LONGEST_S);
            ages.add();
            assert!(ages.counts.len() as u64 <= LONGEST_S, "{}", ages.counts.len());
            assert_eq!((ages.oldest_s(), ages.len() as u64), (LONGEST_S - 1, day + 1));
        }
        ages.remove(first);
        assert_eq!(ages.len(), 3);
    }
}
