//! The journal: a named pipe that the applications of all workers write their records to, and a thread that enters them
//! in the ledger.
//!
//! A record is one write of less than `PIPE_BUF`, so records of several processes do not mix, and their order in the
//! pipe is the order in which they were written. What a killed worker has written stays in the pipe.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;

use crate::ledger::{Ledger, Record};

/// Room for the records of a second or so: a handler must not wait for this program.
const PIPE_BYTES: i32 = 1024 * 1024;

/// The ledger of a run, and the time of the run. Clones share the ledger.
#[derive(Debug, Clone)]
pub struct Books {
    ledger: Arc<Mutex<Ledger>>,
    started: Instant,
    /// All records and what the row does, with times, for whoever looks for the reason of a violation.
    history: Option<Arc<Mutex<BufWriter<File>>>>,
}

impl Default for Books {
    fn default() -> Self {
        Self { ledger: Arc::default(), started: Instant::now(), history: None }
    }
}

impl Books {
    /// The time since the run has begun.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Writes a history of the run to this file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_history(&mut self, file: &Path) -> Result<()> {
        let file = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        self.history = Some(Arc::new(Mutex::new(BufWriter::new(file))));
        Ok(())
    }

    /// Adds a line to the history, if there is one.
    pub fn remark(&self, what: std::fmt::Arguments<'_>) {
        if let Some(history) = &self.history {
            let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writeln!(history, "{:>10.4} {what}", self.now().as_secs_f64());
        }
    }

    /// Writes what of the history is not written yet.
    pub fn end_history(&self) {
        if let Some(history) = &self.history {
            let _ = history.lock().unwrap_or_else(PoisonError::into_inner).flush();
        }
    }

    /// Opens the ledger for one entry. Never across an await.
    pub fn open(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the named pipe in `directory`, and starts the thread that reads it until the program ends.
    ///
    /// # Errors
    /// The system refuses the pipe or the thread.
    pub fn read_journal(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join("journal");
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).context("cannot make a named pipe")?;
        // Opened for writing too: so it has no end while no worker runs.
        let pipe = OpenOptions::new().read(true).write(true).open(&path)?;
        // More than the system's default is a favour that it may refuse.
        let _ = fcntl(pipe.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        let books = self.clone();
        std::thread::Builder::new().name("journal".into()).spawn(move || books.enter_all(pipe))?;
        Ok(path)
    }

    fn enter_all(&self, pipe: File) {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Some(record) = Record::parse(&line) {
                self.open().enter(record, self.now());
                self.remark(format_args!("{record}"));
            }
        }
    }
}
