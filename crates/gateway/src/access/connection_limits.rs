//! How many clients are in from one address.
//!
//! The table holds the addresses that somebody is in from, and no others: it is as
//! bounded as the connections are.

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use gatewayworker_net::Network;

/// How many are in from which address.
#[derive(Debug)]
pub(crate) struct AddressLimits {
    /// How many may be.
    max: usize,
    now: DashMap<Network, usize, RandomState>,
}

impl AddressLimits {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, now: DashMap::default() }
    }

    /// One more, if there may be.
    pub(crate) fn take(&self, network: Network) -> bool {
        let mut now = self.now.entry(network).or_insert(0);
        let room = *now < self.max;
        *now += usize::from(room);
        room
    }

    /// One less.
    pub(crate) fn give_back(&self, network: Network) {
        if let Entry::Occupied(mut now) = self.now.entry(network) {
            *now.get_mut() -= 1;
            if *now.get() == 0 {
                now.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let addresses = AddressLimits::new(2);
        let address = network("192.0.2.1");
        assert!(addresses.take(address) && addresses.take(address));
        assert!(!addresses.take(address));
        assert!(addresses.take(network("192.0.2.2")));
        addresses.give_back(address);
        assert!(addresses.take(address));
        assert!(!addresses.take(address));
    }

    #[test]
    fn an_address_that_nobody_is_in_from_is_forgotten() {
        let addresses = AddressLimits::new(1);
        for n in 0..100_u8 {
            let address = Network::V4([192, 0, 2, n]);
            assert!(addresses.take(address));
            assert_eq!(addresses.now.len(), 1);
            addresses.give_back(address);
        }
        assert!(addresses.now.is_empty());
    }
}
