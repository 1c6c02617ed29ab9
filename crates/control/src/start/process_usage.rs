//! Reads how much processor time and memory a process uses, from the system. `control_server.rs` puts it into the
//! report.

/// The processor time and memory of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Processor time since its start, in milliseconds.
    pub(super) cpu_ms: Option<u64>,
    /// Memory in RAM, including what it shares with other processes.
    pub(super) memory_bytes: Option<u64>,
}

/// Returns the usage of the process with this id. It is empty if the process is gone, and on other systems than
/// Linux.
#[cfg(target_os = "linux")]
pub(super) fn of(process_id: u32) -> Usage {
    let file = |name| std::fs::read_to_string(format!("/proc/{process_id}/{name}")).ok();
    Usage {
        cpu_ms: file("stat").and_then(|stat| cpu_ms(&stat, rustix::param::clock_ticks_per_second())),
        memory_bytes: file("status").and_then(|status| memory_bytes(&status)),
    }
}

/// Returns nothing: this system is not asked.
#[cfg(not(target_os = "linux"))]
pub(super) fn of(_process_id: u32) -> Usage {
    Usage::default()
}

/// Returns utime and stime of `proc_pid_stat(5)`, the 14th and 15th field. The second field is a name in
/// parentheses, which may contain anything.
#[cfg(any(target_os = "linux", test))]
fn cpu_ms(stat: &str, ticks_per_second: u64) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    Some((fields.next()?? + fields.next()??) * 1000 / ticks_per_second.max(1))
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
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(cpu_ms(stat, 100), Some(2000));
        assert_eq!(memory_bytes("Name:\tx\nVmRSS:\t    4096 kB\n"), Some(4 << 20));
        assert_eq!((cpu_ms("", 100), memory_bytes("")), (None, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_some() {
        let Usage { cpu_ms, memory_bytes } = of(std::process::id());
        assert!(cpu_ms.is_some() && memory_bytes.unwrap() > 100_000);
    }
}
