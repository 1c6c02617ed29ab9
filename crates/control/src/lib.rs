//! What the control tool `gatewayworker` does beside running single daemons: `start` runs a whole cluster on this
//! machine, `stop`, `restart`, `reload` and `status` find a cluster that was started by its run directory, `call`
//! makes one call of the Gateway API. The program in `bins/gatewayworker` parses the command line and calls one of
//! these functions, which return the process's exit status.
//!
//! - `start`: the supervisor and the daemons' processes,
//! - `cluster_dirs`, `run_dir`: where a cluster is configured, and found while it runs,
//! - `control_socket`, `running_cluster`, `report`: asking a cluster that runs, for `commands` and `status`,
//! - `call`: the Gateway API for a shell,
//! - `console`: printing results and errors.
//!
//! It runs no daemon in this process: daemons are child processes of the same program, or programs of one's own.

mod call;
mod cluster_dirs;
#[cfg(unix)]
mod commands;
mod console;
#[cfg(unix)]
mod control_socket;
#[cfg(unix)]
mod report;
#[cfg(unix)]
mod run_dir;
#[cfg(unix)]
mod running_cluster;
mod start;
#[cfg(unix)]
mod status;

pub use call::{CallCommand, run as call};
#[cfg(unix)]
pub use commands::{ReloadFlags, RestartFlags, StopFlags, reload, restart, stop};
pub use start::{StartFlags, run as start};
#[cfg(unix)]
pub use status::{StatusFlags, run as status};
