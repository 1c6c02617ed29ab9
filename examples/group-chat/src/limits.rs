//! The limits of one client: message length, threads, and the rate of its requests.
//!
//! The application asks [`Limits`] before each request. For each client, it stores when the next
//! request would be due if all came evenly spaced; a client may be ahead of that by a burst. A
//! client that is not ahead needs no entry, so a sweep removes these entries now and then.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use gatewayworker::ClientId;
use tokio::time::Instant;

/// The longest message, in characters. A page of the longest messages fits one answer.
pub const MAX_CONTENT: usize = 2_000;

/// The most threads that one connection may be in.
pub const MAX_THREADS: usize = 32;

/// The pause between two sweeps.
const SWEEP: Duration = Duration::from_secs(60);

/// The rate limits of all clients.
#[derive(Debug)]
pub(crate) struct Limits {
    /// The time between two requests that are evenly spaced.
    interval: Duration,
    /// How far a client may be ahead.
    ahead: Duration,
    due: DashMap<ClientId, Instant>,
    swept: Mutex<Instant>,
}

impl Limits {
    /// Allows `burst` requests at once and `per_second` in the long run, both at least 1.
    pub(crate) fn new(burst: u32, per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        Self {
            interval,
            ahead: interval * (burst - 1),
            due: DashMap::new(),
            swept: Mutex::new(Instant::now()),
        }
    }

    /// Counts a request of the client; false if it is over the limit.
    pub(crate) fn allow(&self, id: ClientId) -> bool {
        let now = Instant::now();
        self.sweep(now);
        let mut due = self.due.entry(id).or_insert(now);
        let next = (*due).max(now);
        let allowed = next - now <= self.ahead;
        if allowed {
            *due = next + self.interval;
        }
        allowed
    }

    /// Removes the entries of clients that are not ahead.
    fn sweep(&self, now: Instant) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if now - *swept >= SWEEP {
            *swept = now;
            drop(swept);
            self.due.retain(|_, due| *due > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_then_an_even_pace() {
        let id = "7f00000108fc00000001".parse().unwrap();
        let limits = Limits::new(3, 2);
        let allowed = |n: usize| (0..n).filter(|_| limits.allow(id)).count();
        assert_eq!(allowed(10), 3);
        tokio::time::advance(Duration::from_millis(1_000)).await;
        assert_eq!(allowed(10), 2);
        assert!(limits.allow("7f00000108fc00000002".parse().unwrap()), "others are not concerned");
        tokio::time::advance(SWEEP).await;
        assert_eq!(allowed(10), 3);
        assert_eq!(limits.due.len(), 1, "who is silent is forgotten");
    }
}
