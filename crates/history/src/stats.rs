//! [`Stats`]: what a history has done since it was opened, what it keeps, and what keeps it from its work. The worker shows it as metrics and in `status`.
//!
//! `history`, `sequencer` and `store` count in [`Counts`]. Plain counters; nothing here decides anything.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Page, Published};

/// What a history has done since it was opened. Numbers of calls count those of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The store: `memory`, `redis` or `nats`.
    pub store: &'static str,
    /// What an operator has to mend, as a sentence: the server does not answer, or another worker has the history in its memory. `None`
    /// while calls work.
    pub problem: Option<String>,
    /// Messages to be published, by [`PUBLISH_RESULTS`].
    pub publishes: [u64; PUBLISH_RESULTS.len()],
    /// Reads, by [`READ_CALLS`] and [`READ_RESULTS`].
    pub reads: [[u64; READ_RESULTS.len()]; READ_CALLS.len()],
    /// Calls that the store did not answer, by [`STORE_ERRORS`].
    pub store_errors: [u64; STORE_ERRORS.len()],
    /// How much is kept; of the store `memory` alone.
    pub kept: Option<Kept>,
}

/// How much a history keeps in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Kept {
    /// Groups.
    pub groups: u64,
    /// Messages of all groups.
    pub messages: u64,
    /// Their bytes, and what it costs to hold them.
    pub bytes: u64,
}

/// What becomes of a message to be published: kept and sent; kept and not sent; perhaps kept, and not sent, as the store did not
/// answer; not kept.
pub const PUBLISH_RESULTS: [&str; 4] = ["sent", "not_sent", "unknown", "refused"];

/// The calls that read.
pub const READ_CALLS: [&str; 3] = ["since", "last", "join"];

/// What comes of a read: a page; a page that lacks messages after the position that was asked for; an error.
pub const READ_RESULTS: [&str; 3] = ["ok", "gap", "failed"];

/// Why a store did not answer: an error of the server; not in time; a history in memory that another worker has.
pub const STORE_ERRORS: [&str; 3] = ["server", "timed_out", "second_worker"];

/// A call that reads: its place in [`READ_CALLS`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum ReadCall {
    Since,
    Last,
    Join,
}

/// The counters of a history.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    publishes: [AtomicU64; PUBLISH_RESULTS.len()],
    reads: [[AtomicU64; READ_RESULTS.len()]; READ_CALLS.len()],
    store_errors: [AtomicU64; STORE_ERRORS.len()],
}

impl Counts {
    /// Counts a message that was to be published.
    pub(crate) fn count_publish(&self, outcome: Result<&Published, &Error>) {
        let result = match outcome {
            Ok(_) => 0,
            Err(Error::NotSent { .. } | Error::Panicked) => 1,
            Err(Error::TimedOut | Error::Server(_)) => 2,
            Err(_) => 3,
        };
        self.publishes[result].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a read. `is_after` says that what comes after a position was asked for.
    pub(crate) fn count_read(&self, call: ReadCall, is_after: bool, outcome: Result<&Page, &Error>) {
        let result = match outcome {
            Ok(page) if is_after && !page.whole => 1,
            Ok(_) => 0,
            Err(_) => 2,
        };
        self.reads[call as usize][result].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an error of the store; other errors are no matter of the store's.
    pub(crate) fn count_store_error(&self, error: &Error) {
        let error = match error {
            Error::Server(_) => 0,
            Error::TimedOut => 1,
            Error::SecondWorker => 2,
            _ => return,
        };
        self.store_errors[error].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the numbers of now.
    pub(crate) fn read(&self, store: &'static str, problem: Option<String>, kept: Option<Kept>) -> Stats {
        fn all<const N: usize>(counters: &[AtomicU64; N]) -> [u64; N] {
            std::array::from_fn(|n| counters[n].load(Ordering::Relaxed))
        }
        Stats {
            store,
            problem,
            publishes: all(&self.publishes),
            reads: std::array::from_fn(|n| all(&self.reads[n])),
            store_errors: all(&self.store_errors),
            kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Position;

    #[test]
    fn each_outcome_is_counted_as_what_it_says() {
        let counts = Counts::default();
        let server = || Error::Server("away".into());
        let not_sent =
            Error::NotSent { position: Position::default(), error: gatewayworker_client::Error::NoGateways };
        for error in [not_sent, Error::Panicked, server(), Error::TimedOut, Error::Busy, Error::SecondWorker]
        {
            counts.count_publish(Err(&error));
            counts.count_store_error(&error);
        }
        let page = |whole| Page { messages: Vec::new(), whole, more: false, position: Position::default() };
        counts.count_read(ReadCall::Since, true, Ok(&page(true)));
        counts.count_read(ReadCall::Since, true, Ok(&page(false)));
        // Of the last messages, `whole` says something else: whether they are all of the group's.
        counts.count_read(ReadCall::Last, false, Ok(&page(false)));
        counts.count_read(ReadCall::Join, false, Err(&server()));
        let stats = counts.read("redis", None, None);
        assert_eq!(stats.publishes, [0, 2, 2, 2]);
        assert_eq!(stats.reads, [[1, 1, 0], [1, 0, 0], [0, 0, 1]]);
        assert_eq!(stats.store_errors, [1, 1, 1]);
    }
}
