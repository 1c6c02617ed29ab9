//! [`GatewayTable`]: which other cluster has which gateway, by its address and by its alias.
//!
//! `clusters.rs` fills it from what clusters say of themselves, and asks it for each id.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use gatewayworker_client::ClusterName;
use gatewayworker_client::federation::ListedGateway;

use super::alias::alias;

/// The gateways of other clusters.
#[derive(Debug, Default)]
pub(super) struct GatewayTable {
    /// The clusters that have a gateway with an address, in the order of their names. Of clusters that have the same gateway, the first.
    by_address: BTreeMap<SocketAddrV4, Vec<(ClusterName, ListedGateway)>>,
    /// The gateways of clusters that are the same ones as those of other clusters.
    same: BTreeSet<(ClusterName, SocketAddrV4)>,
    by_alias: BTreeMap<SocketAddrV4, (ClusterName, SocketAddrV4)>,
    /// Aliases that several gateways have, and those gateways.
    collisions: BTreeMap<SocketAddrV4, Vec<(ClusterName, SocketAddrV4)>>,
    /// Addresses that gateways of several clusters have, and when they last had them.
    shared: BTreeMap<SocketAddrV4, u64>,
}

impl GatewayTable {
    /// Notes which gateways the other clusters have now, in the order of their names, and the own cluster: its name, and its gateways'
    /// addresses.
    pub(super) fn set<'a>(
        &mut self,
        others: impl Iterator<Item = (&'a ClusterName, &'a [ListedGateway])>,
        own: (&ClusterName, impl Iterator<Item = SocketAddrV4>),
        now_ms: u64,
    ) {
        self.by_address.clear();
        self.same.clear();
        let mut by_alias = BTreeMap::new();
        let mut add = |cluster: &ClusterName, gateway| {
            let named: &mut Vec<_> = by_alias.entry(alias(cluster, gateway)).or_default();
            if !named.iter().any(|(other, address)| other == cluster && *address == gateway) {
                named.push((cluster.clone(), gateway));
            }
        };
        own.1.for_each(|gateway| add(own.0, gateway));
        for (cluster, gateways) in others {
            for gateway in gateways {
                add(cluster, gateway.address);
                let known = self.by_address.entry(gateway.address).or_default();
                if known.iter().all(|(_, other)| other.differs_from(*gateway)) {
                    known.push((cluster.clone(), *gateway));
                } else {
                    self.same.insert((cluster.clone(), gateway.address));
                }
            }
        }
        let (unique, collisions) =
            by_alias.into_iter().partition::<BTreeMap<_, _>, _>(|(_, all)| all.len() == 1);
        self.collisions = collisions;
        let other = |(alias, mut all): (SocketAddrV4, Vec<_>)| Some((alias, all.pop()?));
        let is_other = |(_, (cluster, _)): &(SocketAddrV4, (ClusterName, _))| cluster != own.0;
        self.by_alias = unique.into_iter().filter_map(other).filter(is_other).collect();
        self.note_time(now_ms);
    }

    /// Notes that all is still so.
    pub(super) fn note_time(&mut self, now_ms: u64) {
        let shared = self.by_address.iter().filter(|(_, known)| known.len() > 1);
        self.shared.extend(shared.map(|(gateway, _)| (*gateway, now_ms)));
    }

    /// Forgets which addresses were shared for the last time before then.
    pub(super) fn forget(&mut self, before_ms: u64) {
        self.shared.retain(|_, at_ms| *at_ms >= before_ms);
    }

    /// The gateway with this alias.
    pub(super) fn by_alias(&self, alias: SocketAddrV4) -> Option<&(ClusterName, SocketAddrV4)> {
        self.by_alias.get(&alias)
    }

    /// The cluster that has the gateway with this address, if it is one alone.
    pub(super) fn by_address(&self, gateway: SocketAddrV4) -> Option<&ClusterName> {
        match self.by_address.get(&gateway).map(Vec::as_slice) {
            Some([(cluster, _)]) if !self.shared.contains_key(&gateway) => Some(cluster),
            _ => None,
        }
    }

    /// Whether gateways of other clusters have the address of this gateway, too, or had it not long ago.
    pub(super) fn is_shared(&self, cluster: &ClusterName, gateway: SocketAddrV4) -> bool {
        let known = self.by_address.get(&gateway);
        self.shared.contains_key(&gateway)
            || known.is_some_and(|known| known.iter().any(|(other, _)| other != cluster))
    }

    /// Whether a cluster's gateway is one that another cluster has, or may be: it has not said which it is.
    pub(super) fn is_same(&self, cluster: &ClusterName, gateway: SocketAddrV4) -> bool {
        self.same.contains(&(cluster.clone(), gateway))
    }

    /// The alias of a gateway, unless another known gateway has it.
    pub(super) fn alias(&self, cluster: &ClusterName, gateway: SocketAddrV4) -> Option<SocketAddrV4> {
        Some(alias(cluster, gateway)).filter(|alias| !self.collisions.contains_key(alias))
    }

    /// The gateways of which several have the same alias.
    pub(super) fn collisions(&self) -> impl Iterator<Item = &[(ClusterName, SocketAddrV4)]> {
        self.collisions.values().map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ClusterName {
        name.parse().unwrap()
    }

    fn gateway(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([10, 0, 0, 2].into(), port)
    }

    fn listed(port: u16, instance: u64) -> ListedGateway {
        ListedGateway { address: gateway(port), instance: (instance != 0).then_some(instance) }
    }

    fn table(others: &[(&str, &[ListedGateway])], own: &[SocketAddrV4]) -> GatewayTable {
        let mut table = GatewayTable::default();
        set(&mut table, others, own, 0);
        table
    }

    fn set(table: &mut GatewayTable, others: &[(&str, &[ListedGateway])], own: &[SocketAddrV4], now_ms: u64) {
        let others: Vec<_> = others.iter().map(|(cluster, gateways)| (name(cluster), *gateways)).collect();
        let others = others.iter().map(|(cluster, gateways)| (cluster, *gateways));
        table.set(others, (&name("own"), own.iter().copied()), now_ms);
    }

    #[test]
    fn an_address_of_two_networks_is_of_neither_and_their_aliases_are() {
        let table = table(&[("a", &[listed(1, 7), listed(2, 8)]), ("b", &[listed(1, 9)])], &[]);
        assert_eq!((table.by_address(gateway(1)), table.by_address(gateway(2))), (None, Some(&name("a"))));
        for (cluster, port) in [("a", 1), ("a", 2), ("b", 1)] {
            let alias = table.alias(&name(cluster), gateway(port)).unwrap();
            assert_eq!(table.by_alias(alias), Some(&(name(cluster), gateway(port))));
        }
        assert!(table.is_shared(&name("a"), gateway(1)) && table.is_shared(&name("b"), gateway(1)));
        assert!(!table.is_shared(&name("a"), gateway(2)));
        assert!(!table.is_same(&name("b"), gateway(1)));
    }

    #[test]
    fn a_gateway_that_two_clusters_have_is_one_of_the_first() {
        for instances in [(7, 7), (0, 7), (7, 0), (0, 0)] {
            let table = table(&[("a", &[listed(1, instances.0)]), ("b", &[listed(1, instances.1)])], &[]);
            assert_eq!(table.by_address(gateway(1)), Some(&name("a")), "{instances:?}");
            assert!(table.is_same(&name("b"), gateway(1)) && !table.is_same(&name("a"), gateway(1)));
        }
    }

    #[test]
    fn an_address_stays_shared_while_one_of_its_gateways_starts_again() {
        let mut table = table(&[("a", &[listed(1, 7)]), ("b", &[listed(1, 9)])], &[]);
        set(&mut table, &[("a", &[]), ("b", &[listed(1, 9)])], &[], 10);
        assert_eq!(table.by_address(gateway(1)), None);
        assert!(table.is_shared(&name("a"), gateway(1)) && table.is_shared(&name("b"), gateway(1)));
        table.forget(1);
        assert_eq!(table.by_address(gateway(1)), Some(&name("b")));
        assert!(!table.is_shared(&name("b"), gateway(1)));
    }

    /// Two gateways whose aliases are the same, found by trying four million.
    const COLLISION: [(&str, &str); 2] = [("a", "10.18.28.61:2300"), ("b", "10.1.56.247:2300")];

    #[test]
    fn an_alias_of_two_gateways_is_of_neither() {
        let [one, other] = COLLISION.map(|(cluster, gateway)| (name(cluster), gateway.parse().unwrap()));
        let list = |gateway| [ListedGateway { address: gateway, instance: None }];
        let both = table(&[("a", &list(one.1)), ("b", &list(other.1))], &[]);
        assert_eq!(both.alias(&one.0, one.1), None);
        assert_eq!(both.alias(&other.0, other.1), None);
        assert_eq!(both.by_alias(alias(&one.0, one.1)), None);
        assert_eq!(both.collisions().collect::<Vec<_>>(), [[one.clone(), other.clone()]]);
        let alone = table(&[("a", &list(one.1))], &[gateway(1)]);
        assert_eq!(alone.by_alias(alias(&one.0, one.1)), Some(&one));
        assert_eq!(alone.collisions().count(), 0);
    }

    #[test]
    fn an_alias_of_an_own_gateway_is_not_of_another_cluster() {
        let table = table(&[("a", &[listed(1, 7)])], &[gateway(1)]);
        assert_eq!(table.by_alias(alias(&name("own"), gateway(1))), None);
        assert_eq!(table.alias(&name("own"), gateway(1)), Some(alias(&name("own"), gateway(1))));
    }
}
