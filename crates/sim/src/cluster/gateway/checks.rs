//! What holds in a simulated gateway after each step, and what is left of it at the end: nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Gateway, Stage};
use crate::cluster::ports::WorkerLink;
use crate::violation::{Violation, ensure};

impl Gateway {
    /// Checks the books of every shard, and those that all share.
    pub(in crate::cluster) fn check(&self) -> Result<(), Violation> {
        let mut bound = BTreeMap::new();
        for shard in &self.shards {
            shard.core.check().map_err(|details| Violation::new("shards-add-up", details))?;
            for link in shard.core.workers() {
                bound.entry(link.key().clone()).or_insert((0, link.clients())).0 += 1;
            }
        }
        self.check_counters()?;
        let mut idle = None;
        self.directory.each(|link| {
            if !bound.contains_key(link.key()) && link.clients() > 0 {
                idle = Some((link.key().clone(), (0, link.clients())));
            }
        });
        let wrong = bound.into_iter().find(|(_, (are, counted))| are != counted).or(idle);
        ensure(wrong.is_none(), "clients-are-counted", || format!("worker, clients, counted: {wrong:?}"))?;
        let waiting =
            self.clients.values().filter(|client| matches!(client.stage, Stage::WaitsForWorker { .. }));
        let waiting = waiting.count();
        ensure(waiting == self.waiting, "permits-are-given-back", || {
            format!("{waiting} clients wait for a worker, {} permits are taken", self.waiting)
        })
    }

    /// Checks the counters of links, which shards share, by what their clients have unfinished.
    fn check_counters(&self) -> Result<(), Violation> {
        let mut all: Vec<(Arc<WorkerLink>, (usize, usize))> = Vec::new();
        self.directory.each(|link| all.push((link.clone(), (0, 0))));
        for unfinished in self.shards.iter().flat_map(|shard| shard.core.unfinished()) {
            if let Some((_, sum)) = all.iter_mut().find(|(link, _)| Arc::ptr_eq(link, &unfinished.link)) {
                *sum = (sum.0 + unfinished.events, sum.1 + unfinished.bytes);
            }
        }
        let is_wrong = |(link, sum): &&(Arc<WorkerLink>, (usize, usize))| {
            *sum != (link.unfinished(), link.unfinished_bytes())
        };
        let wrong = all.iter().find(is_wrong);
        ensure(wrong.is_none(), "unfinished-events-are-counted", || {
            format!(
                "{:?}",
                wrong.map(|(link, sum)| (link.key(), sum, link.unfinished(), link.unfinished_bytes()))
            )
        })
    }

    /// Checks that nothing is left of clients that are all gone.
    pub(in crate::cluster) fn check_empty(&self) -> Result<(), Violation> {
        for shard in &self.shards {
            shard.core.check_empty().map_err(|details| Violation::new("nothing-is-left", details))?;
        }
        ensure(self.clients.is_empty(), "nothing-is-left", || {
            format!("{} connections of clients are left", self.clients.len())
        })
    }

    /// Checks that no link is left after the end.
    pub(in crate::cluster) fn check_stopped(&self) -> Result<(), Violation> {
        let (links, workers) = (self.links.len(), self.directory.len());
        ensure(links + workers == 0, "nothing-is-left", || format!("{links} links, {workers} workers"))
    }
}
