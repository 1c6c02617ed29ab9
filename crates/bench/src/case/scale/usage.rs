//! CPU and memory of all processes of `scale`, by kind: register, gateways, workers, and the load generator.

use std::time::Instant;

use anyhow::Result;

use super::generators::Generators;
use crate::cluster::Cluster;
use crate::procfs::{Cpu, Memory, Processes};
use crate::report::Metric;

/// The kinds of processes. The last is the load generator.
const KINDS: [&str; 4] = ["register", "gateway", "worker", "generator"];

/// All processes, by kind.
pub(super) struct AllProcesses([Processes; 4]);

/// A time in which the CPU of all processes is counted.
pub(super) struct Window<'a> {
    processes: &'a AllProcesses,
    start: Instant,
    before: Vec<Cpu>,
}

/// The CPU of all processes in a window.
pub(super) struct Usage {
    pub(super) seconds: f64,
    nanos: Vec<u64>,
}

impl AllProcesses {
    /// The processes of clusters and of the load generator.
    pub(super) fn new(clusters: &[Cluster], generators: &Generators) -> Self {
        let mut all = [(); 3].map(|()| Processes::new(&[], false));
        for cluster in clusters {
            let kinds = cluster.kinds().map(|(_, _, processes)| processes);
            all.iter_mut().zip(&kinds).for_each(|(all, more)| all.add(more));
        }
        let [register, gateways, workers] = all;
        AllProcesses([register, gateways, workers, generators.processes()])
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
    KINDS.iter().zip(before).zip(after).map(each).skip(1).collect()
}

impl Window<'_> {
    /// Ends the window.
    ///
    /// # Errors
    /// A process has ended.
    pub(super) fn close(self) -> Result<Usage> {
        let (seconds, after) = (self.start.elapsed().as_secs_f64(), self.processes.cpu()?);
        let nanos = self.before.iter().zip(&after).map(|(before, after)| after.since(before));
        Ok(Usage { seconds, nanos: nanos.collect::<Result<_>>()? })
    }
}

impl Usage {
    /// The CPU of all servers, in nanoseconds.
    pub(super) fn servers(&self) -> f64 {
        self.nanos[..3].iter().sum::<u64>() as f64
    }

    /// The servers' CPU for each of `count` things, without `idle` nanoseconds a second, and the load generator's.
    pub(super) fn cost(&self, what: &str, count: u64, idle: f64) -> Vec<Metric> {
        let each = |nanos: f64| nanos / count.max(1) as f64 / 1000.0;
        let servers = (self.servers() - idle * self.seconds).max(0.0);
        vec![
            Metric::new(format!("cpu_per_{what}"), "µs", each(servers)),
            Metric::new(format!("generator_per_{what}"), "µs", each(self.nanos[3] as f64)),
        ]
    }

    /// The CPU of each kind, in milliseconds for each second.
    pub(super) fn rates(&self, what: &str) -> Vec<Metric> {
        let rate = |(kind, nanos): (&&str, &u64)| {
            Metric::new(format!("{what}_cpu_{kind}"), "ms/s", *nanos as f64 / self.seconds / 1e6)
        };
        KINDS.iter().zip(&self.nanos).map(rate).skip(1).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_leaves_out_what_the_servers_do_when_idle() {
        let usage = Usage { seconds: 2.0, nanos: vec![1_000, 4_000_000, 3_999_000, 2_000_000] };
        let [servers, generator] = &usage.cost("open", 1000, 1_000_000.0)[..] else { panic!() };
        assert_eq!(servers, &Metric::new("cpu_per_open", "µs", 6.0));
        assert_eq!(generator, &Metric::new("generator_per_open", "µs", 2.0));
        let rates = usage.rates("idle");
        assert_eq!(rates[0], Metric::new("idle_cpu_gateway", "ms/s", 2.0));
    }

    #[test]
    fn memory_is_a_difference_for_each_client() {
        let memory = |kib| Memory { rss: 0, pss: None, anonymous: Some(kib) };
        let (before, after) = ([1, 2, 3, 4].map(memory), [1, 12, 3, 5].map(memory));
        let metrics = memory_per_client(&before, &after, 10);
        assert_eq!(metrics[0], Metric::new("gateway_per_client", "KB", 1.0));
        assert_eq!(metrics[2], Metric::new("generator_per_client", "KB", 0.1));
    }
}
