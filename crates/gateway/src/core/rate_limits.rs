//! Limits on how fast a client may send: messages and bytes in a second.
//!
//! A listener has [`RateLimits`]; each of its clients has a [`RateLimiter`], in its inbox, which
//! asks it before each message. A client over its rate is throttled or closed. To throttle is to
//! read nothing until a bucket has tokens again: the client's socket fills up, and TCP slows the
//! client down. Plain data; `reading` tells the shell how long to wait.

use serde::{Deserialize, Serialize};

use super::token_bucket::{Rate, TokenBucket};

/// How long a throttled client is not read from, in ms, where its bucket holds that much: fewer
/// and longer waits cost less.
const PAUSE_MS: u64 = 50;

/// What becomes of a client that sends faster than it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateLimitPolicy {
    /// The gateway reads from it more slowly.
    #[default]
    Throttle,
    /// The client is closed with 1008.
    Close,
}

/// How fast a listener's clients may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Messages and WebSocket pings; `None` for no limit.
    pub messages: Option<Rate>,
    /// Bytes as they arrive, without TLS; `None` for no limit.
    pub bytes: Option<Rate>,
    /// What becomes of a client beyond them.
    pub policy: RateLimitPolicy,
}

/// A limit that a client has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverRate {
    /// The setting that limits it.
    pub limit: &'static str,
    /// When the client may be read from again, in ms; `None` where it is to be closed.
    pub until_ms: Option<u64>,
}

/// What one client has sent.
#[derive(Debug)]
pub(super) struct RateLimiter {
    policy: RateLimitPolicy,
    messages: Option<Limit>,
    bytes: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    setting: &'static str,
    rate: Rate,
    bucket: TokenBucket,
}

impl Limit {
    fn new(setting: &'static str, rate: Rate) -> Self {
        Self { setting, rate, bucket: TokenBucket::full(rate) }
    }

    /// Checks that there is a token.
    fn check(&mut self, policy: RateLimitPolicy, now_ms: u64) -> Result<(), OverRate> {
        if self.bucket.tokens(self.rate, now_ms) > 0 {
            return Ok(());
        }
        let until_ms = self.bucket.ready_ms(self.rate, self.rate.in_ms(PAUSE_MS));
        let is_throttled = policy == RateLimitPolicy::Throttle;
        Err(OverRate { limit: self.setting, until_ms: is_throttled.then_some(until_ms) })
    }
}

impl RateLimiter {
    pub(super) fn new(limits: RateLimits) -> Self {
        Self {
            policy: limits.policy,
            messages: limits.messages.map(|rate| Limit::new("max_messages_per_second", rate)),
            bytes: limits.bytes.map(|rate| Limit::new("max_bytes_per_second", rate)),
        }
    }

    /// Counts bytes that were read from the client.
    ///
    /// # Errors
    /// When there are more than the client may send, and it is to be closed.
    pub(super) fn receive(&mut self, bytes: usize, now_ms: u64) -> Result<(), OverRate> {
        let Some(limit) = &mut self.bytes else { return Ok(()) };
        if limit.bucket.take(limit.rate, bytes as u64, now_ms) {
            return Ok(());
        }
        if self.policy == RateLimitPolicy::Close {
            return Err(OverRate { limit: limit.setting, until_ms: None });
        }
        // More than `max_read` allowed.
        let rest = limit.bucket.left();
        limit.bucket.take(limit.rate, rest, now_ms);
        Ok(())
    }

    /// Checks that the client may be read from.
    ///
    /// # Errors
    /// When it is to wait first.
    pub(super) fn check_read(&mut self, now_ms: u64) -> Result<(), OverRate> {
        match (&mut self.bytes, self.policy) {
            (Some(limit), RateLimitPolicy::Throttle) => limit.check(RateLimitPolicy::Throttle, now_ms),
            // More than it may send closes it when that has come.
            _ => Ok(()),
        }
    }

