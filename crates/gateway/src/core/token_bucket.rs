//! A token bucket: how often something may happen, on average and at once.
//!
//! Plain data: the time is an argument, and so is the rate, which many buckets share.
//! `rate_limits` has buckets for the messages and the bytes of a client, `access::connect_rates`
//! for the connections of an address.

/// How many tokens a bucket gets in a second, and how many it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

impl Rate {
    /// The most tokens, in a second and in a bucket.
    pub const MAX: u64 = 1_000_000_000_000;

    /// So many tokens in a second, and so many at once. Both are at least 1, and at most
    /// [`MAX`](Self::MAX).
    pub fn new(per_second: u64, burst: u64) -> Self {
        Self { per_second: per_second.clamp(1, Self::MAX), burst: burst.clamp(1, Self::MAX) }
    }

    /// Returns the tokens that a bucket gets in so many ms: at least 1, and at most what it holds.
    pub(crate) fn in_ms(self, ms: u64) -> u64 {
        (self.per_second.saturating_mul(ms) / 1000).clamp(1, self.burst)
    }
}

/// A bucket. It begins full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenBucket {
    /// Its tokens at `filled_ms`, in thousandths.
    millitokens: u64,
    filled_ms: u64,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn full(rate: Rate) -> Self {
        Self { millitokens: rate.burst * 1000, filled_ms: 0 }
    }

    /// Returns how many whole tokens it has at this time.
    pub(crate) fn tokens(&mut self, rate: Rate, now_ms: u64) -> u64 {
        let elapsed_ms = now_ms.saturating_sub(self.filled_ms);
        let gained = rate.per_second.saturating_mul(elapsed_ms);
        self.millitokens = self.millitokens.saturating_add(gained).min(rate.burst * 1000);
        self.filled_ms = self.filled_ms.max(now_ms);
        self.left()
    }

    /// Returns how many whole tokens it had when it was last asked.
    pub(crate) fn left(&self) -> u64 {
        self.millitokens / 1000
    }

    /// Returns whether it is as one that nobody has taken a token from.
    pub(crate) fn is_full(&mut self, rate: Rate, now_ms: u64) -> bool {
        self.tokens(rate, now_ms) == rate.burst
    }

    /// Takes so many tokens. Returns false, and takes none, where it has fewer.
    pub(crate) fn take(&mut self, rate: Rate, tokens: u64, now_ms: u64) -> bool {
        let is_enough = self.tokens(rate, now_ms) >= tokens;
        if is_enough {
            self.millitokens -= tokens * 1000;
        }
        is_enough
    }

    /// Returns when it has so many tokens, in ms, if none is taken before. It never has more than
    /// the rate's burst.
    pub(crate) fn ready_ms(&self, rate: Rate, tokens: u64) -> u64 {
        let missing = (tokens.min(rate.burst) * 1000).saturating_sub(self.millitokens);
        self.filled_ms + missing.div_ceil(rate.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_there_at_once_and_then_the_rate() {
        let rate = Rate::new(10, 3);
        let mut bucket = TokenBucket::full(rate);
        assert_eq!((0..5).filter(|_| bucket.take(rate, 1, 7)).count(), 3);
        let taken: Vec<u64> = (7..=1007).filter(|now_ms| bucket.take(rate, 1, *now_ms)).collect();
        assert_eq!(taken, [107, 207, 307, 407, 507, 607, 707, 807, 907, 1007]);
    }

    #[test]
    fn a_bucket_holds_no_more_than_a_burst_however_long_it_waits() {
        let rate = Rate::new(Rate::MAX, 5);
        let mut bucket = TokenBucket::full(rate);
        assert!(bucket.take(rate, 5, 0));
        assert_eq!(bucket.tokens(rate, u64::MAX), 5);
        assert!(!bucket.take(rate, 6, u64::MAX));
        assert!(bucket.take(rate, 5, u64::MAX));
    }

    #[test]
    fn a_bucket_is_ready_when_it_says() {
        for (per_second, burst, tokens) in [(1, 1, 1), (3, 10, 7), (7, 100, 100), (1_000_000, 5, 9)] {
            let rate = Rate::new(per_second, burst);
            let mut bucket = TokenBucket::full(rate);
            assert!(bucket.take(rate, burst, 50));
            let (ready_ms, wanted) = (bucket.ready_ms(rate, tokens), tokens.min(burst));
            assert!(!{ bucket }.take(rate, wanted, ready_ms - 1), "{rate:?}");
            assert!(bucket.take(rate, wanted, ready_ms), "{rate:?}");
        }
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let rate = Rate::new(1, 1);
        let mut bucket = TokenBucket::full(rate);
        assert!(bucket.take(rate, 1, 1000));
        assert!(!bucket.take(rate, 1, 0));
        assert!(!bucket.take(rate, 1, 1999));
        assert!(bucket.take(rate, 1, 2000));
    }

    #[test]
    fn a_part_of_the_rate_is_at_least_one_token_and_at_most_a_burst() {
        assert_eq!(Rate::new(1, 5).in_ms(50), 1);
        assert_eq!(Rate::new(1000, 500).in_ms(50), 50);
        assert_eq!(Rate::new(1000, 5).in_ms(50), 5);
    }
}
