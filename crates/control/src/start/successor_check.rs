//! Decides whether a new process can do what the process before it does: it listens, and it is linked to as many
//! gateways. Plain data: time is an argument, answers come in by calls, and what to ask goes out as a [`Step`].
//! `daemon_runner.rs` owns one during a reload.

use std::time::{Duration, Instant};

/// A new process that is not ready after this time is given up.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a new process may take to have as many links as the one before it.
const LINKED_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait between two looks at a new process's links.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How many looks in a row have to find enough links: a link that a gateway refuses ends right after it has begun.
const GOOD_LOOKS: u32 = 5;

/// Follows a new process until it is able, or given up.
#[derive(Debug)]
pub(super) struct SuccessorCheck {
    /// Whether it has to have links: a daemon without them is able once it is ready.
    needs_links: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// It does not listen yet.
    Starting { give_up_at: Instant },
    /// It listens; the old process was asked how many links it has.
    Comparing,
    /// It is asked for its links again and again.
    Linking {
        /// So many links are enough.
        needed: u64,
        /// At the last look.
        found: u64,
        good_looks: u32,
        /// `None` while a question is under way.
        look_at: Option<Instant>,
        give_up_at: Instant,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for an answer, or for the next deadline.
    Wait,
    /// Ask the old process how many gateways it is linked to.
    AskOld,
    /// Ask the new process how many gateways it is linked to.
    AskNew,
    /// The new process can do what the old one does.
    Able,
    /// It cannot; the text goes on after "the new businessworker".
    Unable(String),
}

impl SuccessorCheck {
    /// Begins with a process that was started at `now`.
    pub(super) fn new(needs_links: bool, now: Instant) -> Self {
        Self { needs_links, stage: Stage::Starting { give_up_at: now + READY_TIMEOUT } }
    }

    /// The new process listens. `has_old` says whether the old one is still there to compare with.
    pub(super) fn new_is_ready(&mut self, has_old: bool, now: Instant) -> Step {
        if !self.needs_links {
            return Step::Able;
        }
        if has_old {
            self.stage = Stage::Comparing;
            return Step::AskOld;
        }
        self.compare_with(0, now)
    }

    /// The old process has so many links; none if it is gone, or does not answer.
    pub(super) fn old_has(&mut self, gateways: u64, now: Instant) -> Step {
        match self.stage {
            Stage::Comparing => self.compare_with(gateways, now),
            _ => Step::Wait,
        }
    }

    /// One link is needed at least: a worker without any serves nobody.
    fn compare_with(&mut self, gateways: u64, now: Instant) -> Step {
        self.stage = Stage::Linking {
            needed: gateways.max(1),
            found: 0,
            good_looks: 0,
            look_at: None,
            give_up_at: now + LINKED_TIMEOUT,
        };
        Step::AskNew
    }

    /// The new process has so many links; none if it does not answer.
    pub(super) fn new_has(&mut self, gateways: u64, now: Instant) -> Step {
        let Stage::Linking { needed, found, good_looks, look_at, .. } = &mut self.stage else {
            return Step::Wait;
        };
        *found = gateways;
        *good_looks = if gateways >= *needed { *good_looks + 1 } else { 0 };
        if *good_looks >= GOOD_LOOKS {
            return Step::Able;
        }
        *look_at = Some(now + LOOK_INTERVAL);
        Step::Wait
    }

    /// Returns when [`SuccessorCheck::handle_deadline`] is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Starting { give_up_at } => Some(give_up_at),
            Stage::Comparing => None,
            Stage::Linking { look_at, give_up_at, .. } => {
                Some(look_at.map_or(give_up_at, |at| at.min(give_up_at)))
            }
        }
    }

    /// Does what is due at `now`.
    pub(super) fn handle_deadline(&mut self, now: Instant) -> Step {
        match &mut self.stage {
            Stage::Starting { give_up_at } if *give_up_at <= now => {
                Step::Unable(format!("was not ready after {} s", READY_TIMEOUT.as_secs()))
            }
            Stage::Linking { needed, found, give_up_at, .. } if *give_up_at <= now => {
                let limit = LINKED_TIMEOUT.as_secs();
                Step::Unable(format!("has reached {found} of {needed} gateways after {limit} s"))
            }
            Stage::Linking { look_at, .. } if look_at.is_some_and(|at| at <= now) => {
                *look_at = None;
                Step::AskNew
            }
            _ => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each question about the new process at once; returns how it ends, and when.
    fn answer(
        check: &mut SuccessorCheck,
        start: Instant,
        mut links: impl FnMut(u32) -> u64,
    ) -> (Step, Duration) {
        let mut now = start;
        for look in 0.. {
            let step = check.new_has(links(look), now);
            if step != Step::Wait {
                return (step, now - start);
            }
            now = check.next_deadline().unwrap();
            match check.handle_deadline(now) {
                Step::AskNew => {}
                step => return (step, now - start),
            }
        }
        unreachable!()
    }

    #[test]
    fn a_process_is_able_when_it_has_as_many_links_five_times_in_a_row() {
        let start = Instant::now();
        let mut check = SuccessorCheck::new(true, start);
        assert_eq!(check.new_is_ready(true, start), Step::AskOld);
        assert_eq!(check.old_has(2, start), Step::AskNew);
        // At first one link is missing, and then one is lost again.
        let links = |look| if look == 0 || look == 3 { 1 } else { 2 };
        assert_eq!(answer(&mut check, start, links), (Step::Able, LOOK_INTERVAL * 8));
    }

    #[test]
    fn a_process_without_enough_links_is_given_up_after_ten_seconds() {
        let start = Instant::now();
        let mut check = SuccessorCheck::new(true, start);
        // Where the old process has no links, one is needed all the same.
        assert_eq!(check.new_is_ready(false, start), Step::AskNew);
        let why = Step::Unable("has reached 0 of 1 gateways after 10 s".into());
        assert_eq!(answer(&mut check, start, |_| 0), (why, LINKED_TIMEOUT));
    }

    #[test]
    fn a_process_that_is_never_ready_is_given_up_after_a_minute() {
        let start = Instant::now();
        let mut check = SuccessorCheck::new(true, start);
        let deadline = check.next_deadline().unwrap();
        assert_eq!(deadline, start + READY_TIMEOUT);
        assert_eq!(check.handle_deadline(start), Step::Wait);
        assert_eq!(check.handle_deadline(deadline), Step::Unable("was not ready after 60 s".into()));
    }

    #[test]
    fn a_daemon_without_links_is_able_when_it_is_ready() {
        let start = Instant::now();
        assert_eq!(SuccessorCheck::new(false, start).new_is_ready(true, start), Step::Able);
    }
}
