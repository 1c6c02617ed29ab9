//! How many sockets the process may hold.

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
    #[cfg(unix)]
    if let Ok((limit, _)) = rlimit::Resource::NOFILE.get() {
        tracing::info!(limit, "open files, and with them connections, are limited");
    }
}
