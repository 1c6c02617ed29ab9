//! [`ClockCheck`]: whether this host's clock is the one that is wrong, when the times of others do not fit it.
//!
//! `serving.rs` tells it the time of each announcement. A worker whose clock is wrong rejects all that other clusters send, so it must
//! hold no partition. It cannot know the true time; it goes by the majority.
//!
//! Something old that is played again says an old time, too. It counts only if its process has said nothing later, as its number tells.

use std::collections::BTreeMap;

use super::inbound::MAX_AGE_MS;

/// What a process said counts for so long, in ms.
const FRESH_MS: u64 = 10_000;

/// For so long the number of a process is remembered, in ms.
const REMEMBER_MS: u64 = 10 * 60 * 1_000;

/// So many processes are kept. Those beyond that are not asked for their opinion.
const MAX_PROCESSES: usize = 1_024;

/// The times of other processes.
#[derive(Debug, Default)]
pub(crate) struct ClockCheck {
    processes: BTreeMap<u64, Said>,
}

#[derive(Debug)]
struct Said {
    number: u64,
    heard_ms: u64,
    /// Its clock and ours differ by more than messages may be old.
    is_off: bool,
}

impl ClockCheck {
    /// Notes the time that another process has said, with this number of what it says.
    pub(crate) fn hear(&mut self, process: u64, number: u64, said_unix_ms: u64, unix_ms: u64, now_ms: u64) {
        if self.processes.get(&process).is_some_and(|said| number <= said.number) {
            return;
        }
        self.processes.retain(|_, said| now_ms < said.heard_ms + REMEMBER_MS);
        if self.processes.len() >= MAX_PROCESSES {
            self.processes.retain(|_, said| said.is_fresh(now_ms));
        }
        if self.processes.len() < MAX_PROCESSES || self.processes.contains_key(&process) {
            let is_off = said_unix_ms.abs_diff(unix_ms) > MAX_AGE_MS;
            self.processes.insert(process, Said { number, heard_ms: now_ms, is_off });
        }
    }

    /// How many processes have another time.
    pub(crate) fn off(&self, now_ms: u64) -> usize {
        self.fresh(now_ms).filter(|said| said.is_off).count()
    }

    /// Whether more processes have another time than have this one, this process included.
    pub(crate) fn own_is_wrong(&self, now_ms: u64) -> bool {
        let off = self.off(now_ms);
        off > self.fresh(now_ms).count() - off + 1
    }

    fn fresh(&self, now_ms: u64) -> impl Iterator<Item = &Said> {
        self.processes.values().filter(move |said| said.is_fresh(now_ms))
    }
}

impl Said {
    fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms < self.heard_ms + FRESH_MS
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
        clock.hear(1, 1, UNIX_MS + MAX_AGE_MS + 1, UNIX_MS, 0);
        assert!(!clock.own_is_wrong(0), "of two clocks nobody knows which is right");
        assert_eq!(clock.off(0), 1);
        clock.hear(2, 1, UNIX_MS + MAX_AGE_MS + 7, UNIX_MS, 0);
        assert!(clock.own_is_wrong(0));
        clock.hear(3, 1, UNIX_MS - MAX_AGE_MS, UNIX_MS, 1);
        assert!(!clock.own_is_wrong(1));
        assert_eq!(clock.off(FRESH_MS), 0, "what was said long ago does not count");
    }

    #[test]
    fn the_times_of_what_is_played_again_do_not_count() {
        let mut clock = ClockCheck::default();
        let old = UNIX_MS - MAX_AGE_MS - 1;
        for process in 1..=3 {
            clock.hear(process, 8, UNIX_MS, UNIX_MS, 0);
            clock.hear(process, 7, old, UNIX_MS, 1);
            clock.hear(process, 8, old, UNIX_MS, 2);
        }
        assert_eq!(clock.off(2), 0);
        // Nor when the processes have ended.
        (1..=3).for_each(|process| clock.hear(process, 8, old, UNIX_MS, REMEMBER_MS - 1));
        assert_eq!(clock.off(REMEMBER_MS - 1), 0);
        clock.hear(1, 9, old, UNIX_MS, REMEMBER_MS - 1);
        assert_eq!(clock.off(REMEMBER_MS - 1), 1);
    }

    #[test]
    fn no_more_processes_are_kept_than_may_be_and_those_that_speak_are_heard() {
        let mut clock = ClockCheck::default();
        (0..MAX_PROCESSES as u64).for_each(|process| clock.hear(process, 1, UNIX_MS, UNIX_MS, 0));
        clock.hear(u64::MAX, 1, 0, UNIX_MS, FRESH_MS - 1);
        assert_eq!(clock.off(FRESH_MS - 1), 0, "there is no room for it");
        clock.hear(u64::MAX, 1, 0, UNIX_MS, FRESH_MS);
        assert_eq!(clock.off(FRESH_MS), 1);
    }
}
