//! A deadline for what a peer sends, judged only by a process that was awake to read it.
//!
//! Plain data with the time as an argument. The register judges silent peers with it, daemons judge
//! silent registers.

use std::time::Duration;

/// A deadline that is noticed later than this shows that the process did not run.
const LATE_MS: u64 = 1_000;

/// The longest last look, in milliseconds.
const LAST_LOOK_MS: u64 = 1_000;

/// The time within which something has to arrive.
///
/// It passes in two steps: when the time is over, there is a last look of up to a second, in which
/// what has arrived is read. Whoever notices one of the two late did not run meanwhile (it was
/// stopped, or its host slept), and the time begins anew. So a process that wakes up reads first,
/// and takes nobody for dead because of its own sleep.
#[derive(Debug, Clone)]
pub struct AwakeDeadline {
    limit_ms: u64,
    at_ms: u64,
    is_last_look: bool,
}

impl AwakeDeadline {
    /// A deadline in `limit`, and the last look after it: a tenth of `limit`, one second at most.
    pub fn new(limit: Duration, now_ms: u64) -> Self {
        let limit_ms = limit.as_millis().try_into().unwrap_or(u64::MAX);
        Self { limit_ms, at_ms: now_ms.saturating_add(limit_ms), is_last_look: false }
    }

    /// Starts the time anew: what was awaited has arrived.
    pub fn restart(&mut self, now_ms: u64) {
        (self.at_ms, self.is_last_look) = (now_ms.saturating_add(self.limit_ms), false);
    }

    /// When to call [`has_passed`](Self::has_passed) next.
    pub fn next_deadline(&self) -> u64 {
        self.at_ms
    }

    /// Whether the time is over, with the last look. Reads nothing itself: the caller has read what
    /// had arrived before it waited for [`next_deadline`](Self::next_deadline).
    pub fn has_passed(&mut self, now_ms: u64) -> bool {
        let Some(late_ms) = now_ms.checked_sub(self.at_ms) else { return false };
        if late_ms > LATE_MS {
            self.restart(now_ms);
        } else if !self.is_last_look {
            self.is_last_look = true;
            self.at_ms = now_ms.saturating_add((self.limit_ms / 10).min(LAST_LOOK_MS));
        } else {
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline() -> AwakeDeadline {
        AwakeDeadline::new(Duration::from_secs(30), 0)
    }

    #[test]
    fn passes_after_the_time_and_a_last_look() {
        let mut deadline = deadline();
        assert!(!deadline.has_passed(29_999));
        assert!(!deadline.has_passed(30_000));
        assert_eq!(deadline.next_deadline(), 31_000);
        assert!(!deadline.has_passed(30_999));
        assert!(deadline.has_passed(31_000));
    }

    #[test]
    fn what_arrives_before_the_end_of_the_last_look_starts_the_time_anew() {
        let mut deadline = deadline();
        assert!(!deadline.has_passed(30_000));
        deadline.restart(30_999);
        assert!(!deadline.has_passed(31_000));
        assert_eq!(deadline.next_deadline(), 60_999);
    }

    #[test]
    fn a_process_that_slept_over_the_deadline_waits_anew() {
        let mut deadline = deadline();
        assert!(!deadline.has_passed(120_000));
        assert_eq!(deadline.next_deadline(), 150_000);
    }

    #[test]
    fn a_process_that_slept_during_the_last_look_waits_anew() {
        let mut deadline = deadline();
        assert!(!deadline.has_passed(30_000));
        assert!(!deadline.has_passed(90_000));
        assert_eq!(deadline.next_deadline(), 120_000);
    }
}
