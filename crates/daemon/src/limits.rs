//! The limit on open files, which each connection counts against.

/// Raises the limit on open files as far as the system allows a process.
pub(crate) fn raise_file_limit() {
    #[cfg(unix)]
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
}

/// Logs the limit.
pub(crate) fn log_file_limit() {
    if let Some(OpenFiles { limit, .. }) = OpenFiles::now() {
        tracing::info!(limit, "the limit on open files, and with them on connections");
    }
}

/// The limit on open files of this process (`ulimit -n`), and how many are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// The limit.
    pub limit: usize,
    /// How many are open.
    pub open: usize,
}

/// How many files count as open where the system does not tell.
#[cfg(unix)]
const ASSUMED_OPEN: usize = 64;

impl OpenFiles {
    /// Asks the system. Returns `None` where there is no such limit.
    ///
    /// On many systems it lists a directory: do not call it for each connection.
    pub fn now() -> Option<Self> {
        #[cfg(unix)]
        {
            let (limit, _) = rlimit::Resource::NOFILE.get().ok()?;
            let open = size_of_list().or_else(count_list).unwrap_or(ASSUMED_OPEN);
            Some(Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), open })
        }
        #[cfg(not(unix))]
        None
    }

    /// Returns how many more files the process may open.
    pub fn free(self) -> usize {
        self.limit.saturating_sub(self.open)
    }
}

/// Returns how many files are open, as Linux 6.2 and later say it without a list.
#[cfg(unix)]
fn size_of_list() -> Option<usize> {
    let list = std::fs::metadata("/proc/self/fd").ok()?;
    usize::try_from(list.len()).ok().filter(|open| *open > 0)
}

/// Counts the open files in the list of them.
#[cfg(unix)]
fn count_list() -> Option<usize> {
    // The first is Linux's, the second other systems'. The directory that is read counts as open, too.
    let listed = ["/proc/self/fd", "/dev/fd"].into_iter().find_map(|path| std::fs::read_dir(path).ok())?;
    Some(listed.count().saturating_sub(1))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_counting_agree() {
        let counted = count_list().unwrap();
        // Other tests open and close files meanwhile, but not so many.
        assert!(size_of_list().is_none_or(|size| size.abs_diff(counted) < 250), "{counted}");
    }

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
