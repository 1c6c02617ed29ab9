//! Whether the gateway is unheard: no register has heard of it for so long that workers may have taken it
//! for lost.
//!
//! A worker does that when its link is gone, and no register lists the gateway, for `gateway_lost_after_ms`. The
//! gateway cannot know whether one has, but that it was unheard itself: it was cut off from all registers, or its
//! process was stopped. Unlike `isolation_timer`, this timer counts the time for which the process did not run:
//! the workers ran meanwhile.
//!
//! Plain data: `server` calls [`tick`](UnheardTimer::tick), and passes the verdict on to the shards, which mark
//! closes by it (`isolation`).

use std::time::Duration;

/// A tick that is later than so many intervals shows that the process did not run. What it has read since may
/// have been sent long before.
const LATE_TICKS: u64 = 3;

/// Looks for whether the gateway is unheard.
#[derive(Debug)]
pub struct UnheardTimer {
    after_ms: u64,
    settling_ms: u64,
    late_ms: u64,
    ticked_ms: Option<u64>,
    /// When it was in touch with a register last, and awake.
    heard_ms: u64,
    /// A register has known the gateway: before that no worker does.
    was_announced: bool,
    is_unheard: bool,
    /// Until then the verdict stays.
    until_ms: u64,
}

impl UnheardTimer {
    /// The timer of a gateway that is unheard after `after` without a register. It is heard again when it was in
    /// touch for `settling`, with a worker: by then it has noticed which links had not outlived that time, and
    /// their clients are other workers'. `tick` is the time between two ticks.
    pub fn new(after: Duration, settling: Duration, tick: Duration) -> Self {
        let [after_ms, settling_ms, tick_ms] = [after, settling, tick].map(|time| time.as_millis() as u64);
        Self {
            after_ms,
            settling_ms,
            late_ms: LATE_TICKS * tick_ms,
            ticked_ms: None,
            heard_ms: 0,
            was_announced: false,
            is_unheard: false,
            until_ms: 0,
        }
    }

    /// Notes whether the gateway is in touch with a register, and a worker is linked, at `now_ms`, a clock that
    /// runs while the process does not. Returns whether the gateway is unheard when that has changed.
    pub fn tick(&mut self, in_touch: bool, has_worker: bool, now_ms: u64) -> Option<bool> {
        let ticked_ms = self.ticked_ms.replace(now_ms).unwrap_or(now_ms);
        let was_awake = now_ms.saturating_sub(ticked_ms) <= self.late_ms;
        if was_awake && (in_touch || !self.was_announced) {
            self.heard_ms = now_ms;
        }
        self.was_announced |= in_touch;
        // Since the tick before, a register may have come to know it and may have forgotten it again.
        let may_be_known = self.was_announced || !was_awake;
        let is_silent = may_be_known && now_ms.saturating_sub(self.heard_ms) >= self.after_ms;
        if is_silent || (self.is_unheard && !has_worker) {
            self.until_ms = now_ms + self.settling_ms;
        }
        let is_unheard = now_ms < self.until_ms;
        (std::mem::replace(&mut self.is_unheard, is_unheard) != is_unheard).then_some(is_unheard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer_before_any_tick() -> UnheardTimer {
        let [after, settling, tick] = [20, 10, 1].map(Duration::from_secs);
        UnheardTimer::new(after, settling, tick)
    }

    fn timer() -> UnheardTimer {
        let mut timer = timer_before_any_tick();
        // The first tick finds any clock.
        assert_eq!(timer.tick(true, true, 1_000_000), None);
        timer
    }

    /// Returns the verdicts of ticks at these seconds after the first.
    fn verdicts(
        timer: &mut UnheardTimer,
        in_touch: bool,
        has_worker: bool,
        seconds: std::ops::RangeInclusive<u64>,
    ) -> Vec<(u64, bool)> {
        let verdict = |second| Some((second, timer.tick(in_touch, has_worker, 1_000_000 + second * 1000)?));
        seconds.filter_map(verdict).collect()
    }

    #[test]
    fn a_gateway_without_a_register_is_unheard_after_a_while_though_it_has_a_worker() {
        let mut timer = timer();
        assert_eq!(verdicts(&mut timer, false, true, 1..=100), [(20, true)]);
    }

    #[test]
    fn a_gateway_is_heard_again_when_its_links_had_time_to_end() {
        let mut timer = timer();
        assert_eq!(verdicts(&mut timer, false, true, 1..=30), [(20, true)]);
        assert_eq!(verdicts(&mut timer, true, true, 31..=100), [(40, false)]);
    }

    #[test]
    fn a_gateway_without_a_worker_stays_unheard_until_one_is_linked() {
        let mut timer = timer();
        assert_eq!(verdicts(&mut timer, false, false, 1..=30), [(20, true)]);
        assert_eq!(verdicts(&mut timer, true, false, 31..=100), []);
        assert_eq!(verdicts(&mut timer, true, true, 101..=200), [(110, false)]);
    }

    #[test]
    fn a_gateway_that_did_not_run_was_unheard_whatever_it_reads_when_it_awakes() {
        let mut timer = timer();
        assert_eq!(verdicts(&mut timer, true, true, 1..=5), []);
        assert_eq!(verdicts(&mut timer, true, true, 25..=25), [(25, true)]);
        assert_eq!(verdicts(&mut timer, true, true, 26..=100), [(35, false)]);
    }

    #[test]
    fn the_time_without_a_register_and_the_time_asleep_count_together() {
        let mut timer = timer();
        assert_eq!(verdicts(&mut timer, false, true, 1..=10), []);
        assert_eq!(verdicts(&mut timer, true, true, 20..=20), [(20, true)]);
    }

    #[test]
    fn a_register_that_is_heard_now_and_then_is_enough_and_so_is_a_short_sleep() {
        let mut timer = timer();
        for second in 1..100 {
            assert_eq!(timer.tick(second % 19 == 0, true, 1_000_000 + second * 1000), None);
        }
        assert_eq!(verdicts(&mut timer, true, true, 100..=101), []);
        assert_eq!(verdicts(&mut timer, true, true, 120..=200), []);
    }

    #[test]
    fn a_gateway_that_no_register_has_ever_known_is_not_unheard() {
        let mut timer = timer_before_any_tick();
        assert_eq!(verdicts(&mut timer, false, false, 1..=1000), []);
        assert_eq!(verdicts(&mut timer, true, true, 1001..=1200), []);
    }

    #[test]
    fn a_gateway_that_was_stopped_in_its_first_second_was_unheard() {
        let mut timer = timer_before_any_tick();
        assert_eq!(timer.tick(false, false, 1_000_000), None);
        // Its register has given it up meanwhile, which it may find out before it ticks, or behind.
        assert_eq!(timer.tick(false, true, 1_060_000), Some(true));
        assert_eq!(verdicts(&mut timer, true, true, 61..=100), [(70, false)]);
    }
}
