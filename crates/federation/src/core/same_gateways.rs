//! [`SameGateways`]: whether another cluster has a gateway of the own one, which is then one mesh under two names.
//!
//! An address alone does not tell: private networks have the same ones. A gateway's instance does. It changes when the gateway starts
//! again, and two clusters hear of that one after the other: so the gateway counts as the same for a while.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use gatewayworker_client::ClusterName;
use gatewayworker_client::federation::ListedGateway;

/// A gateway that was the same one for two clusters counts as such for so long while they name different instances, in ms: longer than it takes until
/// both have heard of the new one.
const SAME_MS: u64 = 10_000;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct SameGateways {
    found_ms: BTreeMap<(ClusterName, SocketAddrV4), u64>,
}

impl SameGateways {
    /// Whether one of a cluster's gateways is, or may be, one of the own gateways.
    pub(super) fn check(
        &mut self,
        cluster: &ClusterName,
        gateways: &[ListedGateway],
        own: &[ListedGateway],
        now_ms: u64,
    ) -> bool {
        self.found_ms.retain(|_, at_ms| now_ms < *at_ms + SAME_MS);
        let mut is_same = false;
        for gateway in gateways {
            let mut with_address = own.iter().filter(|own| own.address == gateway.address).peekable();
            if with_address.peek().is_none() {
                continue;
            }
            let key = (cluster.clone(), gateway.address);
            if with_address.any(|own| !own.differs_from(*gateway)) {
                self.found_ms.insert(key, now_ms);
                is_same = true;
            } else {
                is_same |= self.found_ms.contains_key(&key);
            }
        }
        is_same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(instance: u64) -> [ListedGateway; 1] {
        let address = SocketAddrV4::new([10, 0, 0, 2].into(), 2300);
        [ListedGateway { address, instance: (instance != 0).then_some(instance) }]
    }

    fn check(same: &mut SameGateways, other: u64, own: u64, now_ms: u64) -> bool {
        same.check(&"a".parse().unwrap(), &listed(other), &listed(own), now_ms)
    }

    #[test]
    fn a_gateway_is_the_same_one_unless_both_say_which_they_are_and_differ() {
        for (other, own, is_same) in [(7, 7, true), (7, 8, false), (0, 8, true), (7, 0, true), (0, 0, true)] {
            assert_eq!(check(&mut SameGateways::default(), other, own, 0), is_same, "{other} {own}");
        }
        assert!(!SameGateways::default().check(&"a".parse().unwrap(), &listed(7), &[], 0));
    }

    #[test]
    fn a_gateway_that_starts_again_stays_the_same_one_until_both_have_heard_of_it() {
        let mut same = SameGateways::default();
        assert!(check(&mut same, 7, 7, 0));
        assert!(check(&mut same, 7, 8, SAME_MS - 1), "the other cluster has not heard of it");
        assert!(check(&mut same, 8, 8, SAME_MS - 1));
        assert!(check(&mut same, 9, 8, 2 * SAME_MS - 2));
        assert!(!check(&mut same, 9, 8, 2 * SAME_MS - 1));
    }

    #[test]
    fn gateways_of_two_networks_stay_two_when_one_starts_again() {
        let mut same = SameGateways::default();
        for (other, own) in [(1, 2), (3, 2), (3, 4), (5, 4)] {
            assert!(!check(&mut same, other, own, 0));
        }
    }
}
