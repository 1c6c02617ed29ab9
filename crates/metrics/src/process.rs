//! What the system says about the daemon's process, as families: `process_…`, by Prometheus' own names.
//!
//! `exporter` reads it at each scrape.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gatewayworker_daemon::{OpenFiles, ProcessUsage};

use crate::families::Families;

/// Counting open files takes at most this part of the time: on some systems it reads a list of them, and a gateway
/// has many.
const OPEN_FILES_SHARE: u32 = 2000;

/// The daemon's process.
#[derive(Debug)]
pub(crate) struct Process {
    started_ms: Option<u64>,
    open_files: Mutex<Option<Counted>>,
}

/// The open files as they were counted last.
#[derive(Debug, Clone, Copy)]
struct Counted {
    files: Option<OpenFiles>,
    /// They are not counted again before.
    until: Instant,
}

impl Process {
    pub(crate) fn new() -> Self {
        Self { started_ms: ProcessUsage::start_time_ms(std::process::id()), open_files: Mutex::new(None) }
    }

    pub(crate) fn read(&self, into: &mut Families) {
        let usage = ProcessUsage::of(std::process::id());
        let seconds = |ms: u64| ms as f64 / 1000.0;
        if let Some(cpu_ms) = usage.cpu_ms {
            into.counter(
                "process_cpu_seconds_total",
                "Processor time of the process, of all its threads.",
                seconds(cpu_ms),
            );
        }
        if let Some(bytes) = usage.memory_bytes {
            into.gauge("process_resident_memory_bytes", "Memory of the process in RAM.", bytes);
        }
        if let Some(threads) = usage.threads {
            into.gauge("process_threads", "Threads of the process.", threads);
        }
        if let Some(started_ms) = self.started_ms {
            into.gauge(
                "process_start_time_seconds",
                "When the process started, in seconds since 1970.",
                seconds(started_ms),
            );
        }
        if let Some(OpenFiles { limit, open }) = self.open_files() {
            into.gauge(
                "process_open_fds",
                "Open files of the process; each connection, of a client too, is one.",
                open,
            );
            into.gauge("process_max_fds", "The most files that the process may open.", limit);
        }
    }

    fn open_files(&self) -> Option<OpenFiles> {
        let mut counted = self.open_files.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(Counted { files, until }) = *counted
            && now < until
        {
            return files;
        }
        let files = OpenFiles::now();
        // A clock that cannot go on so far counts again at once.
        let pause = now.elapsed().checked_mul(OPEN_FILES_SHARE).unwrap_or(Duration::ZERO);
        *counted = Some(Counted { files, until: now.checked_add(pause).unwrap_or(now) });
        files
    }
}
