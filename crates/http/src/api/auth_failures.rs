//! Wrong tokens, counted by address: an address that sends too many is refused for a minute.
//!
//! `token` asks it before it checks a token, and records each wrong one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gatewayworker_net::AddressPrefix;
use tokio::time::Instant;

/// How long failures are counted, from the first of an address.
const WINDOW: Duration = Duration::from_secs(60);

/// The most addresses that are remembered. Beyond it, the oldest is forgotten: a count by address
/// does not stop a caller that has so many of them.
const MAX_ADDRESSES: usize = 4096;

/// The addresses with failures in the last minute.
#[derive(Debug)]
pub(crate) struct AuthFailures {
    limit: u32,
    seen: Mutex<HashMap<AddressPrefix, Window>>,
}

#[derive(Debug)]
struct Window {
    begun: Instant,
    failures: u32,
}

impl AuthFailures {
    /// Allows `limit` failures of an address within a minute; 0 for any number.
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, seen: Mutex::default() }
    }

    /// How long the address is refused from now on; `None` if it is not.
    pub(crate) fn locked_out(&self, address: IpAddr) -> Option<Duration> {
        if self.limit == 0 {
            return None;
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let window =
            seen.get(&AddressPrefix::from(address)).filter(|window| window.failures >= self.limit)?;
        window.left()
    }

    /// Records a failure. Returns whether it is the last one that is allowed.
    pub(crate) fn record(&self, address: IpAddr) -> bool {
        if self.limit == 0 {
            return false;
        }
        let prefix = AddressPrefix::from(address);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.get(&prefix).is_some_and(|window| window.left().is_none()) {
            seen.remove(&prefix);
        }
        if seen.len() >= MAX_ADDRESSES && !seen.contains_key(&prefix) {
            seen.retain(|_, window| window.left().is_some());
            let oldest = seen.iter().min_by_key(|(_, window)| window.begun).map(|(prefix, _)| *prefix);
            if let Some(oldest) = oldest.filter(|_| seen.len() >= MAX_ADDRESSES) {
                seen.remove(&oldest);
            }
        }
        let window = seen.entry(prefix).or_insert(Window { begun: Instant::now(), failures: 0 });
        window.failures = window.failures.saturating_add(1);
        window.failures == self.limit
    }
}

impl Window {
    fn left(&self) -> Option<Duration> {
        WINDOW.checked_sub(self.begun.elapsed()).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_refused_after_the_last_failure_that_is_allowed_until_the_minute_is_over() {
        let failures = AuthFailures::new(2);
        let guesser = ip("192.0.2.1");
        assert!(!failures.record(guesser));
        assert_eq!(failures.locked_out(guesser), None);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(failures.record(guesser));
        assert_eq!(failures.locked_out(guesser), Some(Duration::from_secs(50)));
        assert_eq!(failures.locked_out(ip("192.0.2.2")), None);
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(failures.locked_out(guesser), None);
        failures.record(guesser);
        assert_eq!(failures.locked_out(guesser), None, "the count begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_of_0_allows_any_number() {
        let failures = AuthFailures::new(0);
        for _ in 0..100 {
            failures.record(ip("192.0.2.1"));
        }
        assert_eq!(failures.locked_out(ip("192.0.2.1")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_the_ipv4_that_it_is() {
        let failures = AuthFailures::new(1);
        failures.record(ip("2001:db8::1"));
        assert!(failures.locked_out(ip("2001:db8::ffff:1")).is_some());
        assert!(failures.locked_out(ip("2001:db8:0:1::1")).is_none());
        failures.record(ip("::ffff:192.0.2.1"));
        assert!(failures.locked_out(ip("192.0.2.1")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_is_forgotten_where_there_are_too_many() {
        let failures = AuthFailures::new(1);
        let address = |n: usize| IpAddr::from(Ipv4Addr::from_bits(n as u32));
        for n in 0..=MAX_ADDRESSES {
            tokio::time::advance(Duration::from_nanos(1)).await;
            failures.record(address(n));
        }
        assert_eq!(failures.seen.lock().unwrap().len(), MAX_ADDRESSES);
        assert!(failures.locked_out(address(0)).is_none());
        assert!(failures.locked_out(address(1)).is_some());
        assert!(failures.locked_out(address(MAX_ADDRESSES)).is_some());
        tokio::time::advance(HOUR).await;
        failures.record(address(0));
        failures.record(address(MAX_ADDRESSES + 1));
        assert_eq!(failures.seen.lock().unwrap().len(), 2, "those whose time is up went first");
    }
}
