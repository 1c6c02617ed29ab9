//! [`alias`]: the address that stands for a gateway in qualified ids.

use std::net::{Ipv4Addr, SocketAddrV4};

use gatewayworker_client::ClusterName;

use gatewayworker_protocol::hash::hash;

/// The alias of a gateway of this cluster: 44 bits of a hash, in 240.0.0.0/4, where no gateway is. All processes of all clusters compute the
/// same one.
pub(super) fn alias(cluster: &ClusterName, gateway: SocketAddrV4) -> SocketAddrV4 {
    let (ip, port) = (gateway.ip().octets(), gateway.port().to_be_bytes());
    let hash = hash(&[b"alias", &ip, &port, cluster.as_str().as_bytes()]);
    let ip = 0xf000_0000 | ((hash >> 16) as u32 & 0x0fff_ffff);
    SocketAddrV4::new(Ipv4Addr::from(ip), hash as u16)
}

#[cfg(test)]
mod tests {
    use gatewayworker_client::ClientId;

    use super::*;

    fn name(name: &str) -> ClusterName {
        name.parse().unwrap()
    }

    /// Numbers that look random and are the same each time.
    fn addresses(count: u64) -> impl Iterator<Item = SocketAddrV4> {
        (0..count).map(|n| {
            let bits = hash(&[&n.to_be_bytes()]);
            SocketAddrV4::new(Ipv4Addr::from((bits >> 16) as u32), bits as u16)
        })
    }

    #[test]
    fn an_alias_is_an_address_that_no_gateway_has() {
        for address in addresses(100_000) {
            let alias = alias(&name("sh-1"), address);
            assert!(ClientId::is_alias(alias), "{address} {alias}");
            assert!(alias.ip().is_broadcast() || alias.ip().octets()[0] >= 240);
        }
    }

    /// Other versions and platforms have to compute these.
    #[test]
    fn the_aliases_of_all_versions_are_the_same() {
        let of = |cluster: &str, gateway: &str| alias(&name(cluster), gateway.parse().unwrap()).to_string();
        assert_eq!(of("sh-1", "10.0.0.2:2300"), "253.249.253.20:32561");
        assert_eq!(of("bj-1", "10.0.0.2:2300"), "255.248.8.65:6117");
        assert_eq!(of("bj-1", "127.0.0.1:2301"), "244.176.214.105:52338");
    }

    #[test]
    fn clusters_with_the_same_addresses_have_other_aliases() {
        let mut all = std::collections::BTreeSet::new();
        for cluster in 0..50 {
            for address in addresses(1_000) {
                all.insert(alias(&name(&format!("c{cluster}")), address));
            }
        }
        assert_eq!(all.len(), 50_000);
    }
}
