//! The limit on clients from one address (`max_connections_per_address`).
//!
//! The table holds only addresses that have clients, so it is no larger than the number of
//! connections. A [`ConnectionPermit`](crate::listener::ConnectionPermit) acquires and releases.

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use gatewayworker_net::AddressPrefix;

/// The number of clients from each address, or /64 network of IPv6.
#[derive(Debug)]
pub(crate) struct AddressLimits {
    /// The most clients from one address.
    max: usize,
    counts: DashMap<AddressPrefix, usize, RandomState>,
}

impl AddressLimits {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, counts: DashMap::default() }
    }

    /// Counts one more client, unless the limit is reached. Returns whether it was counted.
    pub(crate) fn acquire(&self, network: AddressPrefix) -> bool {
        let mut count = self.counts.entry(network).or_insert(0);
        let has_room = *count < self.max;
        *count += usize::from(has_room);
        has_room
    }

    /// Counts one client less.
    pub(crate) fn release(&self, network: AddressPrefix) {
        if let Entry::Occupied(mut count) = self.counts.entry(network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(text: &str) -> AddressPrefix {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_address_has_so_many_clients_and_may_have_others_when_they_have_left() {
        let addresses = AddressLimits::new(2);
        let address = network("192.0.2.1");
        assert!(addresses.acquire(address) && addresses.acquire(address));
        assert!(!addresses.acquire(address));
        assert!(addresses.acquire(network("192.0.2.2")));
        addresses.release(address);
        assert!(addresses.acquire(address));
        assert!(!addresses.acquire(address));
    }

    #[test]
    fn an_address_without_clients_is_forgotten() {
        let addresses = AddressLimits::new(1);
        for n in 0..100_u8 {
            let address = AddressPrefix::V4([192, 0, 2, n]);
            assert!(addresses.acquire(address));
            assert_eq!(addresses.counts.len(), 1);
            addresses.release(address);
        }
        assert!(addresses.counts.is_empty());
    }
}
