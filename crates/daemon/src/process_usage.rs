//! Reads how much processor time and memory a process uses, from the system. The control tool puts it into its
//! report, and a daemon into its metrics.

/// What the system says about a process. A field is `None` where it does not say it: the process is gone, or the
/// system is not Linux.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessUsage {
    /// Processor time since the start of the process, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Memory in RAM, including what the process shares with others, in bytes.
    pub memory_bytes: Option<u64>,
    /// The number of threads.
    pub threads: Option<u64>,
    /// When the process started, in milliseconds since the system started.
    pub started_ms: Option<u64>,
}

impl ProcessUsage {
    /// Returns the usage of the process with this id.
    #[cfg(target_os = "linux")]
    pub fn of(process_id: u32) -> Self {
        let file = |name| std::fs::read_to_string(format!("/proc/{process_id}/{name}")).ok();
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let stat = file("stat").map(|stat| Self::from_stat(&stat, ticks_per_second)).unwrap_or_default();
        Self { memory_bytes: file("status").and_then(|status| memory_bytes(&status)), ..stat }
    }

    /// Returns nothing: this system is not asked.
    #[cfg(not(target_os = "linux"))]
    pub fn of(_process_id: u32) -> Self {
        Self::default()
    }

    /// Returns when the process with this id started, in milliseconds since 1970.
    #[cfg(target_os = "linux")]
    pub fn start_time_ms(process_id: u32) -> Option<u64> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let boot_s = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u64>().ok()?;
        Some(boot_s * 1000 + Self::of(process_id).started_ms?)
    }

    /// Returns nothing: this system is not asked.
    #[cfg(not(target_os = "linux"))]
    pub fn start_time_ms(_process_id: u32) -> Option<u64> {
        None
    }

    /// Reads `proc_pid_stat(5)`: utime and stime are the 14th and 15th field, num_threads is the 20th, starttime the
    /// 22nd. The second field is a name in parentheses, which may contain anything.
    #[cfg(any(target_os = "linux", test))]
    fn from_stat(stat: &str, ticks_per_second: u64) -> Self {
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let field = |number: usize| after_name.split_whitespace().nth(number - 3)?.parse::<u64>().ok();
        let ms = |ticks: u64| ticks * 1000 / ticks_per_second.max(1);
        Self {
            cpu_ms: field(14).zip(field(15)).map(|(user, system)| ms(user + system)),
            memory_bytes: None,
            threads: field(20),
            started_ms: field(22).map(ms),
        }
    }
}

/// Returns VmRSS of `proc_pid_status(5)`, which is in kB of 1024 bytes.
#[cfg(any(target_os = "linux", test))]
fn memory_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_linux_are_read() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 300 1 1";
        let usage = ProcessUsage::from_stat(stat, 100);
        assert_eq!((usage.cpu_ms, usage.threads, usage.started_ms), (Some(2000), Some(7), Some(3000)));
        assert_eq!(memory_bytes("Name:\tx\nVmRSS:\t    4096 kB\n"), Some(4 << 20));
        assert_eq!((ProcessUsage::from_stat("", 100), memory_bytes("")), (ProcessUsage::default(), None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_some() {
        let usage = ProcessUsage::of(std::process::id());
        assert!(usage.cpu_ms.is_some() && usage.memory_bytes.unwrap() > 100_000, "{usage:?}");
        assert!(usage.threads.unwrap() > 1, "{usage:?}");
        let started = ProcessUsage::start_time_ms(std::process::id()).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!((now.as_millis() as u64).abs_diff(started) < 3_600_000, "{started}");
    }
}
