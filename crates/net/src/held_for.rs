//! How long a condition has held without a break, in time that this process was awake.
//!
//! Plain data. A worker asks it whether a gateway is lost, a gateway whether it is isolated: both
//! call [`HeldFor::tick`] about once a second.

use std::time::Duration;

/// The most that one tick counts, in milliseconds.
const LONGEST_TICK_MS: u64 = 1_000;

/// Counts for how long a condition has held.
///
/// A tick counts as one second at most. So a process that was stopped, or whose host slept, does
/// not conclude anything from the time in which it could not look.
#[derive(Debug, Clone)]
pub struct HeldFor {
    limit_ms: u64,
    held_ms: u64,
    /// When it was looked at last, if the condition held then.
    last_ms: Option<u64>,
}

impl HeldFor {
    /// A counter that is full when its condition has held for `limit`.
    pub fn new(limit: Duration) -> Self {
        Self { limit_ms: limit.as_millis().try_into().unwrap_or(u64::MAX), held_ms: 0, last_ms: None }
    }

    /// Notes whether the condition holds at `now_ms`, milliseconds since any start. Returns whether
    /// it has held for the limit. A condition that does not hold starts the count anew.
    ///
    /// Call it at least once a second: of a longer tick only one second counts.
    pub fn tick(&mut self, now_ms: u64, holds: bool) -> bool {
        if !holds {
            (self.held_ms, self.last_ms) = (0, None);
            return false;
        }
        if let Some(last_ms) = self.last_ms.replace(now_ms) {
            self.held_ms += now_ms.saturating_sub(last_ms).min(LONGEST_TICK_MS);
        }
        self.held_ms >= self.limit_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_full_when_the_condition_has_held_for_the_limit() {
        let mut held = HeldFor::new(Duration::from_secs(3));
        for (now_ms, full) in
            [(10_000, false), (11_000, false), (12_000, false), (12_999, false), (13_000, true)]
        {
            assert_eq!(held.tick(now_ms, true), full, "at {now_ms}");
        }
    }

    #[test]
    fn a_break_starts_the_count_anew() {
        let mut held = HeldFor::new(Duration::from_secs(2));
        assert!(!held.tick(0, true));
        assert!(!held.tick(1_000, true));
        assert!(!held.tick(1_500, false));
        assert!(!held.tick(2_000, true));
        assert!(!held.tick(3_000, true));
        assert!(held.tick(4_000, true));
    }

    #[test]
    fn the_time_in_which_the_process_was_stopped_does_not_count() {
        let mut held = HeldFor::new(Duration::from_secs(3));
        held.tick(0, true);
        assert!(!held.tick(3_600_000, true), "an hour in one tick counts as a second");
        assert!(!held.tick(3_601_000, true));
        assert!(held.tick(3_602_000, true));
    }
}
