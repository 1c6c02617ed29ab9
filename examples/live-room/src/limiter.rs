//! How often somebody may ask: a bucket of tokens for each, in this process's memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// From so many buckets on, full ones are thrown away: they are as good as new ones.
const CLEAR_AT: usize = 10_000;

/// The buckets.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    burst: f64,
    per_second: f64,
    buckets: Mutex<Buckets<K>>,
}

#[derive(Debug)]
struct Buckets<K> {
    of: HashMap<K, Bucket>,
    clear_at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Eq + Hash> Limiter<K> {
    pub(crate) fn new(burst: u32, per_second: f64) -> Self {
        let buckets = Buckets { of: HashMap::new(), clear_at: CLEAR_AT };
        Self { burst: burst.into(), per_second, buckets: Mutex::new(buckets) }
    }

    /// Whether `who` may ask once more now.
    pub(crate) fn take(&self, who: K) -> bool {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.of.len() >= buckets.clear_at {
            buckets.of.retain(|_, bucket| self.filled(*bucket, now) < self.burst);
            // Not for every newcomer, where most are not full.
            buckets.clear_at = (2 * buckets.of.len()).max(CLEAR_AT);
        }
        let bucket = buckets.of.entry(who).or_insert(Bucket { tokens: self.burst, at: now });
        *bucket = Bucket { tokens: self.filled(*bucket, now), at: now };
        let may = bucket.tokens >= 1.0;
        if may {
            bucket.tokens -= 1.0;
        }
        may
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> f64 {
        let more = now.duration_since(bucket.at).as_secs_f64() * self.per_second;
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
        assert_eq!(limiter.buckets.lock().unwrap().of.len(), 1);
    }
}