    /// Returns how many of `most` bytes may be read from the client, after
    /// [`check_read`](Self::check_read).
    pub(super) fn max_read(&self, most: usize) -> usize {
        match (&self.bytes, self.policy) {
            (Some(limit), RateLimitPolicy::Throttle) => {
                usize::try_from(limit.bucket.left()).unwrap_or(most).clamp(1, most)
            }
            _ => most,
        }
    }

    /// Checks that the client may send one more message.
    ///
    /// # Errors
    /// When it is over its limit.
    pub(super) fn check_message(&mut self, now_ms: u64) -> Result<(), OverRate> {
        self.messages.as_mut().map_or(Ok(()), |limit| limit.check(self.policy, now_ms))
    }

    /// Counts a message, after [`check_message`](Self::check_message).
    pub(super) fn count_message(&mut self, now_ms: u64) {
        if let Some(limit) = &mut self.messages {
            limit.bucket.take(limit.rate, 1, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(messages: Option<Rate>, bytes: Option<Rate>, policy: RateLimitPolicy) -> RateLimiter {
        RateLimiter::new(RateLimits { messages, bytes, policy })
    }

    #[test]
    fn a_throttled_client_waits_for_a_part_of_its_rate_and_not_for_each_token() {
        for (rate, until_ms) in [
            (Rate::new(1000, 1000), 50),
            (Rate::new(1000, 10), 10),
            (Rate::new(10, 10), 100),
            (Rate::new(1, 1), 1000),
        ] {
            let mut limiter = limiter(Some(rate), None, RateLimitPolicy::Throttle);
            for _ in 0..1000 {
                limiter.count_message(0);
            }
            let over = limiter.check_message(0).unwrap_err();
            assert_eq!(over, OverRate { limit: "max_messages_per_second", until_ms: Some(until_ms) });
            assert_eq!(limiter.check_message(until_ms), Ok(()), "{rate:?}");
        }
    }

    #[test]
    fn a_throttled_client_is_read_from_as_far_as_its_bytes_reach() {
        let mut limiter = limiter(None, Some(Rate::new(1000, 100)), RateLimitPolicy::Throttle);
        assert_eq!(limiter.max_read(64), 64);
        assert_eq!(limiter.max_read(1 << 16), 100);
        assert_eq!(limiter.receive(70, 0), Ok(()));
        assert_eq!((limiter.check_read(0), limiter.max_read(1 << 16)), (Ok(()), 30));
        assert_eq!(limiter.receive(30, 0), Ok(()));
        let over = OverRate { limit: "max_bytes_per_second", until_ms: Some(50) };
        assert_eq!(limiter.check_read(0), Err(over));
        assert_eq!((limiter.check_read(50), limiter.max_read(1 << 16)), (Ok(()), 50));
        assert_eq!(limiter.receive(1 << 20, 50), Ok(()));
        assert_eq!(limiter.check_read(50).unwrap_err().until_ms, Some(100));
    }

    #[test]
    fn a_client_that_is_to_be_closed_is_not_slowed_down_before() {
        let rate = Rate::new(1000, 100);
        let mut limiter = limiter(Some(rate), Some(rate), RateLimitPolicy::Close);
        assert_eq!(limiter.max_read(1 << 16), 1 << 16);
        assert_eq!((limiter.receive(100, 0), limiter.check_read(0)), (Ok(()), Ok(())));
        let over = OverRate { limit: "max_bytes_per_second", until_ms: None };
        assert_eq!(limiter.receive(1, 0), Err(over));
        assert_eq!(limiter.check_message(0), Ok(()));
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let mut limiter = limiter(None, None, RateLimitPolicy::Close);
        limiter.count_message(0);
        assert_eq!(limiter.receive(usize::MAX, 0), Ok(()));
        assert_eq!((limiter.check_message(0), limiter.check_read(0)), (Ok(()), Ok(())));
    }
}
