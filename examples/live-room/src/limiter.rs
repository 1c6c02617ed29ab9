//! A rate limiter: a token bucket for each key, in this process's memory. Worker and backend ask it before they handle
//! a request.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// How many messages a user may send at once.
pub(crate) const BURST: u32 = 5;

/// How many messages a user may send in a second in the long run.
pub(crate) const PER_SECOND: f64 = 1.0;

/// The number of buckets from which full ones are removed. A full bucket is the same as none.
const CLEAR_AT: usize = 10_000;

/// The buckets of all keys.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    burst: f64,
    per_second: f64,
    buckets: Mutex<Buckets<K>>,
}

#[derive(Debug)]
struct Buckets<K> {
    by_key: HashMap<K, Bucket>,
    clear_at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    refilled_at: Instant,
}

impl<K: Eq + Hash> Limiter<K> {
    /// Allows `burst` requests at once, and `per_second` in the long run.
    pub(crate) fn new(burst: u32, per_second: f64) -> Self {
        let buckets = Buckets { by_key: HashMap::new(), clear_at: CLEAR_AT };
        Self { burst: burst.into(), per_second, buckets: Mutex::new(buckets) }
    }

    /// Takes a token of the key's bucket. Returns false if there is none.
    pub(crate) fn take(&self, key: K) -> bool {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.by_key.len() >= buckets.clear_at {
            buckets.by_key.retain(|_, bucket| self.filled(*bucket, now) < self.burst);
            // If most buckets are not full, the next removal waits until their number has doubled.
            buckets.clear_at = (2 * buckets.by_key.len()).max(CLEAR_AT);
        }
        let bucket = buckets.by_key.entry(key).or_insert(Bucket { tokens: self.burst, refilled_at: now });
        *bucket = Bucket { tokens: self.filled(*bucket, now), refilled_at: now };
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }

    /// The tokens of a bucket now.
    fn filled(&self, bucket: Bucket, now: Instant) -> f64 {
        let more = now.duration_since(bucket.refilled_at).as_secs_f64() * self.per_second;
        (bucket.tokens + more).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_then_the_rate() {
        let limiter = Limiter::new(2, 1.0);
        assert_eq!([(); 3].map(|()| limiter.take("a")), [true, true, false]);
        assert!(limiter.take("b"), "another has a bucket of their own");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!([(); 2].map(|()| limiter.take("a")), [true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_of_silent_users_are_removed() {
        let limiter = Limiter::new(1, 1.0);
        for n in 0..CLEAR_AT {
            limiter.take(n);
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        limiter.take(CLEAR_AT);
        assert_eq!(limiter.buckets.lock().unwrap().by_key.len(), 1);
    }
}
