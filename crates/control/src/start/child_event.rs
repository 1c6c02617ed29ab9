//! The ids of child processes, and what happens to them. `child_process.rs` and `child_reader.rs` send these events;
//! `supervisor.rs` receives them and passes them to the state machine in `cluster.rs`.

use std::fmt;

use gatewayworker_daemon::child_protocol::ChildStatus;

/// One process of a daemon. Of two processes of the same daemon, the one that was started first is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChildId {
    /// The daemon's index in the order in which daemons start.
    pub(super) daemon: usize,
    /// Counts the processes of the daemon.
    pub(super) number: u64,
}

/// A reload that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReloadId(pub(super) u64);

/// What became of a reload; an error says why it failed, or what did.
pub(crate) type Reloaded = Result<(), String>;

/// Something that has happened to a child process.
#[derive(Debug)]
pub(super) enum ChildEvent {
    /// It listens on these addresses. Comes once at most.
    Ready(ChildId, Vec<String>),
    /// It has answered a question about its status; `None` if it did not in time.
    Status(ChildId, Option<ChildStatus>),
    /// It has read its files again, or why not.
    FilesRead(ChildId, ReloadId, Reloaded),
    /// It has ended, and all its lines are written. Comes once, last.
    Ended(ChildId, ChildEnd),
}

/// How a child has ended. It is shown as `exit status: 1; error: listen: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChildEnd {
    /// As the system says it: `exit status: 1`.
    pub(super) status: String,
    /// The last line of its log, if that was an error.
    pub(super) error: Option<String>,
}

impl fmt::Display for ChildEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.status)?;
        self.error.iter().try_for_each(|error| write!(f, "; error: {error}"))
    }
}
