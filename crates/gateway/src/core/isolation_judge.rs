//! Whether the gateway is cut off: it was announced, and then has had no worker and no register for
//! `isolated_after_ms`.
//!
//! Its clients cannot be served any more, and pages that stay connected do not turn to another
//! gateway. So they are closed. Plain data: `server` calls [`tick`](Isolation::tick) every second, and
//! passes the verdict on to the shards. The time is counted in ticks, so that a process that slept
//! does not conclude anything from the time that has passed.

use super::isolation::Isolated;

/// The most that counts between two ticks, in milliseconds.
const MAX_TICK_MS: u64 = 1000;

/// The judge of the gateway's isolation.
#[derive(Debug)]
pub struct Isolation {
    /// 0: it never concludes.
    after_ms: u64,
    /// A register has known the gateway: before that it waits for its cluster.
    was_announced: bool,
    last_tick_ms: u64,
    alone_ms: u64,
    said: Said,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    TakenOver,
    All,
}

impl Isolation {
    /// The judge of a gateway that starts now.
    pub fn new(after_ms: u64, now_ms: u64) -> Self {
        Self { after_ms, was_announced: false, last_tick_ms: now_ms, alone_ms: 0, said: Said::Nothing }
    }

    /// Counts the time since the last tick, by who is there now. Returns whose clients to close, in two
    /// steps with a tick between them, and nothing more until a worker or register has been there.
    pub fn tick(&mut self, has_register: bool, has_worker: bool, now_ms: u64) -> Option<Isolated> {
        let passed_ms = now_ms.saturating_sub(self.last_tick_ms).min(MAX_TICK_MS);
        self.last_tick_ms = now_ms;
        if has_register || has_worker {
            self.was_announced |= has_register;
            (self.alone_ms, self.said) = (0, Said::Nothing);
            return None;
        }
        if !self.was_announced || self.after_ms == 0 {
            return None;
        }
        self.alone_ms += passed_ms;
        if self.alone_ms < self.after_ms {
            return None;
        }
        let (said, verdict) = match self.said {
            Said::Nothing => (Said::TakenOver, Some(Isolated::TakenOver)),
            Said::TakenOver => (Said::All, Some(Isolated::All)),
            Said::All => (Said::All, None),
        };
        self.said = said;
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the verdicts of a gateway that is alone for so many seconds, with their seconds.
    fn alone(isolation: &mut Isolation, seconds: std::ops::RangeInclusive<u64>) -> Vec<(u64, Isolated)> {
        let verdict = |second| Some((second, isolation.tick(false, false, second * 1000)?));
        seconds.filter_map(verdict).collect()
    }

    #[test]
    fn clients_that_were_taken_over_are_closed_first_and_then_all_others() {
        let mut isolation = Isolation::new(20_000, 0);
        assert_eq!(isolation.tick(true, false, 0), None);
        let verdicts = [(20, Isolated::TakenOver), (21, Isolated::All)];
        assert_eq!(alone(&mut isolation, 1..=100), verdicts);
        // And again, once it was not alone.
        assert_eq!(isolation.tick(false, true, 101_000), None);
        assert_eq!(alone(&mut isolation, 102..=130), [(121, Isolated::TakenOver), (122, Isolated::All)]);
    }

    #[test]
    fn a_worker_or_a_register_is_enough() {
        let mut isolation = Isolation::new(20_000, 0);
        for second in 0..100 {
            assert_eq!(isolation.tick(second % 20 == 0, second % 20 == 10, second * 1000), None);
        }
    }

    #[test]
    fn a_gateway_that_no_register_has_ever_known_waits() {
        let mut isolation = Isolation::new(20_000, 0);
        assert_eq!(alone(&mut isolation, 1..=1000), []);
    }

    #[test]
    fn zero_stands_for_never() {
        let mut isolation = Isolation::new(0, 0);
        isolation.tick(true, true, 0);
        assert_eq!(alone(&mut isolation, 1..=1000), []);
    }

    #[test]
    fn a_process_that_slept_concludes_nothing_from_it() {
        let mut isolation = Isolation::new(20_000, 0);
        isolation.tick(true, true, 0);
        assert_eq!(isolation.tick(false, false, 3_600_000), None);
        assert_eq!(alone(&mut isolation, 3601..=3618), []);
        assert_eq!(alone(&mut isolation, 3619..=3619), [(3619, Isolated::TakenOver)]);
    }
}
