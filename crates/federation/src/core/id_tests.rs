//! Clusters whose gateways have the same addresses: which client an id means, and which clusters are one mesh. At the end federations
//! drawn from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use gatewayworker_client::federation::ListedGateway;
use gatewayworker_client::{ClientId, ClusterName};

use super::clusters::{Clusters, Heard, Presence};
use gatewayworker_protocol::hash::hash;

fn name(name: &str) -> ClusterName {
    name.parse().unwrap()
}

fn gateway(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new([10, 0, 0, 1].into(), port)
}

/// Gateways with these instances.
fn has_instances(gateways: &[(u16, u64)]) -> Presence {
    let listed =
        |(port, instance): &(u16, u64)| ListedGateway { address: gateway(*port), instance: Some(*instance) };
    Presence { gateways: gateways.iter().map(listed).collect(), is_leaving: false }
}

fn connected() -> Clusters {
    let mut clusters = Clusters::new(name("own"));
    clusters.set_connected(true, 0);
    clusters
}

/// The cluster that a plain id with this port means.
fn found(clusters: &Clusters, port: u16) -> Option<ClusterName> {
    clusters.find_gateway(gateway(port)).map(|(cluster, _)| cluster)
}

#[test]
fn a_cluster_with_the_addresses_of_another_network_is_heard_and_its_ids_are_qualified() {
    let mut clusters = connected();
    clusters.hear(name("own"), 1, 1, has_instances(&[(1, 11), (2, 12)]), 0);
    assert_eq!(clusters.hear(name("a"), 2, 1, has_instances(&[(1, 21), (3, 23)]), 0), Heard::New);
    assert_eq!(clusters.hear(name("b"), 3, 1, has_instances(&[(3, 33), (4, 34)]), 0), Heard::New);
    assert_eq!(clusters.overlapping().count(), 0);
    let in_ids = |cluster: &str, port, is_own| clusters.address_in_ids(&name(cluster), gateway(port), is_own);
    let alias = |cluster: &str, port| clusters.alias(Some(&name(cluster)), gateway(port));
    assert_eq!(in_ids("a", 1, false), alias("a", 1), "the own cluster has it");
    assert_eq!(in_ids("a", 3, false), alias("a", 3), "b has it");
    assert_eq!(in_ids("b", 3, false), alias("b", 3));
    assert_eq!(in_ids("b", 4, false), Some(gateway(4)));
    assert_eq!(in_ids("b", 4, true), None, "the handle has it, and nobody says which it is");
    for (cluster, port) in [("a", 1), ("a", 3), ("b", 3), ("b", 4)] {
        let found = clusters.find_gateway(alias(cluster, port).unwrap());
        assert_eq!(found, Some((name(cluster), gateway(port))));
    }
    assert_eq!([1, 3].map(|port| found(&clusters, port)), [None, None], "nobody knows which is meant");
    assert_eq!(found(&clusters, 4), Some(name("b")));
    let own = clusters.alias(None, gateway(1));
    assert_eq!(own, clusters.alias(Some(&name("own")), gateway(1)));
    assert_eq!(clusters.find_gateway(own.unwrap()), None);
}

#[test]
fn the_own_cluster_by_another_name_is_found_also_while_a_gateway_starts_again() {
    let mut clusters = connected();
    clusters.hear(name("own"), 1, 1, has_instances(&[(1, 11)]), 0);
    assert_eq!(clusters.hear(name("renamed"), 2, 1, has_instances(&[(1, 11)]), 0), Heard::Overlaps);
    clusters.hear(name("own"), 1, 1, has_instances(&[(1, 12)]), 1_000);
    assert!(clusters.overlaps(&name("renamed")));
    assert_eq!(clusters.hear(name("renamed"), 2, 2, has_instances(&[(1, 12)]), 2_000), Heard::Known);
    clusters.hear(name("own"), 1, 1, has_instances(&[(1, 12)]), 20_000);
    assert!(clusters.overlaps(&name("renamed")));
    assert_eq!(clusters.address_in_ids(&name("renamed"), gateway(1), true), None);
}

