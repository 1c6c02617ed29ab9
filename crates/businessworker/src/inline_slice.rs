//! The time slice in which the reader of a link runs handlers inline, in its own task.
//!
//! Most handlers are done in a few microseconds, and then running them where the event
//! was read is cheapest. One that computes, or even blocks, would hold up all other events
//! of the link: after it comes a cooldown, in which handlers run in tasks of the
//! application. `link` asks before each event; nothing waits in here.

use std::time::Duration;

use tokio::time::Instant;

/// How long the reader runs handlers after each read. Where there is more to do, other
/// threads can help.
const SLICE: Duration = Duration::from_millis(1);

/// A handler that takes longer is slow, and costs a cooldown.
const SLOW: Duration = Duration::from_micros(100);

/// A handler that takes longer is slow even if the system preempted the thread meanwhile.
const CERTAINLY_SLOW: Duration = Duration::from_millis(20);

/// The cooldown is so many times as long as the slow handler: an application that computes,
/// or even blocks, may hold the reader up for a hundredth of its time.
const COOLDOWN_FACTOR: u32 = 100;

/// The longest cooldown.
const MAX_COOLDOWN: Duration = Duration::from_secs(10);

/// The reader's time slice, and the cooldown after a slow handler.
#[derive(Debug)]
pub(crate) struct InlineTimeSlice {
    until: Instant,
    /// The end of the handler that ran last, or the begin of the slice.
    last: Instant,
    cooldown_until: Instant,
    /// The preemptions of this thread before the slice began.
    preemptions: i64,
}

impl InlineTimeSlice {
    pub(crate) fn new(now: Instant) -> Self {
        Self { until: now, last: now, cooldown_until: now, preemptions: 0 }
    }

    /// Begins a slice, when a read has brought events or the reader has waited for room for
    /// one. Returns whether the reader may run the next handler inline.
    pub(crate) fn begin(&mut self, now: Instant, preemptions: i64) -> bool {
        self.until = now + SLICE;
        self.last = now;
        self.preemptions = preemptions;
        now >= self.cooldown_until
    }

    /// Takes note that a handler has run inline. Returns whether the reader may run the next
    /// one inline too.
    pub(crate) fn handler_ran(&mut self, now: Instant, preemptions: impl FnOnce() -> i64) -> bool {
        let took = now.saturating_duration_since(std::mem::replace(&mut self.last, now));
        // On a busy machine the thread may have lost the processor in the middle of a
        // quick handler, which is not the handler's fault.
        if took > SLOW && (took > CERTAINLY_SLOW || preemptions() == self.preemptions) {
            self.cooldown_until = now + took.saturating_mul(COOLDOWN_FACTOR).min(MAX_COOLDOWN);
            return false;
        }
        now < self.until
    }
}

/// Returns how often the system has preempted this thread so far; always 0 where the
/// system does not say.
#[cfg(target_os = "linux")]
pub(crate) fn preemptions() -> i64 {
    use nix::sys::resource::{UsageWho, getrusage};
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

/// Returns how often the system has preempted this thread so far; always 0 where the
/// system does not say.
#[cfg(not(target_os = "linux"))]
pub(crate) fn preemptions() -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_runs_handlers_for_a_moment_and_has_a_cooldown_after_a_slow_one() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut slice = InlineTimeSlice::new(start);
        assert!(slice.begin(at(0), 0));
        for micros in (50..1_000).step_by(50) {
            assert!(slice.handler_ran(at(micros), || 0));
        }
        assert!(!slice.handler_ran(at(1_040), || 0), "there is too much to do");
        assert!(slice.begin(at(1_050), 0));
        assert!(!slice.handler_ran(at(2_050), || 0), "one was slow");
        assert!(!slice.begin(at(50_000), 0), "one of a millisecond costs a tenth of a second");
        assert!(slice.begin(at(102_050), 0));
    }

    #[test]
    fn a_handler_is_not_to_blame_for_a_wait_before_it() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut slice = InlineTimeSlice::new(start);
        slice.begin(at(0), 0);
        assert!(slice.handler_ran(at(50), || 0));
        // Three seconds without room.
        assert!(slice.begin(at(3_000_000), 0));
        assert!(slice.handler_ran(at(3_000_050), || 0), "the handler took 50 µs");
        assert!(slice.begin(at(3_000_100), 0), "and there is no cooldown for it");
    }

    #[test]
    fn a_handler_is_not_to_blame_for_a_preemption_unless_it_took_very_long() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut slice = InlineTimeSlice::new(start);
        slice.begin(at(0), 7);
        assert!(!slice.handler_ran(at(3), || 8), "the time is up");
        assert!(slice.begin(at(4), 8), "but there is no cooldown");
        assert!(!slice.handler_ran(at(30), || 9));
        assert!(!slice.begin(at(31), 9));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_computes_beside_others_is_preempted_in_the_end() {
        let before = preemptions();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 * cores {
                scope.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            while preemptions() == before && std::time::Instant::now() < deadline {}
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(preemptions() > before);
    }
}
