//! How long the reader of a link goes on running handlers itself.
//!
//! Most handlers are done in a few microseconds, and then running them where the event
//! was read is cheapest. One that computes, or even blocks, would hold up all others of
//! the link: after such a one they go to tasks for a while.

use std::time::Duration;

use tokio::time::Instant;

/// How long the reader runs handlers after each read. Where there is more to do than
/// this, other threads can help.
const SLICE: Duration = Duration::from_millis(1);

/// A handler that takes longer is too much for the reader.
const TOO_LONG: Duration = Duration::from_micros(100);

/// A handler that took longer was too much, though the system may have a part in it.
const BEYOND_DOUBT: Duration = Duration::from_millis(20);

/// For so many times what such a handler took all others go to tasks: an application that
/// computes, or even blocks, may hold the reader up for a hundredth of its time.
const REST: u32 = 100;

/// But not for longer than this.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// What is left of the time in which the reader runs handlers itself.
#[derive(Debug)]
pub(crate) struct Slice {
    until: Instant,
    /// When the handler that ran last was done.
    last: Instant,
    rest_until: Instant,
    /// Preemptions of this thread before the slice began.
    preemptions: i64,
}

impl Slice {
    pub(crate) fn new(now: Instant) -> Self {
        Self { until: now, last: now, rest_until: now, preemptions: 0 }
    }

    /// A read has brought events, or the reader has waited for room for one: whether it
    /// may begin with them itself.
    pub(crate) fn begin(&mut self, now: Instant, preemptions: i64) -> bool {
        self.until = now + SLICE;
        self.last = now;
        self.preemptions = preemptions;
        now >= self.rest_until
    }

    /// A handler has run: whether the reader may run another.
    pub(crate) fn goes_on(&mut self, now: Instant, preemptions: impl FnOnce() -> i64) -> bool {
        let took = now.saturating_duration_since(std::mem::replace(&mut self.last, now));
        // On a busy machine the thread may have lost the processor in the middle of a
        // quick handler, which is not the handler's fault.
        if took > TOO_LONG && (took > BEYOND_DOUBT || preemptions() == self.preemptions) {
            self.rest_until = now + took.saturating_mul(REST).min(LONGEST_REST);
            return false;
        }
        now < self.until
    }
}

/// How often the system has taken the processor from this thread so far; 0 for ever
/// where it does not say.
#[cfg(target_os = "linux")]
pub(crate) fn preemptions() -> i64 {
    use nix::sys::resource::{UsageWho, getrusage};
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

/// How often the system has taken the processor from this thread so far; 0 for ever
/// where it does not say.
#[cfg(not(target_os = "linux"))]
pub(crate) fn preemptions() -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_runs_handlers_for_a_moment_and_rests_after_a_slow_one() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut slice = Slice::new(start);
        assert!(slice.begin(at(0), 0));
        for micros in (50..1_000).step_by(50) {
            assert!(slice.goes_on(at(micros), || 0));
        }
        assert!(!slice.goes_on(at(1_040), || 0), "there is too much to do");
        assert!(slice.begin(at(1_050), 0));
        assert!(!slice.goes_on(at(2_050), || 0), "one was slow");
        assert!(!slice.begin(at(50_000), 0), "one of a millisecond costs a tenth of a second");
        assert!(slice.begin(at(102_050), 0));
    }

    #[test]
    fn a_handler_is_not_to_blame_for_a_wait_before_it() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut slice = Slice::new(start);
        slice.begin(at(0), 0);
        assert!(slice.goes_on(at(50), || 0));
        // Three seconds without room.
        assert!(slice.begin(at(3_000_000), 0));
        assert!(slice.goes_on(at(3_000_050), || 0), "the handler took 50 µs");
        assert!(slice.begin(at(3_000_100), 0), "and nobody rests for it");
    }

    #[test]
    fn a_handler_is_not_to_blame_for_a_preemption_unless_it_took_very_long() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut slice = Slice::new(start);
        slice.begin(at(0), 7);
        assert!(!slice.goes_on(at(3), || 8), "the time is up");
        assert!(slice.begin(at(4), 8), "but it rests for nothing");
        assert!(!slice.goes_on(at(30), || 9));
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
