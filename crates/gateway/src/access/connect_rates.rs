//! The limit on how often an address may connect (`max_connects_per_second_per_address`).
//!
//! Plain data: `listener` has it behind a lock, and gives it the time. It remembers an address only
//! until the address may connect as often as one that never did, and a bounded number of addresses:
//! beyond that the addresses that it does not know are not limited.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use gatewayworker_net::AddressPrefix;

use crate::core::token_bucket::{Rate, TokenBucket};

/// The most addresses, or /64 networks of IPv6, that are remembered: some 3 MB.
const MAX_ADDRESSES: usize = 65_536;

/// So many addresses are remembered before the first look for those that may be forgotten.
const MIN_ADDRESSES: usize = 1024;

/// The shortest time between two looks for addresses that may be forgotten, in ms.
const SWEEP_INTERVAL_MS: u64 = 1000;

/// A token bucket for each address that has connected lately.
#[derive(Debug)]
pub(crate) struct ConnectRates {
    rate: Rate,
    buckets: HashMap<AddressPrefix, TokenBucket, RandomState>,
    /// With so many addresses it looks for those that may be forgotten.
    sweep_at: usize,
    /// When it looks again at the earliest.
    sweep_from_ms: u64,
}

impl ConnectRates {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::default(), sweep_at: MIN_ADDRESSES, sweep_from_ms: 0 }
    }

    /// Counts a connection of an address.
    ///
    /// # Errors
    /// When the address has connected too often: after how many ms it may connect again.
    pub(crate) fn acquire(&mut self, address: AddressPrefix, now_ms: u64) -> Result<(), u64> {
        if self.buckets.len() >= self.sweep_at && now_ms >= self.sweep_from_ms {
            self.sweep(now_ms);
        }
        if self.buckets.len() >= MAX_ADDRESSES && !self.buckets.contains_key(&address) {
            return Ok(());
        }
        let bucket = self.buckets.entry(address).or_insert_with(|| TokenBucket::full(self.rate));
        match bucket.take(self.rate, 1, now_ms) {
            true => Ok(()),
            false => Err(bucket.ready_ms(self.rate, 1).saturating_sub(now_ms)),
        }
    }

    /// Forgets the addresses whose buckets are full.
    fn sweep(&mut self, now_ms: u64) {
        let rate = self.rate;
        self.buckets.retain(|_, bucket| !bucket.is_full(rate, now_ms));
        self.sweep_at = (2 * self.buckets.len()).clamp(MIN_ADDRESSES, MAX_ADDRESSES);
        self.sweep_from_ms = now_ms + SWEEP_INTERVAL_MS;
        self.buckets.shrink_to(self.sweep_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: usize) -> AddressPrefix {
        AddressPrefix::V6(n as u64)
    }

    #[test]
    fn an_address_connects_so_often_at_once_and_then_at_its_rate() {
        let mut rates = ConnectRates::new(Rate::new(2, 3));
        for _ in 0..3 {
            assert_eq!(rates.acquire(address(1), 10), Ok(()));
        }
        assert_eq!(rates.acquire(address(1), 10), Err(500));
        assert_eq!(rates.acquire(address(2), 10), Ok(()));
        assert_eq!(rates.acquire(address(1), 509), Err(1));
        assert_eq!(rates.acquire(address(1), 510), Ok(()));
        assert_eq!(rates.acquire(address(1), 510), Err(500));
    }

    #[test]
    fn an_address_that_connects_seldom_is_forgotten() {
        let mut rates = ConnectRates::new(Rate::new(1, 1));
        for n in 0..1_000_000 {
            // A thousand addresses a second, each of which is back at its full rate after one.
            assert_eq!(rates.acquire(address(n), n as u64), Ok(()));
            assert!(rates.buckets.len() <= 4096, "{}", rates.buckets.len());
        }
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory_and_frees_nobody_that_is_limited() {
        let mut rates = ConnectRates::new(Rate::new(1, 1));
        for n in 0..2 * MAX_ADDRESSES {
            assert_eq!(rates.acquire(address(n), 0), Ok(()));
        }
        assert_eq!(rates.buckets.len(), MAX_ADDRESSES);
        assert_eq!(rates.acquire(address(7), 999), Err(1));
        assert_eq!(rates.acquire(address(2 * MAX_ADDRESSES), 1001), Ok(()));
        assert_eq!((rates.buckets.len(), rates.sweep_at), (1, MIN_ADDRESSES));
    }
}
