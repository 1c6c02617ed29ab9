//! The limits of this machine that so many clients may meet. `scale` checks them before it starts anything, and the free
//! memory as long as it runs. [`Machine::read`] reads them, the rest is plain data.

use std::fs;

use super::plan::Plan;

/// The memory of a client while a broadcast is under way, in bytes: at its gateway, in the kernel for both ends, in the
/// generator, and for the message in the kernel's buffers. Measured, and rounded up.
const CLIENT_BYTES: u64 = 1400 + 8500 + 100 + 1000;
/// The memory of a process, in bytes.
const PROCESS_BYTES: u64 = 6 << 20;
/// The memory that has to be left, in bytes.
pub(super) const RESERVE_BYTES: u64 = 512 << 20;
/// Descriptors of a process that are not for clients: of a gateway, and those that it reserves for rejecting clients and
/// for clients that arrive and leave.
const OTHER_FILES: u64 = 900;

/// The limits of a machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    /// MemAvailable, in bytes.
    pub(super) memory: u64,
    /// The most open files of a process: the hard limit.
    pub(super) process_files: u64,
    /// The most open files of the machine, and how many there are.
    pub(super) files: (u64, u64),
    /// The most sockets that a user may poll.
    pub(super) watches: u64,
    /// The most connections that the firewall tracks, if it tracks any.
    pub(super) tracked: Option<u64>,
    /// The most pages of 4 KB for the buffers of all TCP sockets.
    pub(super) tcp_pages: u64,
}

impl Machine {
    /// Reads the limits. One that cannot be read does not count.
    pub(super) fn read() -> Self {
        let number = |file: &str| numbers(file).first().copied();
        let files = numbers("/proc/sys/fs/file-nr");
        let tracked = number("/proc/sys/net/netfilter/nf_conntrack_count").filter(|count| *count > 0);
        Machine {
            memory: available_memory().unwrap_or(u64::MAX),
            process_files: rlimit::Resource::NOFILE.get().map_or(u64::MAX, |(_, hard)| hard),
            files: (files.get(2).copied().unwrap_or(u64::MAX), files.first().copied().unwrap_or(0)),
            watches: number("/proc/sys/fs/epoll/max_user_watches").unwrap_or(u64::MAX),
            tracked: tracked.and_then(|_| number("/proc/sys/net/netfilter/nf_conntrack_max")),
            tcp_pages: numbers("/proc/sys/net/ipv4/tcp_mem").get(2).copied().unwrap_or(u64::MAX),
        }
    }

    /// Checks that a plan fits, with at most `per_process` clients of a gateway or generator.
    ///
    /// # Errors
    /// A limit is too low. The text says which, and what to do, for all of them.
    pub(super) fn check(&self, plan: &Plan, per_process: u32) -> Result<(), String> {
        let clients = u64::from(plan.clients);
        let each = u64::from(plan.clients.min(per_process)) + OTHER_FILES;
        let processes = plan.clusters * (1 + plan.gateways + plan.workers) + plan.generators;
        let memory = clients * CLIENT_BYTES + u64::from(processes) * PROCESS_BYTES + RESERVE_BYTES;
        let mut wrong = Vec::new();
        if self.memory < memory {
            wrong.push(format!(
                "memory: {clients} clients need about {}, and {} are available (MemAvailable in /proc/meminfo): use \
                 fewer clients, or end other programs",
                gigabytes(memory),
                gigabytes(self.memory)
            ));
        }
        if self.process_files < each {
            wrong.push(format!(
                "open files: a process needs {each}, and may have {} (ulimit -Hn): raise the limit, up to fs.nr_open, \
                 or set --per-process {}",
                self.process_files,
                self.process_files.saturating_sub(OTHER_FILES)
            ));
        }
        let sockets = 2 * clients + 100 * u64::from(processes);
        if self.files.0.saturating_sub(self.files.1) < sockets {
            wrong.push(format!(
                "open files: all processes need {sockets}, and the machine has room for {}: raise fs.file-max",
                self.files.0.saturating_sub(self.files.1)
            ));
        }
        if self.watches < sockets {
            wrong.push(format!(
                "polled sockets: {sockets} are needed, and {} allowed: raise fs.epoll.max_user_watches",
                self.watches
            ));
        }
        if let Some(tracked) = self.tracked.filter(|tracked| *tracked < clients) {
            wrong.push(format!(
                "connection tracking: {clients} connections are more than the {tracked} that the firewall tracks: raise \
                 net.netfilter.nf_conntrack_max, or do not track the interface lo"
            ));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// Says what may disturb the measurement, without stopping it.
    pub(super) fn advice(&self, plan: &Plan) -> Option<String> {
        let pages = u64::from(plan.clients);
        (self.tcp_pages < pages).then(|| {
            format!(
                "a broadcast takes up to {pages} pages of the kernel's memory for TCP while clients do not read, and {} \
                 are allowed: if sockets wait for memory, raise the last number of net.ipv4.tcp_mem",
                self.tcp_pages
            )
        })
    }
}

/// MemAvailable, in bytes.
pub(super) fn available_memory() -> Option<u64> {
    super::kernel::meminfo(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

fn numbers(file: &str) -> Vec<u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Bytes as text, in GB.
pub(super) fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan =
        Plan { clients: 1_000_000, clusters: 1, gateways: 53, workers: 2, generators: 53, members_in: 1 };

    fn machine() -> Machine {
        Machine {
            memory: 20_000_000_000,
            process_files: 20_000,
            files: (u64::MAX, 1000),
            watches: 5_000_000,
            tracked: None,
            tcp_pages: 2_000_000,
        }
    }

    #[test]
    fn a_million_clients_fit_where_no_limit_is_too_low() {
        assert_eq!(machine().check(&PLAN, 19_000), Ok(()));
    }

    #[test]
    fn each_limit_is_named_with_what_to_do() {
        let low = [
            (Machine { memory: 8_000_000_000, ..machine() }, "MemAvailable"),
            (Machine { process_files: 4096, ..machine() }, "--per-process 3196"),
            (Machine { files: (2_000_000, 1000), ..machine() }, "fs.file-max"),
            (Machine { watches: 1_000_000, ..machine() }, "fs.epoll.max_user_watches"),
            (Machine { tracked: Some(262_144), ..machine() }, "nf_conntrack_max"),
        ];
        for (machine, named) in low {
            let text = machine.check(&PLAN, 19_000).unwrap_err();
            assert!(text.contains(named) && text.lines().count() == 1, "{text}");
        }
    }

    #[test]
    fn little_memory_for_tcp_is_mentioned_and_does_not_stop_the_run() {
        let machine = Machine { tcp_pages: 575_796, ..machine() };
        assert_eq!(machine.check(&PLAN, 19_000), Ok(()));
        assert!(machine.advice(&PLAN).unwrap().contains("net.ipv4.tcp_mem"));
        assert_eq!(machine.advice(&Plan { clients: 100_000, ..PLAN }), None);
    }

    #[test]
    fn this_machine_has_limits() {
        let machine = Machine::read();
        assert!(machine.memory > 0 && machine.process_files > 0 && machine.files.0 > machine.files.1);
    }
}
