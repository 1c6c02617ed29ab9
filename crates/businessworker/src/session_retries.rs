//! What is logged while gateways do not answer with sessions: a line when the first client waits, and one
//! when none does any more, however many clients and questions there were.
//!
//! `handler` has a [`Retry`] for each client whose session is asked for again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gatewayworker_client::{ClientId, Error};
use tracing::{info, warn};

use crate::clock;

/// The sessions that are asked for again now.
#[derive(Debug, Default)]
pub(crate) struct SessionRetries(Mutex<Counts>);

/// Counts since the first of the clients that wait now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    waiting: usize,
    clients: u64,
    questions: u64,
    since_ms: u64,
}

impl Counts {
    /// A client waits; returns whether it is the first.
    fn begin(&mut self, now_ms: u64) -> bool {
        let is_first = self.waiting == 0;
        if is_first {
            *self = Self { since_ms: now_ms, ..Self::default() };
        }
        self.waiting += 1;
        self.clients += 1;
        is_first
    }

    /// A client waits no more; returns whether it was the last.
    fn end(&mut self) -> bool {
        self.waiting = self.waiting.saturating_sub(1);
        self.waiting == 0
    }
}

/// One client whose session is asked for again, until it is dropped.
#[derive(Debug)]
pub(crate) struct Retry<'r>(&'r SessionRetries);

impl SessionRetries {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a gateway has not answered with a client's session, for the first time.
    pub(crate) fn begin(&self, client: ClientId, error: &Error) -> Retry<'_> {
        let is_first = self.counts().begin(clock::now_ms());
        if is_first {
            warn!(%client, %error, "a gateway did not answer with a client's session: it is asked until it does");
        }
        Retry(self)
    }
}

impl Retry<'_> {
    /// Notes that the session is asked for again.
    pub(crate) fn count(&self) {
        self.0.counts().questions += 1;
    }
}

impl Drop for Retry<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        let was_last = counts.end();
        let Counts { clients, questions, since_ms, .. } = *counts;
        drop(counts);
        if was_last {
            let for_ms = clock::now_ms().saturating_sub(since_ms);
            info!(clients, questions, for_ms, "no client waits for its session any more");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_client_that_waits_and_the_last_are_said_with_the_counts_of_all() {
        let retries = SessionRetries::default();
        assert!(retries.counts().begin(100));
        let first = Retry(&retries);
        assert!(!retries.counts().begin(200));
        let second = Retry(&retries);
        first.count();
        second.count();
        second.count();
        drop(first);
        let counts = *retries.counts();
        assert_eq!(counts, Counts { waiting: 1, clients: 2, questions: 3, since_ms: 100 });
        assert!(retries.counts().end(), "the last");
        assert!(retries.counts().begin(300), "it begins anew");
        assert_eq!(*retries.counts(), Counts { waiting: 1, clients: 1, questions: 0, since_ms: 300 });
        std::mem::forget(second);
    }
}
