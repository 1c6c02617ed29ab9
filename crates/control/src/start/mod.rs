//! `start`: runs a register, a businessworker (unless others run theirs) and a gateway as child processes, in the
//! foreground until a signal, or in the background.
//!
//! - `flags`, `plan`: which daemons to run; `foreground`, `background`: in this process, or in one more,
//! - `supervisor`: the task that runs the daemons; `cluster`, `daemon_runner`, `leaving` and `successor_check`, which
//!   are plain data, make its `decisions`,
//! - `child`, `child_process`, `child_reader`, `child_link`, `lines`, `pending_replies`: one child process,
//! - `held_listeners`: listeners that outlive a worker's process,
//! - `supervisor_handle`, `control_server`, `operator_signals`: requests to the supervisor,
//! - `daemon_status`, `readiness`, `welcome`, `attend`, `admin_page`: how it goes,
//! - `output`: the terminal, or the log.

mod admin_page;
mod attend;
#[cfg(unix)]
mod background;
mod child;
mod child_event;
mod child_link;
mod child_process;
mod child_reader;
mod cluster;
#[cfg(unix)]
mod control_server;
mod daemon;
mod daemon_runner;
#[cfg_attr(not(unix), allow(dead_code, reason = "there is no control socket to report it"))]
mod daemon_status;
mod decisions;
mod flags;
mod foreground;
#[cfg_attr(not(unix), allow(dead_code, reason = "listeners cannot be passed on there"))]
mod held_listeners;
mod leaving;
mod lines;
#[cfg(unix)]
mod operator_signals;
mod output;
mod pending_replies;
mod plan;
mod readiness;
mod successor_check;
mod supervisor;
#[cfg_attr(not(unix), allow(dead_code, reason = "there is no control socket to make requests"))]
mod supervisor_handle;
mod welcome;

use std::process::ExitCode;

use crate::console::conclude;

pub use flags::{RunsChat, StartFlags};
#[cfg(unix)]
pub(crate) use plan::check;

/// Runs a cluster until a signal or a request ends it: status 0, or 1 if a daemon does not start. With `--daemon`
/// it returns when the cluster in the background can do its work, with `--check-config` it starts nothing.
///
/// Daemons are started as subcommands of the current program: a program that calls this needs the subcommands
/// `register`, `businessworker` and `gateway`, as far as the flags name no other programs.
pub fn run(flags: &StartFlags) -> ExitCode {
    if flags.check_config {
        return plan::print_check(flags);
    }
    #[cfg(unix)]
    if flags.daemon {
        return conclude(background::start(flags));
    }
    if let Err(error) = output::start(flags.log_format()) {
        return conclude(Err::<String, _>(error));
    }
    let result = foreground::run(flags);
    output::finish(result.as_ref().err());
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
