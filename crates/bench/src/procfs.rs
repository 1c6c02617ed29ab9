//! CPU, memory and file handles of server processes, from Linux's `/proc`. On other systems, nothing is measured.
//!
//! CPU comes from the threads' `schedstat`, in nanoseconds. It lacks the threads that have ended: if one has ended
//! between two readings, the process's `stat` counts instead, in ticks of 10 ms. Memory is RSS, and PSS, which divides
//! pages that forked processes share.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// A tick of `/proc/<pid>/stat`: USER_HZ is 100 on all architectures of Linux.
const TICK_NANOS: u64 = 10_000_000;

/// The processes of one system.
#[derive(Clone, Debug)]
pub(crate) struct Processes {
    pids: Vec<u32>,
    tree: bool,
}

/// The CPU time of each process, up to one moment.
#[derive(Debug)]
pub(crate) struct Cpu(BTreeMap<u32, ProcessCpu>);

#[derive(Debug)]
struct ProcessCpu {
    ticks: u64,
    /// CPU nanoseconds by thread.
    threads: BTreeMap<u32, u64>,
}

/// The memory of all processes together at one moment, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// Resident set size. A shared page counts once for each process.
    pub(crate) rss: u64,
    /// Proportional set size, if the kernel has it.
    pub(crate) pss: Option<u64>,
    /// Anonymous memory (heap and stacks), if the kernel has it.
    pub(crate) anonymous: Option<u64>,
}

impl Processes {
    /// The processes `pids`; with `tree`, also their descendants.
    pub(crate) fn new(pids: &[u32], tree: bool) -> Self {
        Processes { pids: pids.to_vec(), tree }
    }

    /// This process.
    pub(crate) fn own() -> Self {
        Processes { pids: vec![std::process::id()], tree: false }
    }

    /// Adds other processes.
    pub(crate) fn add(&mut self, others: &Processes) {
        self.pids.extend_from_slice(&others.pids);
    }

    /// Whether there is no process to measure.
    pub(crate) fn is_empty(&self) -> bool {
        self.pids.is_empty()
    }

    fn all(&self) -> Result<BTreeSet<u32>> {
        let mut found = BTreeSet::new();
        let mut todo = self.pids.clone();
        while let Some(pid) = todo.pop() {
            if found.insert(pid) && self.tree {
                for thread in threads(pid)? {
                    let children =
                        fs::read_to_string(file(pid, &format!("task/{thread}/children"))).unwrap_or_default();
                    todo.extend(
                        children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()),
                    );
                }
            }
        }
        Ok(found)
    }

    /// Reads the CPU time so far.
    ///
    /// # Errors
    /// A process does not exist, or may not be read.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let mut all = BTreeMap::new();
        for pid in self.all()? {
            let mut used = BTreeMap::new();
            for thread in threads(pid)? {
                // A thread may end between listing and reading. Then it counts as ended.
                if let Ok(text) = fs::read_to_string(file(pid, &format!("task/{thread}/schedstat"))) {
                    used.insert(
                        thread,
                        schedstat(&text).with_context(|| format!("schedstat of {pid} cannot be read"))?,
                    );
                }
            }
            let ticks =
                stat_ticks(&read(pid, "stat")?).with_context(|| format!("stat of {pid} cannot be read"))?;
            all.insert(pid, ProcessCpu { ticks, threads: used });
        }
        Ok(Cpu(all))
    }

    /// Reads the memory in use.
    ///
    /// # Errors
    /// A process does not exist.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let mut sum = Memory { rss: 0, pss: Some(0), anonymous: Some(0) };
        for pid in self.all()? {
            let one = match fs::read_to_string(file(pid, "smaps_rollup")) {
                Ok(text) => Memory {
                    rss: kib(&text, "Rss:").unwrap_or(0),
                    pss: kib(&text, "Pss:"),
                    anonymous: kib(&text, "Anonymous:"),
                },
                Err(_) => {
                    let rss = kib(&read(pid, "status")?, "VmRSS:").unwrap_or(0);
                    Memory { rss, ..Memory::default() }
                }
            };
            let both = |sum: Option<u64>, one: Option<u64>| sum.zip(one).map(|(sum, one)| sum + one);
            sum.rss += one.rss;
            sum.pss = both(sum.pss, one.pss);
            sum.anonymous = both(sum.anonymous, one.anonymous);
        }
        Ok(sum)
    }

    /// Counts the open file handles of all processes.
    ///
    /// # Errors
    /// A process does not exist, or may not be read.
    pub(crate) fn handles(&self) -> Result<u64> {
        let mut sum = 0;
        for pid in self.all()? {
            let listing = fs::read_dir(file(pid, "fd"))
                .with_context(|| format!("server process {pid} cannot be measured"))?;
            sum += listing.count() as u64;
        }
        Ok(sum)
    }
}