#[test]
fn a_third_cluster_gets_no_ids_of_a_mesh_under_its_second_name() {
    let mut clusters = connected();
    clusters.hear(name("a"), 1, 1, has_instances(&[(1, 11)]), 0);
    clusters.hear(name("renamed"), 2, 1, has_instances(&[(1, 11)]), 0);
    assert_eq!(found(&clusters, 1), Some(name("a")));
    assert_eq!(clusters.address_in_ids(&name("a"), gateway(1), false), Some(gateway(1)));
    assert_eq!(clusters.address_in_ids(&name("renamed"), gateway(1), false), None);
}

/// Numbers that look random, the same ones for each seed.
struct Numbers {
    seed: u64,
    count: u64,
}

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.count += 1;
        hash(&[&self.seed.to_be_bytes(), &self.count.to_be_bytes()]) % limit
    }
}

type Gateways = BTreeMap<ClusterName, BTreeMap<SocketAddrV4, u64>>;

/// Clusters with some gateways each, of few addresses, and with an instance each.
fn gateways(numbers: &mut Numbers) -> Gateways {
    let mut all = Gateways::new();
    for cluster in 0..2 + numbers.below(5) {
        let mut gateways = BTreeMap::new();
        for _ in 0..1 + numbers.below(4) {
            let address = SocketAddrV4::new([10, 0, 0, numbers.below(3) as u8].into(), 2300);
            gateways.insert(address, 1 + numbers.below(u64::MAX));
        }
        all.insert(format!("c{cluster}").parse().unwrap(), gateways);
    }
    all
}

/// What a process of a cluster knows, which has heard of all clusters in some order, and of some several times.
fn process(own: &ClusterName, all: &Gateways, numbers: &mut Numbers) -> Clusters {
    let mut clusters = Clusters::new(own.clone());
    clusters.set_connected(true, 0);
    let mut unheard: BTreeSet<_> = all.keys().collect();
    for at in 1.. {
        if unheard.is_empty() {
            break;
        }
        let said = all.keys().nth(numbers.below(all.len() as u64) as usize).unwrap();
        unheard.remove(said);
        let listed = |(address, instance): (&SocketAddrV4, &u64)| ListedGateway {
            address: *address,
            instance: Some(*instance),
        };
        let presence = Presence { gateways: all[said].iter().map(listed).collect(), is_leaving: false };
        clusters.hear(said.clone(), 1, at, presence, at);
    }
    clusters
}

#[test]
fn an_id_means_the_same_client_in_all_processes() {
    for seed in 0..300 {
        let mut numbers = Numbers { seed, count: 0 };
        let all = gateways(&mut numbers);
        let processes: BTreeMap<_, _> =
            all.keys().map(|own| (own, process(own, &all, &mut numbers))).collect();
        for (own, clusters) in &processes {
            assert_eq!(clusters.overlapping().count(), 0, "seed {seed}: these are networks of their own");
            let mut in_ids = BTreeSet::from_iter(all[own].keys().copied());
            let others = all.iter().filter(|(cluster, _)| cluster != own);
            for (cluster, gateway) in others.flat_map(|(c, gateways)| gateways.keys().map(move |g| (c, *g))) {
                let meant = Some((cluster.clone(), gateway));
                let is_own = all[own].contains_key(&gateway);
                let address = clusters.address_in_ids(cluster, gateway, is_own).unwrap();
                assert!(in_ids.insert(address), "seed {seed}: {address} is two gateways' for {own}");
                assert_eq!(
                    clusters.find_gateway(address),
                    meant,
                    "seed {seed}: an id of an answer, in {own}"
                );
                assert!(!is_own || ClientId::is_alias(address));

                let alias = clusters.alias(Some(cluster), gateway).unwrap();
                assert_eq!(processes[cluster].alias(None, gateway), Some(alias));
                assert_eq!(processes[cluster].find_gateway(alias), None, "it is an own one there");
                for (third, clusters) in processes.iter().filter(|(third, _)| **third != cluster) {
                    assert_eq!(
                        clusters.find_gateway(alias),
                        meant,
                        "seed {seed}: a qualified id, in {third}"
                    );
                }
            }
        }
    }
}
