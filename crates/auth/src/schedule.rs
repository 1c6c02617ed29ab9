//! When the keys of `jwks_url` are fetched.
//!
//! Plain data with the time as an argument, in ms of any clock that does not go back. A token can make the gateway
//! fetch them earlier, and no number of tokens can make it do so more often than every [`AT_ONCE_EVERY_MS`].

/// How long after a fetch an unknown `kid` brings about the next one, and how soon a failed one is repeated.
pub(crate) const AT_ONCE_EVERY_MS: u64 = 10_000;

/// When to fetch.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    refresh_ms: u64,
    /// How long after the begin of a fetch an unknown `kid` brings about the next one.
    at_once_every_ms: u64,
    next_ms: u64,
    /// When the last fetch began.
    last_ms: Option<u64>,
    is_fetching: bool,
}

impl Schedule {
    /// The first fetch is due at once, and then every `refresh_ms`.
    pub(crate) fn new(refresh_ms: u64) -> Self {
        Self::with_pause(refresh_ms, AT_ONCE_EVERY_MS)
    }

    /// The same with another pause than [`AT_ONCE_EVERY_MS`].
    pub(crate) fn with_pause(refresh_ms: u64, at_once_every_ms: u64) -> Self {
        Self { refresh_ms, at_once_every_ms, next_ms: 0, last_ms: None, is_fetching: false }
    }

    /// When the next fetch is due.
    pub(crate) fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// A fetch has begun.
    pub(crate) fn begin(&mut self, now_ms: u64) {
        self.last_ms = Some(now_ms);
        self.is_fetching = true;
    }

    /// The fetch has ended.
    pub(crate) fn end(&mut self, is_fetched: bool, now_ms: u64) {
        self.is_fetching = false;
        let pause_ms = if is_fetched { self.refresh_ms } else { self.refresh_ms.min(self.at_once_every_ms) };
        self.next_ms = now_ms.saturating_add(pause_ms);
    }

    /// A token names an unknown key. Returns whether it is worth waiting for the end of a fetch: of the one that is
    /// under way, or of one that is due now.
    pub(crate) fn want(&mut self, now_ms: u64) -> bool {
        if self.is_fetching {
            return true;
        }
        let is_allowed =
            self.last_ms.is_none_or(|last_ms| now_ms >= last_ms.saturating_add(self.at_once_every_ms));
        if is_allowed {
            self.next_ms = self.next_ms.min(now_ms);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fetched_at_the_start_then_now_and_then_and_a_failed_fetch_is_repeated_soon() {
        let mut schedule = Schedule::new(300_000);
        assert_eq!(schedule.next_ms(), 0);
        schedule.begin(5);
        schedule.end(false, 1000);
        assert_eq!(schedule.next_ms(), 11_000);
        schedule.begin(11_000);
        schedule.end(true, 11_500);
        assert_eq!(schedule.next_ms(), 311_500);
    }

    #[test]
    fn an_unknown_key_brings_about_one_fetch_in_ten_seconds() {
        let mut schedule = Schedule::new(300_000);
        schedule.begin(0);
        assert!(schedule.want(50), "it is under way");
        schedule.end(true, 100);
        assert!(!schedule.want(9_999));
        assert_eq!(schedule.next_ms(), 300_100);
        assert!(schedule.want(10_000));
        assert_eq!(schedule.next_ms(), 10_000);
        schedule.begin(10_000);
        schedule.end(false, 10_100);
        assert!((10_001..20_000).all(|now_ms| !schedule.want(now_ms)));
        assert!(schedule.want(20_000));
    }
}
