//! The rate limit of each client: a token bucket in this worker's memory.
//!
//! A client stays with its worker, so one worker's memory is enough. A client that moves to another worker gets a new
//! bucket.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use gatewayworker::ClientId;
use tokio::time::Instant;

/// The buckets of all clients.
#[derive(Debug)]
pub(crate) struct Limiter {
    burst: f64,
    per_second: f64,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    by_client: HashMap<ClientId, Bucket>,
    /// At this number, full buckets are removed: the closes of their clients may have gone to another worker.
    clear_at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    refilled_at: Instant,
}

impl Limiter {
    pub(crate) fn new(burst: u32, per_second: f64) -> Self {
        Self { burst: burst.into(), per_second, buckets: Mutex::default() }
    }

    /// Takes a token of the client's bucket. Returns false if there is none.
    pub(crate) fn take(&self, id: ClientId) -> bool {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.by_client.len() > buckets.clear_at {
            buckets.by_client.retain(|_, bucket| self.filled(bucket, now) < self.burst);
            buckets.clear_at = (2 * buckets.by_client.len()).max(10_000);
        }
        let bucket = buckets.by_client.entry(id).or_insert(Bucket { tokens: self.burst, refilled_at: now });
        *bucket = Bucket { tokens: self.filled(bucket, now), refilled_at: now };
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }

    /// Removes the bucket of a client that has left.
    pub(crate) fn remove(&self, id: ClientId) {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).by_client.remove(&id);
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let more = now.duration_since(bucket.refilled_at).as_secs_f64() * self.per_second;
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
        assert_eq!(limiter.buckets.lock().unwrap().by_client.len(), 1);
    }
}
