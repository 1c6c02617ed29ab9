//! How many clients are in from one address.
//!
//! The table holds the addresses that somebody is in from, and no others: it is as
//! bounded as the connections are.

use std::net::IpAddr;

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;

/// What counts as one address: of IPv6 the first 64 bits, as everybody has all of the
/// addresses behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4([u8; 4]),
    V6(u64),
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => Self::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

/// How many are in from which address.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// How many may be.
    max: usize,
    now: DashMap<Network, usize, RandomState>,
}

impl Addresses {
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
    use super::*;

    fn network(text: &str) -> Network {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let addresses = Addresses::new(2);
        let address = network("192.0.2.1");
        assert!(addresses.take(address) && addresses.take(address));
        assert!(!addresses.take(address));
        assert!(addresses.take(network("192.0.2.2")));
        addresses.give_back(address);
        assert!(addresses.take(address));
        assert!(!addresses.take(address));
    }

    #[test]
    fn ipv6_is_counted_by_its_first_64_bits_and_ipv4_in_its_clothes_as_ipv4() {
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("::ffff:192.0.2.1"), network("::ffff:192.0.2.2"));
    }

    #[test]
    fn an_address_that_nobody_is_in_from_is_forgotten() {
        let addresses = Addresses::new(1);
        for n in 0..100_u8 {
            let address = Network::V4([192, 0, 2, n]);
            assert!(addresses.take(address));
            assert_eq!(addresses.now.len(), 1);
            addresses.give_back(address);
        }
        assert!(addresses.now.is_empty());
    }
}
