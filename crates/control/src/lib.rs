//! What the control tool `gatewayworker` does beside running single daemons: `start` runs a whole cluster on this
//! machine, `stop`, `restart`, `reload` and `status` find a cluster that was started by its run directory, `call`
//! makes one call of the Gateway API. The program in `bins/gatewayworker` parses the command line and calls one of
//! these functions, which return the process's exit status.
//!
//! It runs no daemon in this process: daemons are child processes of the same program, or programs of one's own.

mod call;
mod cluster_dirs;
#[cfg(unix)]
mod commands;
#[cfg(unix)]
mod control_socket;
#[cfg(unix)]
mod run_dir;
mod start;
#[cfg(unix)]
mod status;

use std::fmt::Display;
use std::io::Write;

pub use call::{CallCommand, run as call};
#[cfg(unix)]
pub use commands::{ReloadFlags, RestartFlags, StopFlags, reload, restart, stop};
pub use start::{StartFlags, run as start};
#[cfg(unix)]
pub use status::{StatusFlags, run as status};

/// An error, in a line on standard error.
fn print_error(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "error: {line}");
}
