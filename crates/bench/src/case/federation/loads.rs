//! Messages to groups, to uids and to all, with members in some of the clusters or in all. `crossing` sends and measures,
//! and the `ledger` checks each delivery.

use anyhow::{Context, Result};

use super::SETTLE;
use super::side::Side;
use crate::args::{self, Load};
use crate::case::Target;
use crate::case::crossing::send_to_groups;
use crate::case::ledger::Groups;
use crate::case::mesh::interleave;
use crate::case::spread::spread;
use crate::client_set::ClientSet;
use crate::open::{Opening, frames};
use crate::report::{Metric, Progress};

/// How many clients connect at the same time.
const PARALLEL: u32 = 16;

/// A side with its clients.
pub(super) struct Loaded {
    name: String,
    target: Target,
    client_set: ClientSet,
    /// In how many clusters members are, and the clients in the order of their groups.
    orders: Vec<(u32, Vec<usize>)>,
}

impl Loaded {
    /// Opens the clients, and lets them join their groups: one group for each number of clusters.
    ///
    /// # Errors
    /// A client cannot open, or has lost its connection.
    pub(super) async fn open(flags: &args::Federation, side: &Side, progress: &Progress) -> Result<Self> {
        let mut by_cluster = Vec::new();
        for urls in &side.urls {
            let mut of_cluster = Vec::new();
            for url in urls {
                let opening = Opening {
                    url: url.clone(),
                    clients: flags.clients(),
                    parallel: PARALLEL,
                    greeting: true,
                    group_size: None,
                    over: None,
                };
                of_cluster.push(opening.run(false, progress).await?.clients);
            }
            by_cluster.push(interleave(of_cluster));
        }
        let orders = orders(flags, &by_cluster.iter().map(Vec::len).collect::<Vec<_>>());
        let mut clients: Vec<_> = by_cluster.into_iter().flatten().collect();
        for (count, order) in &orders {
            for (place, client) in order.iter().enumerate() {
                let join = format!("J{} ", group_name(*count, place, flags.group_size));
                clients[*client].barrier(&frames(&[&join, "E"])).await.context("joining a group")?;
            }
        }
        tokio::time::sleep(SETTLE).await;
        let url = side.urls.iter().flatten().next().context("no gateway")?.clone();
        let target =
            Target { url, processes: side.processes(), nats: side.nats_processes(), parts: Vec::new() };
        Ok(Loaded { name: side.name.clone(), target, client_set: ClientSet::new(clients), orders })
    }

    /// Measures one round, and adds its figures. Returns how many deliveries are lost or misplaced.
    ///
    /// # Errors
    /// A process has ended, a client has lost its connection, or nothing arrives any more.
    pub(super) async fn measure(&self, flags: &args::Federation, metrics: &mut Vec<Metric>) -> Result<u64> {
        let mut lost = 0;
        for (count, order) in &self.orders {
            let clients = self.client_set.ordered(order);
            for kind in ["group", "uid"] {
                let name = |place: usize| group_name(*count, place, flags.group_size);
                let prefix = |place: usize| match kind {
                    "uid" => format!("V{} ", name(place)),
                    _ => format!("G{} ", name(place)),
                };
                if kind == "uid" {
                    bind(&clients, name).await?;
                }
                let all = clients.len() as u32;
                let one = Groups { clients: all.min(flags.group_size), size: flags.group_size, senders: 1 };
                let busy = Groups { clients: all, size: flags.group_size, senders: flags.in_flight };
                let what = format!("{kind}_in_{count}");
                lost += self.send(&clients, one, &prefix, &what, &flags.load, metrics).await?;
                let what = format!("busy_{what}");
                lost += self.send(&clients, busy, &prefix, &what, &flags.load, metrics).await?;
            }
        }
        let all = self.client_set.len() as u32;
        let everybody = Groups { clients: all, size: all, senders: 1 };
        let prefix = |_| "B".to_owned();
        lost += self.send(&self.client_set, everybody, &prefix, "broadcast", &flags.load, metrics).await?;
        metrics.push(Metric::new("lost", "", lost as f64));
        Ok(lost)
    }

    async fn send(
        &self,
        clients: &ClientSet,
        groups: Groups,
        prefix: &dyn Fn(usize) -> String,
        what: &str,
        load: &Load,
        metrics: &mut Vec<Metric>,
    ) -> Result<u64> {
        let progress = Progress::new(format!("federation: {}: {what}", self.name));
        let measured = send_to_groups(clients, groups, prefix, load, &self.target, &progress)
            .await
            .with_context(|| format!("{what} of {}", self.name))?;
        metrics.extend(measured.figures(what));
        Ok(measured.lost)
    }
}

/// Binds each client to a uid: to the one of its place.
#[allow(
    clippy::await_holding_refcell_ref,
    reason = "between two measurements, no other task has the clients"
)]
async fn bind(clients: &ClientSet, name: impl Fn(usize) -> String) -> Result<()> {
    for place in 0..clients.len() {
        let frames = frames(&[&format!("U{} ", name(place)), "E"]);
        clients.client(place).barrier(&frames).await.context("binding a uid")?;
    }
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

/// For each number of clusters, the clients in the order of their groups: neighbours are members of one group, and are in
/// so many clusters. `counts` has the clients of each cluster, which follow each other.
fn orders(flags: &args::Federation, counts: &[usize]) -> Vec<(u32, Vec<usize>)> {
    let mut orders: Vec<(u32, Vec<usize>)> = Vec::new();
    for members_in in &flags.members_in {
        let count = members_in.count(flags.clusters);
        if orders.iter().any(|(known, _)| *known == count) {
            continue;
        }
        let mut next = 0;
        let by_cluster = counts.iter().map(|clients| {
            let first = next;
            next += clients;
            (first..next).collect()
        });
        orders.push((count, spread(by_cluster.collect(), flags.group_size as usize, count as usize)));
    }
    orders
}

/// The name of the group, or the uid, of the client at this place in the order for `count` clusters.
fn group_name(count: u32, place: usize, size: u32) -> String {
    format!("in{count}.{}", place / size as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use clap::Parser;

    fn flags(text: &str) -> args::Federation {
        let line = format!("bench federation {text}");
        match args::Cli::try_parse_from(line.split_whitespace()).unwrap().case {
            args::Case::Federation(federation) => federation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn members_are_in_as_many_clusters_as_asked() {
        let flags = flags("--clusters 5 --members-in 1,2,all");
        let orders = orders(&flags, &[100; 5]);
        assert_eq!(orders.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [1, 2, 5]);
        for (count, order) in orders {
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 500, "each client is there once");
            for group in order.chunks(10) {
                let clusters: BTreeSet<_> = group.iter().map(|client| client / 100).collect();
                assert_eq!(clusters.len() as u32, count);
            }
        }
    }

    #[test]
    fn two_and_all_of_two_clusters_are_measured_once() {
        let orders = orders(&flags(""), &[100, 100]);
        assert_eq!(orders.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [1, 2]);
    }
}
