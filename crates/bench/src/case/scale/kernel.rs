//! The memory of the kernel, from `/proc/meminfo` and, as root, `/proc/slabinfo`. `scale` takes the difference between two
//! readings, so other programs of the machine should be quiet.
//!
//! A program that looks through `/proc/<pid>/fd`, as monitoring does, leaves an entry of `/proc` in memory for each file
//! that it has seen. These are no part of a client and are left out.

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

/// The cache of the entries of `/proc`.
const PROC_INODES: &str = "proc_inode_cache";

/// The name of such an entry: an object of the cache `dentry`, in bytes.
const DENTRY_BYTES: u64 = 192;

/// The memory of the kernel at one moment, in bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct KernelMemory {
    /// All slabs, without the entries of `/proc` where they can be counted.
    slab: u64,
    /// The pages of each of [`CACHES`] that can be read.
    caches: BTreeMap<String, u64>,
    available: u64,
}

impl KernelMemory {
    /// Reads it. What cannot be read is 0, or missing.
    pub(super) fn read() -> Self {
        let meminfo_text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self::parse(&meminfo_text, &fs::read_to_string("/proc/slabinfo").unwrap_or_default())
    }

    fn parse(meminfo_text: &str, slabinfo: &str) -> Self {
        let slab = meminfo(meminfo_text, "Slab:").unwrap_or(0);
        let (mut left_out, mut found) = (0, BTreeMap::new());
        for cache in slabinfo.lines().filter_map(Cache::parse) {
            if cache.name == PROC_INODES {
                left_out = cache.bytes + cache.objects * DENTRY_BYTES;
            }
            if CACHES.iter().any(|(name, _)| *name == cache.name) {
                found.insert(cache.name.to_owned(), cache.bytes);
            }
        }
        let available = meminfo(meminfo_text, "MemAvailable:").unwrap_or(0);
        KernelMemory { slab: slab.saturating_sub(left_out), caches: found, available }
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

/// A line of `/proc/slabinfo`.
struct Cache<'a> {
    name: &'a str,
    objects: u64,
    /// Counted in whole slabs.
    bytes: u64,
}

impl<'a> Cache<'a> {
    /// `name active objects size objects/slab pages/slab : tunables … : slabdata active_slabs slabs shared`
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (name, objects) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        let pages: u64 = fields.nth(2)?.parse().ok()?;
        let slabs: u64 = fields.skip_while(|field| *field != "slabdata").nth(2)?.parse().ok()?;
        Some(Cache { name, objects, bytes: pages * slabs * 4096 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLABINFO: &str = "\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
TCPv6                  0      0   2624   12    8 : tunables    0    0    0 : slabdata      0      0      0
TCP                   52     52   2496   13    8 : tunables    0    0    0 : slabdata      4      5      0
proc_inode_cache      20     30    704   11    2 : tunables    0    0    0 : slabdata      2      3      0
filp                4224   4224    256   16    1 : tunables    0    0    0 : slabdata    264    264      0";

    #[test]
    fn caches_count_in_whole_slabs_and_entries_of_proc_do_not_count() {
        let memory = KernelMemory::parse("MemAvailable:  20 kB\nSlab:    100 kB", SLABINFO);
        assert_eq!(memory.caches.get("TCP"), Some(&(5 * 8 * 4096)));
        assert_eq!(memory.caches.get("filp"), Some(&(264 * 4096)));
        assert_eq!(memory.caches.len(), 2);
        assert_eq!(memory.slab, 100 * 1024 - 3 * 2 * 4096 - 30 * 192);
        assert_eq!(memory.available, 20 * 1024);
    }

    #[test]
    fn without_slabinfo_all_slabs_count() {
        assert_eq!(KernelMemory::parse("Slab: 100 kB", "").slab, 100 * 1024);
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
