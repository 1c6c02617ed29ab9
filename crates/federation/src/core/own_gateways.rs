//! [`OwnGateways`]: which own gateways are announced to other clusters.
//!
//! `serving.rs` asks it for each announcement. A gateway that this worker alone does not reach for a moment is still one of the cluster.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use gatewayworker_client::federation::ListedGateway;

/// A gateway that does not say its instance is announced after so long, in ms: a gateway of the original never does, one of ours
/// when the worker is attached.
const WAIT_MS: u64 = 5_000;

/// A gateway that is listed goes on being announced for so long after its connection was lost, in ms: longer than it takes to connect and attach
/// again.
const KEEP_MS: u64 = 10_000;

/// The own gateways that were connected not long ago.
#[derive(Debug, Default)]
pub(crate) struct OwnGateways {
    /// Those whose instance is not known, and since when.
    since_ms: BTreeMap<SocketAddrV4, u64>,
    /// Those that are announced, and when they were last connected so.
    announced: BTreeMap<SocketAddrV4, (ListedGateway, u64)>,
}

impl OwnGateways {
    /// Returns the gateways that are to be announced, of those that are listed. A connected gateway without its instance would be taken for any other
    /// with its address: it waits. One that was announced and is not connected any more has its last instance.
    pub(crate) fn announced(
        &mut self,
        mut connected: Vec<ListedGateway>,
        listed: &[SocketAddrV4],
        now_ms: u64,
    ) -> Vec<ListedGateway> {
        let is_unknown = |gateway: &ListedGateway| gateway.instance.is_none();
        self.since_ms.retain(|address, _| connected.iter().any(|g| is_unknown(g) && g.address == *address));
        connected.retain(|gateway| {
            !is_unknown(gateway)
                || now_ms >= *self.since_ms.entry(gateway.address).or_insert(now_ms) + WAIT_MS
        });
        self.announced.extend(connected.into_iter().map(|gateway| (gateway.address, (gateway, now_ms))));
        self.announced.retain(|address, (_, at_ms)| listed.contains(address) && now_ms < *at_ms + KEEP_MS);
        self.announced.values().map(|(gateway, _)| *gateway).collect()
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
        let all = [1, 2, 3].map(|port| listed(port, None).address);
        assert_eq!(own.announced(vec![ours, starting, php], &all, 10), [ours]);
        assert_eq!(own.announced(vec![ours, starting], &all, 11), [ours]);
        assert_eq!(own.announced(vec![ours, listed(2, Some(8)), php], &all, 12), [ours, listed(2, Some(8))]);
        let since_ms = 12;
        assert_eq!(own.announced(vec![ours, php], &all[..1], since_ms + WAIT_MS - 1), [ours]);
        assert_eq!(own.announced(vec![ours, php], &all, since_ms + WAIT_MS), [ours, php]);
    }

    #[test]
    fn a_listed_gateway_that_is_not_connected_for_a_moment_goes_on_being_announced() {
        let mut own = OwnGateways::default();
        let (ours, other) = (listed(1, Some(7)), listed(2, Some(8)));
        let all = [ours.address, other.address];
        assert_eq!(own.announced(vec![ours, other], &all, 0), [ours, other]);
        assert_eq!(own.announced(vec![ours], &all, 1), [ours, other]);
        assert_eq!(
            own.announced(vec![ours, listed(2, None)], &all, 2),
            [ours, other],
            "it is not attached yet"
        );
        assert_eq!(own.announced(vec![ours], &all, KEEP_MS - 1), [ours, other]);
        assert_eq!(own.announced(vec![ours], &all, KEEP_MS), [ours]);
        let again = listed(2, Some(9));
        assert_eq!(own.announced(vec![ours, again], &all, KEEP_MS), [ours, again], "it is another process");
        assert_eq!(own.announced(vec![], &all[..1], KEEP_MS), [ours], "the other one has gone");
    }
}
