//! [`ClockCheck`]: whether this host's clock is the one that is wrong, when the times of others do not fit it.
//!
//! `serving.rs` tells it the time of each announcement. A worker whose clock is wrong rejects all that other clusters send, so it must
//! hold no partition. It cannot know the true time; it goes by the majority.

use std::collections::BTreeMap;

use super::inbound::MAX_AGE_MS;

/// What a process said counts for so long, in ms.
const FRESH_MS: u64 = 10_000;

/// So many processes are kept. Those beyond that are not asked for their opinion.
const MAX_PROCESSES: usize = 1_024;

/// The times of other processes.
#[derive(Debug, Default)]
pub(crate) struct ClockCheck {
    processes: BTreeMap<u64, Said>,
}

#[derive(Debug)]
struct Said {
    heard_ms: u64,
    /// Its clock and ours differ by more than messages may be old.
    is_off: bool,
}

impl ClockCheck {
    /// Notes the time that another process has said.
    pub(crate) fn hear(&mut self, process: u64, said_unix_ms: u64, unix_ms: u64, now_ms: u64) {
        self.forget(now_ms);
        if self.processes.len() < MAX_PROCESSES || self.processes.contains_key(&process) {
            let is_off = said_unix_ms.abs_diff(unix_ms) > MAX_AGE_MS;
            self.processes.insert(process, Said { heard_ms: now_ms, is_off });
        }
    }

    /// How many processes have another time.
    pub(crate) fn off(&mut self, now_ms: u64) -> usize {
        self.forget(now_ms);
        self.processes.values().filter(|said| said.is_off).count()
    }

    /// Whether more processes have another time than have this one, this process included.
    pub(crate) fn own_is_wrong(&mut self, now_ms: u64) -> bool {
        let off = self.off(now_ms);
        off > self.processes.len() - off + 1
    }

    fn forget(&mut self, now_ms: u64) {
        self.processes.retain(|_, said| now_ms < said.heard_ms + FRESH_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX_MS: u64 = 1_700_000_000_000;

    #[test]
    fn the_clock_that_differs_from_most_is_the_wrong_one() {
        let mut clock = ClockCheck::default();
        assert!(!clock.own_is_wrong(0), "nobody says otherwise");
        clock.hear(1, UNIX_MS + MAX_AGE_MS + 1, UNIX_MS, 0);
        assert!(!clock.own_is_wrong(0), "of two clocks nobody knows which is right");
        assert_eq!(clock.off(0), 1);
        clock.hear(2, UNIX_MS + MAX_AGE_MS + 7, UNIX_MS, 0);
        assert!(clock.own_is_wrong(0));
        clock.hear(3, UNIX_MS - MAX_AGE_MS, UNIX_MS, 1);
        assert!(!clock.own_is_wrong(1));
        assert_eq!(clock.off(FRESH_MS), 0, "what was said long ago does not count");
    }
}
