//! When one link of an epoch has shown last that its gateway lives and has not ended the epoch.
//!
//! `epoch` has one for each of the two links, and the reader of the link writes it. Plain data that several
//! threads read; the time is an argument.

use std::sync::atomic::{AtomicU64, Ordering};

/// The time of the last read of a link that is not read, and is not to be judged by that.
const ALWAYS: u64 = u64::MAX;

/// What was heard on a link.
#[derive(Debug)]
pub(super) struct Hearing {
    /// When something was read last.
    read_ms: AtomicU64,
    /// When something was read last that had just come.
    heard_ms: AtomicU64,
}

impl Hearing {
    /// A link that is heard at `now_ms`.
    pub(super) fn new(now_ms: u64) -> Self {
        Self { read_ms: AtomicU64::new(now_ms), heard_ms: AtomicU64::new(now_ms) }
    }

    /// Notes that something was read at `now_ms`; `was_read_out` says that an attempt to read has found
    /// nothing since the read before. Returns whether it had just come: not longer than `silence_ms` ago.
    ///
    /// After a long silence the first bytes say nothing: this process may have been stopped, and they may
    /// have come long ago, with the end of the link behind them. What comes after all that has been read
    /// is younger than the read before.
    pub(super) fn note(&self, now_ms: u64, was_read_out: bool, silence_ms: u64) -> bool {
        let read_before = self.read_ms.swap(now_ms, Ordering::Relaxed);
        let is_near = |then_ms: u64| now_ms.saturating_sub(then_ms) <= silence_ms;
        let heard_before = self.heard_ms.load(Ordering::Relaxed);
        let has_come = is_near(heard_before) || (was_read_out && is_near(read_before));
        if has_come && heard_before != now_ms {
            self.heard_ms.store(now_ms, Ordering::SeqCst);
        }
        has_come
    }

    /// Whether something has come that was read within `silence_ms` before `now_ms`.
    pub(super) fn is_heard(&self, now_ms: u64, silence_ms: u64) -> bool {
        now_ms.saturating_sub(self.heard_ms.load(Ordering::SeqCst)) <= silence_ms
    }

    /// Returns for how long nothing was read at `now_ms`, in milliseconds; 0 while the link is not read.
    pub(super) fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.read_ms.load(Ordering::Relaxed))
    }

    /// Notes that the link is not read for now.
    pub(super) fn pause(&self) {
        self.read_ms.store(ALWAYS, Ordering::Relaxed);
    }

    /// Notes that the link is read again, from `now_ms`.
    pub(super) fn resume(&self, now_ms: u64) {
        self.read_ms.store(now_ms, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE_MS: u64 = 5_000;

    #[test]
    fn bytes_that_may_have_come_while_this_process_was_stopped_are_no_sign_of_life() {
        let link = Hearing::new(0);
        assert!(!link.note(60_000, true, SILENCE_MS), "it waited for them before it was stopped");
        assert!(!link.note(60_001, false, SILENCE_MS), "they had come, too");
        // It was stopped again.
        assert!(!link.note(120_000, true, SILENCE_MS));
        assert!(!link.is_heard(120_000, SILENCE_MS));
        assert_eq!(link.silent_ms(120_000), 0, "but nothing says that the gateway is dead");
        assert!(link.note(120_500, true, SILENCE_MS));
        assert!(link.is_heard(120_500, SILENCE_MS));
    }

    #[test]
    fn a_link_that_is_not_read_seems_neither_dead_nor_alive() {
        let link = Hearing::new(0);
        link.pause();
        assert!(!link.is_heard(60_000, SILENCE_MS));
        assert_eq!(link.silent_ms(60_000), 0);
        link.resume(60_000);
        assert!(!link.is_heard(60_000, SILENCE_MS));
        assert!(!link.note(60_000, false, SILENCE_MS), "it waited in the socket");
        assert!(link.note(60_100, true, SILENCE_MS));
        assert_eq!(link.silent_ms(60_200), 100);
    }
}
