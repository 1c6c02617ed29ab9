//! How many processes `scale` starts, and which clients belong to which. Plain data.
//!
//! Clients of a generator are spread over all gateways of its clusters, in turns. So neighbours, who make a group, are on
//! different gateways, and one process sees all deliveries of a message to a group. A generator has one cluster, unless
//! NATS joins the clusters.

use crate::args::{MembersIn, Scale};

/// The number of processes of each kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) clients: u32,
    pub(super) clusters: u32,
    /// Gateways, and workers, of each cluster.
    pub(super) gateways: u32,
    pub(super) workers: u32,
    /// Processes of the load generator. Process g belongs to cluster g modulo `clusters`, and to those that follow.
    pub(super) generators: u32,
    /// How many clusters a generator belongs to, and so in how many the members of a group are.
    pub(super) members_in: u32,
}

impl Plan {
    /// The plan of the flags.
    ///
    /// # Errors
    /// There would be more gateways or generators than this run has addresses for, or clients than they hold. The text
    /// says what to change.
    pub(super) fn new(scale: &Scale) -> Result<Self, String> {
        let &Scale { clients, clusters, workers, per_process, .. } = scale;
        // The processes of each cluster, so that all clusters have the same number.
        let needed = clients.div_ceil(clusters).div_ceil(per_process);
        let gateways = scale.gateways.unwrap_or(needed);
        let members_in = match scale.federation {
            true => scale.members_in.unwrap_or(MembersIn::All).count(clusters),
            false => 1,
        };
        if scale.federation && clusters < 2 {
            return Err("--federation joins clusters: set --clusters to 2 or more".into());
        }
        if members_in > clusters {
            return Err(format!("--members-in is more than the {clusters} clusters"));
        }
        let plan = Plan { clients, clusters, gateways, workers, generators: needed * clusters, members_in };
        if gateways < needed {
            return Err(format!(
                "{clients} clients need {needed} gateways in each cluster, as each has at most {per_process}: raise \
                 --gateways or --per-process"
            ));
        }
        let most = 254 - clusters;
        if gateways * clusters > most || plan.generators > most {
            return Err(format!(
                "{} gateways are more than the {most} that have an address here: raise --per-process",
                gateways * clusters
            ));
        }
        Ok(plan)
    }

    /// The number of clients of a generator.
    pub(super) fn clients_of(&self, generator: u32) -> u32 {
        self.clients / self.generators + u32::from(generator < self.clients % self.generators)
    }

    /// The gateways of a generator, each as its cluster and its place in the cluster. Clusters take turns.
    pub(super) fn gateways_of(&self, generator: u32) -> impl Iterator<Item = (u32, u32)> {
        let Plan { clusters, gateways, members_in, .. } = *self;
        (0..gateways).flat_map(move |gateway| {
            (0..members_in).map(move |more| ((generator + more) % clusters, gateway))
        })
    }

    /// The place among the gateways of a generator to which its first client connects.
    pub(super) fn first_gateway(&self, generator: u32) -> u32 {
        generator / self.clusters * self.members_in % (self.gateways * self.members_in)
    }

    /// The most clients that a gateway will have.
    #[cfg(test)]
    fn most_of_a_gateway(&self) -> u32 {
        let mut counts = vec![vec![0; self.gateways as usize]; self.clusters as usize];
        for generator in 0..self.generators {
            let gateways: Vec<_> = self.gateways_of(generator).collect();
            for client in 0..self.clients_of(generator) {
                let (cluster, gateway) =
                    gateways[(self.first_gateway(generator) + client) as usize % gateways.len()];
                counts[cluster as usize][gateway as usize] += 1;
            }
        }
        counts.into_iter().flatten().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn plan(flags: &str) -> Result<Plan, String> {
        let line = format!("bench scale {flags}");
        match crate::args::Cli::try_parse_from(line.split_whitespace()).unwrap().case {
            crate::args::Case::Scale(scale) => Plan::new(&scale),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_million_clients_have_as_many_processes_as_they_need() {
        let plan = plan("--clients 1000000").unwrap();
        assert_eq!((plan.gateways, plan.generators), (53, 53));
        assert_eq!((0..53).map(|generator| plan.clients_of(generator)).sum::<u32>(), 1_000_000);
        assert!(plan.most_of_a_gateway() <= 19_000, "{}", plan.most_of_a_gateway());
    }

    #[test]
    fn clusters_share_the_clients() {
        let plan = plan("--clients 1000000 --clusters 10").unwrap();
        assert_eq!((plan.gateways, plan.generators), (6, 60));
        assert!(plan.most_of_a_gateway() <= 19_000, "{}", plan.most_of_a_gateway());
        let clusters =
            |generator| plan.gateways_of(generator).map(|(cluster, _)| cluster).collect::<Vec<_>>();
        assert_eq!([0, 9, 10, 25].map(clusters), [[0; 6], [9; 6], [0; 6], [5; 6]]);
        assert_eq!([0, 9, 10, 25].map(|generator| plan.first_gateway(generator)), [0, 0, 1, 2]);
    }

    #[test]
    fn neighbours_are_in_several_clusters_that_nats_joins() {
        for (flags, members_in) in [("", 10), ("--members-in all", 10), ("--members-in 3", 3)] {
            let flags = format!("--clients 1000000 --clusters 10 --federation {flags}");
            let plan = plan(&flags).unwrap();
            assert_eq!((plan.gateways, plan.generators), (6, 60));
            assert!(plan.most_of_a_gateway() <= 19_000, "{flags}: {}", plan.most_of_a_gateway());
            let gateways: Vec<_> = plan.gateways_of(25).collect();
            assert_eq!(gateways.len(), 6 * members_in);
            let ten: std::collections::BTreeSet<_> =
                gateways[..10].iter().map(|(cluster, _)| cluster).collect();
            assert_eq!(ten.len(), members_in);
        }
    }

    #[test]
    fn one_cluster_is_not_joined_with_others() {
        let alone = plan("--federation").unwrap_err();
        assert!(alone.contains("--clusters"), "{alone}");
        let many = plan("--clusters 2 --federation --members-in 3").unwrap_err();
        assert!(many.contains("--members-in is more than the 2 clusters"), "{many}");
    }

    #[test]
    fn too_few_and_too_many_processes_are_refused() {
        let few = plan("--clients 100000 --gateways 5").unwrap_err();
        assert!(few.contains("need 6 gateways"), "{few}");
        let many = plan("--clients 10000000").unwrap_err();
        assert!(many.contains("527 gateways"), "{many}");
        assert!(plan("--clients 10000000 --per-process 100000").is_ok());
    }
}
