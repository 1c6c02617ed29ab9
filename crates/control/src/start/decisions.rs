//! The decisions of the state machines: what to do with which process, and which reloads are over. `daemon_runner.rs`
//! and `leaving.rs` make them, `cluster.rs` collects them, `supervisor.rs` carries them out.

use super::child_event::{ChildId, ReloadId, Reloaded};

/// Something to do with a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Start a process. The answer is `started` or `start_failed`.
    Start(ChildId),
    /// Tell the process to drain.
    Drain(ChildId),
    /// End the process at once.
    Kill(ChildId),
    /// Ask the process for its status. The answer is `child_status`.
    AskStatus(ChildId),
    /// Ask the process to read its files. The answer is `files_read`.
    ReadFiles(ChildId, ReloadId),
    /// Close the listeners held for this daemon, except those which the process has asked for.
    ReleaseListeners { daemon: usize, except_of: Option<ChildId> },
}

/// What a call of a state machine has decided.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    pub(super) actions: Vec<Action>,
    /// The reloads that are over for this daemon.
    pub(super) reloaded: Vec<(ReloadId, Reloaded)>,
    /// Why the daemon did not start; it is not tried again.
    pub(super) failure: Option<String>,
}
