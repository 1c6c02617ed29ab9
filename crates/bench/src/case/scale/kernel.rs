//! The memory of the kernel, from `/proc/meminfo` and, as root, `/proc/slabinfo`. `scale` takes the difference between two
//! readings, so other programs of the machine should be quiet.

use std::collections::BTreeMap;
use std::fs;

use crate::report::Metric;

/// The caches of objects that a connection has, and what the table calls them.
const CACHES: [(&str, &str); 6] = [
    ("TCP", "slab_tcp"),
    ("sock_inode_cache", "slab_sock_inode"),
    ("dentry", "slab_dentry"),
    ("filp", "slab_filp"),
    ("eventpoll_epi", "slab_epoll"),
    ("tcp_bind2_bucket", "slab_bind"),
];

/// The memory of the kernel at one moment, in bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct KernelMemory {
    slab: u64,
    /// The pages of each of [`CACHES`] that can be read.
    caches: BTreeMap<String, u64>,
    available: u64,
}

impl KernelMemory {
    /// Reads it. What cannot be read is 0, or missing.
    pub(super) fn read() -> Self {
        let meminfo_text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let slabinfo = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
        KernelMemory {
            slab: meminfo(&meminfo_text, "Slab:").unwrap_or(0),
            caches: caches(&slabinfo),
            available: meminfo(&meminfo_text, "MemAvailable:").unwrap_or(0),
        }
    }

    /// The memory of each of `clients` connections, both ends, that have opened since `before`.
    pub(super) fn since(&self, before: &KernelMemory, clients: u64) -> Vec<Metric> {
        let each = |name: &'static str, unit, scale: f64, now: u64, before: u64| {
            Metric::new(name, unit, (now as f64 - before as f64) / scale / clients as f64)
        };
        let mut metrics = vec![
            each("kernel_both_ends", "KB", 1024.0, self.slab, before.slab),
            each("machine_per_client", "KB", 1024.0, before.available, self.available),
        ];
        for (cache, name) in CACHES {
            if let (Some(&now), Some(&before)) = (self.caches.get(cache), before.caches.get(cache)) {
                metrics.push(each(name, "B", 1.0, now, before));
            }
        }
        metrics
    }
}

/// A line of `/proc/meminfo`, in bytes.
pub(super) fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The memory of [`CACHES`] in `/proc/slabinfo`, counted in whole slabs.
fn caches(text: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        // name, active, objects, size, objects in a slab, pages of a slab, …, "slabdata", active slabs, slabs
        let &[name, _, _, _, _, pages, ..] = &fields[..] else { continue };
        let slabs = fields.iter().position(|field| *field == "slabdata").and_then(|at| fields.get(at + 2));
        let (Ok(pages), Some(Ok(slabs))) = (pages.parse::<u64>(), slabs.map(|slabs| slabs.parse::<u64>()))
        else {
            continue;
        };
        if CACHES.iter().any(|(cache, _)| *cache == name) {
            *found.entry(name.to_owned()).or_default() += pages * slabs * 4096;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLABINFO: &str = "\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
TCPv6                  0      0   2624   12    8 : tunables    0    0    0 : slabdata      0      0      0
TCP                   52     52   2496   13    8 : tunables    0    0    0 : slabdata      4      5      0
filp                4224   4224    256   16    1 : tunables    0    0    0 : slabdata    264    264      0";

    #[test]
    fn caches_count_in_whole_slabs() {
        let found = caches(SLABINFO);
        assert_eq!(found.get("TCP"), Some(&(5 * 8 * 4096)));
        assert_eq!(found.get("filp"), Some(&(264 * 4096)));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_client_costs_the_difference() {
        let reading = |slab, tcp, available| KernelMemory {
            slab,
            caches: BTreeMap::from([("TCP".into(), tcp)]),
            available,
        };
        let metrics = reading(10_240, 5000, 1024).since(&reading(0, 1000, 21_504), 2);
        assert_eq!(metrics[0], Metric::new("kernel_both_ends", "KB", 5.0));
        assert_eq!(metrics[1], Metric::new("machine_per_client", "KB", 10.0));
        assert_eq!(metrics[2], Metric::new("slab_tcp", "B", 2000.0));
    }
}
