//! What has happened so far, in numbers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters; they only grow.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) events: Counter,
    pub(crate) errors: Counter,
    pub(crate) panics: Counter,
    pub(crate) slow: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) refused: Counter,
    pub(crate) sessions_asked: Counter,
    pub(crate) sessions_lost: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, errors, panics, slow, cancelled, refused, sessions_asked, sessions_lost } = self;
        write!(
            f,
            "events={events} errors={errors} panics={panics} slow={slow} cancelled={cancelled} \
             refused={refused} sessions_asked={sessions_asked} sessions_lost={sessions_lost}"
        )
    }
}
