//! How often a client may ask: a bucket of tokens for each, in this worker's memory.
//!
//! A client stays with its worker, so that is enough; one that moves begins anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use gatewayworker::ClientId;
use tokio::time::Instant;

/// The buckets.
#[derive(Debug)]
pub(crate) struct Limiter {
    burst: f64,
    per_second: f64,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    of: HashMap<ClientId, Bucket>,
    /// At so many, those that are full are thrown away: their clients' closes may have gone
    /// to another worker.
    clear_at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Limiter {
    pub(crate) fn new(burst: u32, per_second: f64) -> Self {
        Self { burst: burst.into(), per_second, buckets: Mutex::default() }
    }

    /// Whether the client may ask once more now.
    pub(crate) fn take(&self, id: ClientId) -> bool {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.of.len() > buckets.clear_at {
            buckets.of.retain(|_, bucket| self.filled(bucket, now) < self.burst);
            buckets.clear_at = (2 * buckets.of.len()).max(10_000);
        }
        let bucket = buckets.of.entry(id).or_insert(Bucket { tokens: self.burst, at: now });
        *bucket = Bucket { tokens: self.filled(bucket, now), at: now };
        let may = bucket.tokens >= 1.0;
        if may {
            bucket.tokens -= 1.0;
        }
        may
    }

    /// The client is gone.
    pub(crate) fn forget(&self, id: ClientId) {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).of.remove(&id);
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let more = now.duration_since(bucket.at).as_secs_f64() * self.per_second;
        (bucket.tokens + more).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(n: u32) -> ClientId {
        ClientId::new("127.0.0.1:2300".parse().unwrap(), n)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_then_the_rate() {
        let limiter = Limiter::new(3, 2.0);
        assert_eq!([(); 4].map(|()| limiter.take(id(1))), [true, true, true, false]);
        assert!(limiter.take(id(2)), "another client is another bucket");
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!([(); 2].map(|()| limiter.take(id(1))), [true, false]);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!([(); 4].map(|()| limiter.take(id(1))), [true, true, true, false], "it does not pile up");
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_of_silent_clients_are_removed() {
        let limiter = Limiter::new(1, 1.0);
        for n in 0..10_001 {
            limiter.take(id(n));
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        limiter.take(id(0));
        assert_eq!(limiter.buckets.lock().unwrap().of.len(), 1);
    }
}
