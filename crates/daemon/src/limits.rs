//! How many files, and with them sockets, the process may hold.

/// Raises the limit on open files as far as the system lets a process raise its
/// own, since each connection is one.
pub(crate) fn raise_file_limit() {
    #[cfg(unix)]
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
}

/// Says in the log how far that was.
pub(crate) fn log_file_limit() {
    if let Some(OpenFiles { limit, .. }) = OpenFiles::now() {
        tracing::info!(limit, "open files, and with them connections, are limited");
    }
}

/// The files that a process may have open (`ulimit -n`), and has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// How many it may have.
    pub limit: usize,
    /// How many it has.
    pub open: usize,
}

/// What is taken to be open where the system does not tell.
#[cfg(unix)]
const OPEN: usize = 64;

impl OpenFiles {
    /// As it is now; `None` where there is no such limit.
    ///
    /// Reads a directory of the system's: not to be called for each connection.
    pub fn now() -> Option<Self> {
        #[cfg(unix)]
        {
            let (limit, _) = rlimit::Resource::NOFILE.get().ok()?;
            // Linux's, and what other systems have. Reading it is one more, which is gone then.
            let listed =
                ["/proc/self/fd", "/dev/fd"].into_iter().find_map(|path| std::fs::read_dir(path).ok());
            let open = listed.map_or(OPEN, |files| files.count().saturating_sub(1));
            Some(Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), open })
        }
        #[cfg(not(unix))]
        None
    }

    /// How many more it may open.
    pub fn free(self) -> usize {
        self.limit.saturating_sub(self.open)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_counts() {
        // Other tests open and close files meanwhile, but not so many.
        let before = OpenFiles::now().unwrap();
        let held: Vec<_> = (0..200).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let with = OpenFiles::now().unwrap();
        assert!(with.open >= before.open + 150, "{before:?} {with:?}");
        assert_eq!(with.free(), with.limit - with.open);
        drop(held);
    }
}
