//! [`OwnGateways`]: which own gateways are announced to other clusters.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use gatewayworker_client::federation::ListedGateway;

/// A gateway that does not say its instance is announced after so long, in ms: a gateway of the original never does, one of ours
/// when the worker is attached.
const WAIT_MS: u64 = 5_000;

/// The own gateways whose instance is not known.
#[derive(Debug, Default)]
pub(crate) struct OwnGateways {
    since_ms: BTreeMap<SocketAddrV4, u64>,
}

impl OwnGateways {
    /// Returns those of the connected gateways that are to be announced: a gateway without its instance would be taken for any other
    /// with its address.
    pub(crate) fn announced(&mut self, mut connected: Vec<ListedGateway>, now_ms: u64) -> Vec<ListedGateway> {
        let is_unknown = |gateway: &ListedGateway| gateway.instance.is_none();
        self.since_ms.retain(|address, _| connected.iter().any(|g| is_unknown(g) && g.address == *address));
        connected.retain(|gateway| {
            !is_unknown(gateway)
                || now_ms >= *self.since_ms.entry(gateway.address).or_insert(now_ms) + WAIT_MS
        });
        connected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(port: u16, instance: Option<u64>) -> ListedGateway {
        ListedGateway { address: SocketAddrV4::new([10, 0, 0, 2].into(), port), instance }
    }

    #[test]
    fn a_gateway_is_announced_with_its_instance_or_when_it_has_not_said_one_for_a_while() {
        let mut own = OwnGateways::default();
        let (ours, starting, php) = (listed(1, Some(7)), listed(2, None), listed(3, None));
        assert_eq!(own.announced(vec![ours, starting, php], 10), [ours]);
        assert_eq!(own.announced(vec![ours, listed(2, Some(8)), php], 11), [ours, listed(2, Some(8))]);
        assert_eq!(own.announced(vec![ours, php], 10 + WAIT_MS), [ours, php]);
        assert_eq!(own.announced(vec![starting], 10 + WAIT_MS), [], "its connection is another one");
    }
}
