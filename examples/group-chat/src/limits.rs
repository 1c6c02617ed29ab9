//! How often a client may ask.
//!
//! Of each client it is kept when its next request would be due if all came evenly
//! spaced; it may be ahead of that by a burst. One that is not ahead is as one that
//! never asked, so these are swept away now and then, whether they were heard to
//! close or not.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use gatewayworker::ClientId;
use tokio::time::Instant;

/// How often the clients are swept.
const SWEEP: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Limits {
    /// Between two requests, evenly spaced.
    interval: Duration,
    /// How far ahead a client may be.
    ahead: Duration,
    due: DashMap<ClientId, Instant>,
    swept: Mutex<Instant>,
}

impl Limits {
    pub(crate) fn new(burst: u32, per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        Self {
            interval,
            ahead: interval * (burst - 1),
            due: DashMap::new(),
            swept: Mutex::new(Instant::now()),
        }
    }

    /// Whether the client may make another request now.
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
