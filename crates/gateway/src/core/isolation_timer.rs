//! Whether the gateway is cut off: it was announced, and then has had no worker and no register for
//! `isolated_after_ms`.
//!
//! Its clients cannot be served any more, and pages that stay connected do not turn to another
//! gateway. So they are closed. Plain data: `server` calls [`tick`](IsolationTimer::tick) every second, and
//! passes the verdict on to the shards, which close their clients (`isolation`). The time is counted by [`HeldFor`], so that a process that slept
//! does not conclude anything from the time that has passed.

use std::time::Duration;

use gatewayworker_net::HeldFor;

use super::isolation::Isolated;

/// Counts how long the gateway has been alone.
#[derive(Debug)]
pub struct IsolationTimer {
    alone: HeldFor,
    /// A register has known the gateway: before that it waits for its cluster.
    was_announced: bool,
    /// What was concluded since the gateway was alone.
    said: Option<Isolated>,
}

impl IsolationTimer {
    /// The timer of a gateway that starts now.
    pub fn new(after: Duration) -> Self {
        Self { alone: HeldFor::new(after), was_announced: false, said: None }
    }

    /// Counts the time since the last tick, by who is there now. Returns whose clients to close, in two
    /// steps with a tick between them, and nothing more until a worker or register has been there.
    pub fn tick(&mut self, has_register: bool, has_worker: bool, now_ms: u64) -> Option<Isolated> {
        self.was_announced |= has_register;
        let is_alone = self.was_announced && !has_register && !has_worker;
        if !self.alone.tick(now_ms, is_alone) {
            if !is_alone {
                self.said = None;
            }
            return None;
        }
        let next = match self.said {
            None => Isolated::TakenOver,
            Some(Isolated::TakenOver) => Isolated::All,
            Some(Isolated::All) => return None,
        };
        self.said = Some(next);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isolation() -> IsolationTimer {
        IsolationTimer::new(Duration::from_secs(20))
    }

    /// Returns the verdicts of a gateway that is alone for so many seconds, with their seconds.
    fn alone(isolation: &mut IsolationTimer, seconds: std::ops::RangeInclusive<u64>) -> Vec<(u64, Isolated)> {
        let verdict = |second| Some((second, isolation.tick(false, false, second * 1000)?));
        seconds.filter_map(verdict).collect()
    }

    #[test]
    fn clients_that_were_taken_over_are_closed_first_and_then_all_others() {
        let mut isolation = isolation();
        assert_eq!(isolation.tick(true, false, 0), None);
        let verdicts = [(21, Isolated::TakenOver), (22, Isolated::All)];
        assert_eq!(alone(&mut isolation, 1..=100), verdicts);
        // And again, once it was not alone.
        assert_eq!(isolation.tick(false, true, 101_000), None);
        assert_eq!(alone(&mut isolation, 102..=130), [(122, Isolated::TakenOver), (123, Isolated::All)]);
    }

    #[test]
    fn a_worker_or_a_register_is_enough() {
        let mut isolation = isolation();
        for second in 0..100 {
            assert_eq!(isolation.tick(second % 20 == 0, second % 20 == 10, second * 1000), None);
        }
    }

    #[test]
    fn a_gateway_that_no_register_has_ever_known_waits() {
        let mut isolation = isolation();
        assert_eq!(alone(&mut isolation, 1..=1000), []);
    }

    #[test]
    fn a_process_that_slept_concludes_nothing_from_it() {
        let mut isolation = isolation();
        isolation.tick(true, true, 0);
        assert_eq!(isolation.tick(false, false, 3_600_000), None);
        assert_eq!(alone(&mut isolation, 3601..=3619), []);
        assert_eq!(alone(&mut isolation, 3620..=3620), [(3620, Isolated::TakenOver)]);
    }
}
