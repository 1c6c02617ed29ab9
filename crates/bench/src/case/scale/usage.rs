//! CPU and memory of all processes of `scale`, by kind: register, gateways, workers, nats-servers, and the load generator.

use std::time::Instant;

use anyhow::Result;

use super::generators::Generators;
use crate::cluster::Cluster;
use crate::nats::Nats;
use crate::procfs::{Cpu, Memory, Processes};
use crate::report::Metric;

/// The kinds of processes. The last is the load generator.
const KINDS: [&str; 5] = ["register", "gateway", "worker", "nats", GENERATOR];
const GENERATOR: &str = "generator";

/// All processes, by kind. There may be none of a kind.
pub(super) struct AllProcesses([Processes; 5]);

/// A time in which the CPU of all processes is counted.
pub(super) struct Window<'a> {
    processes: &'a AllProcesses,
    start: Instant,
    before: Vec<Cpu>,
}

/// The CPU of all processes in a window.
pub(super) struct Usage {
    pub(super) seconds: f64,
    /// CPU nanoseconds by kind; `None` without a process of this kind.
    nanos: Vec<Option<u64>>,
}

impl AllProcesses {
    /// The processes of clusters, of NATS if there is one, and of the load generator.
    pub(super) fn new(clusters: &[Cluster], nats: Option<&Nats>, generators: &Generators) -> Self {
        let mut all = [(); 3].map(|()| Processes::new(&[], false));
        for cluster in clusters {
            let kinds = cluster.kinds().map(|(_, _, processes)| processes);
            all.iter_mut().zip(&kinds).for_each(|(all, more)| all.add(more));
        }
        let [register, gateways, workers] = all;
        let nats = nats.map_or(Processes::new(&[], false), Nats::processes);
        AllProcesses([register, gateways, workers, nats, generators.processes()])
    }

    /// Begins to count CPU.
    ///
    /// # Errors
    /// A process has ended.
    pub(super) fn window(&self) -> Result<Window<'_>> {
        let before = self.cpu()?;
        Ok(Window { processes: self, start: Instant::now(), before })
    }

    fn cpu(&self) -> Result<Vec<Cpu>> {
        self.0.iter().map(Processes::cpu).collect()
    }

    /// The memory of each kind.
    ///
    /// # Errors
    /// A process has ended.
    pub(super) fn memory(&self) -> Result<Vec<Memory>> {
        self.0.iter().map(Processes::memory).collect()
    }
}

/// The anonymous memory of each kind for each of `count` clients, from `before` to `after`.
pub(super) fn memory_per_client(before: &[Memory], after: &[Memory], count: u64) -> Vec<Metric> {
    let anonymous = |memory: &Memory| memory.anonymous.unwrap_or(memory.rss) as f64;
    let each = |((kind, before), after): ((&&str, &Memory), &Memory)| {
        Metric::new(format!("{kind}_per_client"), "KB", (anonymous(after) - anonymous(before)) / count as f64)
    };
    // A kind without a process has no memory.
    let kinds = KINDS.iter().zip(before).zip(after).skip(1).filter(|(_, after)| after.rss > 0);
    kinds.map(each).collect()
}

impl Window<'_> {
    /// Ends the window.
    ///
    /// # Errors
    /// A process has ended.
    pub(super) fn close(self) -> Result<Usage> {
        let (seconds, after) = (self.start.elapsed().as_secs_f64(), self.processes.cpu()?);
        let cpu = self.before.iter().zip(&after).map(|(before, after)| after.since(before));
        let kinds = self.processes.0.iter().zip(cpu);
        let nanos = kinds.map(|(kind, cpu)| cpu.map(|cpu| (!kind.is_empty()).then_some(cpu)));
        Ok(Usage { seconds, nanos: nanos.collect::<Result<_>>()? })
    }
}

impl Usage {
    /// The CPU of all servers, in nanoseconds.
    pub(super) fn servers(&self) -> f64 {
        let servers = KINDS.iter().zip(&self.nanos).filter(|(kind, _)| **kind != GENERATOR);
        servers.filter_map(|(_, nanos)| *nanos).sum::<u64>() as f64
    }

    /// The CPU of a kind, in nanoseconds, if there is a process of it.
    fn of(&self, wanted: &str) -> Option<f64> {
        let (_, nanos) = KINDS.iter().zip(&self.nanos).find(|(kind, _)| **kind == wanted)?;
        nanos.map(|nanos| nanos as f64)
    }

    /// The servers' CPU for each of `count` things, without `idle` nanoseconds a second, and the load generator's.
    pub(super) fn cost(&self, what: &str, count: u64, idle: f64) -> Vec<Metric> {
        let each = |nanos: f64| nanos / count.max(1) as f64 / 1000.0;
        let servers = (self.servers() - idle * self.seconds).max(0.0);
        let kind = |kind| Some(Metric::new(format!("{kind}_per_{what}"), "µs", each(self.of(kind)?)));
        let all = Metric::new(format!("cpu_per_{what}"), "µs", each(servers));
        [Some(all), kind("nats"), kind(GENERATOR)].into_iter().flatten().collect()
    }

    /// The CPU of each kind, in milliseconds for each second.
    pub(super) fn rates(&self, what: &str) -> Vec<Metric> {
        let rate = |(kind, nanos): (&&str, &Option<u64>)| {
            Some(Metric::new(format!("{what}_cpu_{kind}"), "ms/s", (*nanos)? as f64 / self.seconds / 1e6))
        };
        KINDS.iter().zip(&self.nanos).skip(1).filter_map(rate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_leaves_out_what_the_servers_do_when_idle() {
        let nanos = [Some(1_000), Some(4_000_000), Some(3_999_000), None, Some(2_000_000)];
        let usage = Usage { seconds: 2.0, nanos: nanos.into() };
        let [servers, generator] = &usage.cost("open", 1000, 1_000_000.0)[..] else { panic!() };
        assert_eq!(servers, &Metric::new("cpu_per_open", "µs", 6.0));
        assert_eq!(generator, &Metric::new("generator_per_open", "µs", 2.0));
        let rates = usage.rates("idle");
        assert_eq!(rates[0], Metric::new("idle_cpu_gateway", "ms/s", 2.0));
        assert_eq!(rates.len(), 3);
    }

    #[test]
    fn nats_counts_as_a_server_and_is_shown_apart() {
        let nanos = [Some(0), Some(4_000_000), Some(1_000_000), Some(1_000_000), Some(9_000_000)];
        let usage = Usage { seconds: 1.0, nanos: nanos.into() };
        let [servers, nats, _] = &usage.cost("group", 1000, 0.0)[..] else { panic!() };
        assert_eq!(servers, &Metric::new("cpu_per_group", "µs", 6.0));
        assert_eq!(nats, &Metric::new("nats_per_group", "µs", 1.0));
    }

    #[test]
    fn memory_is_a_difference_for_each_client() {
        let memory = |kib| Memory { rss: kib, pss: None, anonymous: Some(kib) };
        let (before, after) = ([1, 2, 3, 0, 4].map(memory), [1, 12, 3, 0, 5].map(memory));
        let metrics = memory_per_client(&before, &after, 10);
        assert_eq!(metrics[0], Metric::new("gateway_per_client", "KB", 1.0));
        assert_eq!(metrics[2], Metric::new("generator_per_client", "KB", 0.1));
    }
}
