//! What the control tool `gatewayworker` does beside running single daemons: `start` runs a whole cluster on this
//! machine, `stop`, `restart`, `reload` and `status` find a cluster that was started by its run directory, `call`
//! makes one call of the Gateway API, `connections` and `groups` look into a running cluster. The program in `bins/gatewayworker` parses the command line and calls one of
//! these functions, which return the process's exit status.
//!
//! - `start`: the supervisor and the daemons' processes,
//! - `cluster_dirs`, `run_dir`: where a cluster is configured, and found while it runs,
//! - `control_socket`, `running_cluster`, `report`: asking a cluster that runs, for `commands` and `status`,
//! - `cluster_access`, `inspecting`: a cluster on any host, by its registers and its key,
//! - `call`: the Gateway API for a shell,
//! - `connections`, `outbox`, `groups`, `closes`: the clients and groups of a running cluster,
//! - `token`: makes and checks tokens of clients,
//! - `trace`: what one client says and is sent, as it happens,
//! - `top`: a running cluster on the whole terminal,
//! - `table`, `units`, `look`: what they show, once or again and again,
//! - `console`: printing results and errors.
//!
//! It runs no daemon in this process: daemons are child processes of the same program, or programs of one's own.

mod call;
mod closes;
mod cluster_access;
mod cluster_dirs;
#[cfg(unix)]
mod cluster_status;
#[cfg(unix)]
mod commands;
mod connections;
mod console;
#[cfg(unix)]
mod control_socket;
mod groups;
mod inspecting;
mod look;
mod outbox;
#[cfg_attr(not(unix), allow(dead_code, reason = "there is no control socket that it travels over"))]
mod report;
#[cfg(unix)]
mod run_dir;
#[cfg(unix)]
mod running_cluster;
mod start;
#[cfg(unix)]
mod status;
mod table;
mod token;
#[cfg(unix)]
mod top;
mod trace;
mod units;

pub use call::{CallCommand, run as call};
pub use closes::{ClosesFlags, run as closes};
#[cfg(unix)]
pub use commands::{ReloadFlags, RestartFlags, StopFlags, reload, restart, stop};
pub use connections::{ConnectionsFlags, run as connections};
pub use groups::{GroupsFlags, run as groups};
pub use start::{RunsChat, StartFlags, run as start};
#[cfg(unix)]
pub use status::{StatusFlags, run as status};
pub use token::{TokenFlags, run as token};
#[cfg(unix)]
pub use top::{TopFlags, run as top};
pub use trace::{TraceFlags, run as trace};