impl Cpu {
    /// Returns the CPU nanoseconds between `before` and this reading.
    ///
    /// # Errors
    /// A process of `before` has ended.
    pub(crate) fn since(&self, before: &Cpu) -> Result<u64> {
        if let Some(gone) = before.0.keys().find(|pid| !self.0.contains_key(pid)) {
            bail!("server process {gone} ended during the run");
        }
        let none = ProcessCpu { ticks: 0, threads: BTreeMap::new() };
        Ok(self.0.iter().map(|(pid, after)| after.since(before.0.get(pid).unwrap_or(&none))).sum())
    }
}

impl ProcessCpu {
    fn since(&self, before: &ProcessCpu) -> u64 {
        let whole =
            !self.threads.is_empty() && before.threads.keys().all(|thread| self.threads.contains_key(thread));
        if whole {
            self.threads.values().sum::<u64>().saturating_sub(before.threads.values().sum())
        } else {
            self.ticks.saturating_sub(before.ticks) * TICK_NANOS
        }
    }
}

fn file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

fn read(pid: u32, name: &str) -> Result<String> {
    fs::read_to_string(file(pid, name)).with_context(|| format!("server process {pid} cannot be measured"))
}

fn threads(pid: u32) -> Result<Vec<u32>> {
    let listing = fs::read_dir(file(pid, "task"))
        .with_context(|| format!("server process {pid} cannot be measured"))?;
    Ok(listing.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// utime + stime: the 14th and 15th field. The second, the command, may hold blanks and brackets.
fn stat_ticks(text: &str) -> Option<u64> {
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

fn kib(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(ticks: u64, threads: &[(u32, u64)]) -> ProcessCpu {
        ProcessCpu { ticks, threads: threads.iter().copied().collect() }
    }

    #[test]
    fn stat_is_read_past_a_command_with_brackets() {
        let text = "4242 (a) b (c)) S 1 4242 4242 0 -1 4194304 100 0 0 0 17 25 0 0 20 0 1 0 5000 1000 200\n";
        assert_eq!(stat_ticks(text), Some(42));
        assert_eq!(stat_ticks("4242 (cut) S 1 2"), None);
        assert_eq!(stat_ticks(""), None);
    }

    #[test]
    fn schedstat_begins_with_nanoseconds() {
        assert_eq!(schedstat("199169896 103069046 3408\n"), Some(199_169_896));
        assert_eq!(schedstat("\n"), None);
    }

    #[test]
    fn memory_is_found_by_its_key() {
        let text = "5500-7fff ---p 00000000 00:00 0 [rollup]\nRss:                1636 kB\nPss:                 279 kB\nPss_Dirty: 1 kB\n";
        assert_eq!((kib(text, "Rss:"), kib(text, "Pss:"), kib(text, "Swap:")), (Some(1636), Some(279), None));
    }

    #[test]
    fn new_threads_count_and_an_ended_one_falls_back_to_ticks() {
        let before = used(1, &[(1, 1000), (2, 500)]);
        assert_eq!(used(9, &[(1, 1500), (2, 500), (3, 70)]).since(&before), 570);
        assert_eq!(used(9, &[(1, 1500)]).since(&before), 8 * TICK_NANOS);
    }

    #[test]
    fn a_process_that_ended_is_an_error_and_a_new_one_counts_whole() {
        let before = Cpu([(1, used(0, &[(1, 10)]))].into());
        let after = Cpu([(1, used(0, &[(1, 15)])), (2, used(0, &[(2, 7)]))].into());
        assert_eq!(after.since(&before).unwrap(), 12);
        assert!(before.since(&after).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_can_be_measured() {
        let own = Processes::own();
        let before = own.cpu().unwrap();
        let memory = own.memory().unwrap();
        assert!(memory.rss > 0 && memory.anonymous.unwrap() <= memory.rss);
        let held = [(); 5].map(|()| fs::File::open("/proc/self/stat").unwrap());
        assert!(own.handles().unwrap() > held.len() as u64);
        // Until the scheduler has booked some time to us, which it does at its ticks.
        while own.cpu().unwrap().since(&before).unwrap() == 0 {
            std::hint::black_box((0..100_000).sum::<u64>());
        }
        assert!(Processes::new(&[u32::MAX], false).cpu().is_err());
    }
}
