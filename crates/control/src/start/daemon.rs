//! The description of one daemon of a cluster: which program to run, and what a reload does to it. `plan.rs` makes
//! it from the flags; `child.rs` starts it.

use std::ffi::OsString;
use std::path::PathBuf;

use gatewayworker_daemon::LogFormat;

/// The program of a daemon, and how its lines are shown.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    /// `register`, `businessworker` or `gateway`.
    pub(super) name: &'static str,
    /// The terminal's number for the colour of its name.
    pub(super) colour: u8,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// Variables that its environment has beside the tool's own.
    pub(super) variables: Vec<(String, &'static str)>,
    pub(super) log_format: LogFormat,
    pub(super) on_reload: OnReload,
}

/// What a reload does to a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnReload {
    /// Nothing: the daemon has neither files nor code of an application.
    Nothing,
    /// The process stays and reads its files again: it holds connections.
    ReadFiles,
    /// A new process takes the place of the old one: it has new code.
    Replace,
}
