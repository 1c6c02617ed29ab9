//! When each client is closed as the gateway stops.
//!
//! Plain data, without a clock. The clients of all shards together are closed evenly:
//! each shard has the same interval between two of its own, and begins a part of that
//! later than the shard before it.

use std::time::Duration;

/// The schedule of one shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// Within so much time all are closed.
    pub(super) spread: Duration,
    /// How many clients the shard has.
    pub(super) clients: usize,
    /// Which of the shards it is, from 0,
    pub(super) shard: usize,
    /// of how many.
    pub(super) shards: usize,
}

impl Schedule {
    /// When the client number `n`, from 0, is closed, counted from the beginning.
    pub(super) fn at(&self, n: usize) -> Duration {
        let nanos = self.spread.as_nanos();
        let (shards, clients) = (self.shards.max(1) as u128, self.clients.max(1) as u128);
        // (n + shard / shards) intervals of spread / clients.
        let at = nanos * (n as u128 * shards + self.shard as u128) / (clients * shards);
        Duration::from_nanos(u64::try_from(at.min(nanos)).unwrap_or(u64::MAX))
    }

    /// How many clients are to be closed when so much time has passed.
    pub(super) fn due(&self, elapsed: Duration) -> usize {
        if elapsed >= self.spread {
            return self.clients;
        }
        let mut due = (self.clients as u128 * elapsed.as_nanos() / self.spread.as_nanos()) as usize;
        // That was rounded down, and knows nothing of the shard's part: two more at most.
        while due < self.clients && self.at(due) <= elapsed {
            due += 1;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedules(spread_ms: u64, clients: &[usize]) -> Vec<Schedule> {
        let spread = Duration::from_millis(spread_ms);
        let shards = clients.len();
        (0..).zip(clients).map(|(shard, &clients)| Schedule { spread, clients, shard, shards }).collect()
    }

    #[test]
    fn all_shards_together_close_evenly() {
        for clients in [&[200][..], &[100, 100], &[50, 50, 50, 50], &[90, 110], &[1, 199]] {
            let schedules = schedules(2000, clients);
            let due = |ms| -> usize {
                schedules.iter().map(|schedule| schedule.due(Duration::from_millis(ms))).sum()
            };
            for ms in (0..2000).step_by(10) {
                let expected = ms as usize / 10;
                assert!(due(ms).abs_diff(expected) <= clients.len(), "{clients:?}: {} at {ms} ms", due(ms));
                // No burst: two in ten milliseconds at most, or one of each shard.
                assert!(due(ms + 10) - due(ms) <= clients.len().max(2), "{clients:?}: at {ms} ms");
            }
            assert_eq!(due(2000), 200);
        }
    }

    #[test]
    fn a_client_is_due_exactly_from_its_time_on() {
        for schedule in schedules(1000, &[7, 1, 100_000]) {
            for n in 0..schedule.clients.min(1000) {
                let at = schedule.at(n);
                assert!(schedule.due(at) > n, "{schedule:?}: client {n} at {at:?}");
                if let Some(before) = at.checked_sub(Duration::from_micros(1)) {
                    assert!(schedule.due(before) <= n, "{schedule:?}: client {n} before {at:?}");
                }
            }
        }
    }

    #[test]
    fn without_a_spread_all_are_due_at_once() {
        let schedule = schedules(0, &[5])[0];
        assert_eq!(schedule.due(Duration::ZERO), 5);
        assert_eq!(schedule.at(3), Duration::ZERO);
        assert_eq!(schedules(1000, &[0])[0].due(Duration::ZERO), 0);
    }
}
