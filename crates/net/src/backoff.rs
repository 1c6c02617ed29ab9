//! The wait before the next attempt to connect.
//!
//! Plain data: whoever connects asks it for a wait, and sleeps for as long.

use std::time::Duration;

use rand::RngExt;

/// Growing, jittered waits: each is drawn between half and the whole of a
/// length that doubles from `first` up to `longest`.
///
/// The original waits exactly one second, for ever, so all its workers return
/// to a restarted register in the same instant.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits from `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next wait, drawn at random.
    pub fn next_wait(&mut self) -> Duration {
        self.next_wait_at(rand::rng().random_range(0.0..=1.0))
    }

    /// The next wait, at `jitter` between 0, half of its length, and 1, the whole.
    ///
    /// # Panics
    /// When `jitter` is negative or not finite.
    pub fn next_wait_at(&mut self, jitter: f64) -> Duration {
        let wait = self.next.mul_f64(0.5 + jitter / 2.0);
        self.next = (self.next * 2).min(self.longest);
        wait
    }

    /// Starts again at `first`: the last attempt was a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

impl Default for Backoff {
    /// From one second to five.
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));
        for longest in [1.0, 2.0, 4.0, 4.0] {
            let wait = backoff.next_wait().as_secs_f64();
            assert!((longest / 2.0..=longest).contains(&wait), "{wait} s of at most {longest} s");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_secs(1));
    }
}
