//! `stop`, `restart` and `reload`, of a cluster that runs in the background or in another
//! shell, and what the commands for such a cluster share.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::ValueEnum;
use gatewayworker_daemon::LogFormat;

use crate::cluster_dirs::ClusterDirs;
use crate::control_socket::{self, Request};
use crate::run_dir::{Holder, RunDir};
use crate::{print_error, start, status};

/// A cluster answers at once that it will stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A new worker may take a minute until it is ready, and the old one as long to drain.
const RELOAD_PATIENCE: Duration = Duration::from_secs(180);

/// The flags of `stop`.
#[derive(Debug, clap::Args)]
pub struct StopFlags {
    #[command(flatten)]
    pub(crate) dirs: ClusterDirs,

    /// End all daemons at once, without letting them drain
    #[arg(long, conflicts_with = "graceful")]
    pub(crate) now: bool,

    /// Nothing: that is how it stops anyway
    #[arg(short, long, hide = true)]
    pub(crate) graceful: bool,
}

/// The flags of `restart`.
#[derive(Debug, clap::Args)]
pub struct RestartFlags {
    #[command(flatten)]
    start: start::StartFlags,

    /// Start in the foreground, also where nothing runs yet
    #[arg(long, conflicts_with = "daemon")]
    foreground: bool,

    /// Nothing: that is how it stops anyway
    #[arg(short, long, hide = true)]
    graceful: bool,
}

/// The flags of `reload`.
#[derive(Debug, clap::Args)]
pub struct ReloadFlags {
    #[command(flatten)]
    dirs: ClusterDirs,

    /// Nothing: that is how it reloads anyway
    #[arg(short, long, hide = true)]
    graceful: bool,
}

/// Stops a cluster, and returns when it has ended.
pub fn stop(flags: &StopFlags) -> ExitCode {
    conclude(running(&flags.dirs).and_then(|(run_dir, process)| {
        end(&run_dir, &process, flags.now)?;
        Ok(format!("stopped process {process}"))
    }))
}

/// Reloads a cluster, and returns when all is done.
pub fn reload(flags: &ReloadFlags) -> ExitCode {
    conclude(running(&flags.dirs).and_then(|(run_dir, _)| {
        control_socket::ask::<()>(&run_dir.socket(), Request::Reload, RELOAD_PATIENCE)?;
        Ok("reloaded")
    }))
}

/// Stops a cluster if one runs, and starts it: what is not given is as it was. Where none runs
/// it is started in the background, unless told otherwise: nobody expects that a restart stays.
pub fn restart(flags: &RestartFlags) -> ExitCode {
    let foreground = flags.foreground;
    let mut flags = flags.start.clone();
    if flags.check_config {
        return start::run(&flags);
    }
    let stopped = running(&flags.dirs).and_then(|(run_dir, process)| {
        let was = status::ask(&run_dir)?;
        let path = |text: Option<String>| text.map(PathBuf::from);
        flags.daemon |= was.log_file.is_some() && !foreground;
        flags.dirs.config_dir = flags.dirs.config_dir.take().or(path(was.config_dir));
        let programs = was.programs;
        flags.register = flags.register.take().or(path(programs.register));
        flags.businessworker = flags.businessworker.take().or(path(programs.businessworker));
        flags.gateway = flags.gateway.take().or(path(programs.gateway));
        flags.log_format = flags.log_format.or(LogFormat::from_str(&was.log_format, true).ok());
        flags.log_file = flags.log_file.take().or(path(was.log_file));
        let problems = start::check(&flags)?;
        ensure!(problems.is_empty(), "{}; what runs goes on", problems.join("; "));
        end(&run_dir, &process, false)
    });
    match stopped {
        Err(error) if !error.is::<NothingRuns>() => conclude::<&str>(Err(error)),
        Err(_) => {
            flags.daemon |= !foreground;
            start::run(&flags)
        }
        Ok(()) => start::run(&flags),
    }
}

/// Ends the cluster there, which is `process`.
///
/// # Errors
/// When it does not hear.
fn end(run_dir: &RunDir, process: &str, now: bool) -> anyhow::Result<()> {
    if let Err(error) = control_socket::ask::<()>(&run_dir.socket(), Request::Stop { now }, STOP_PATIENCE)
        && run_dir.holder()? != Holder::Nobody
    {
        bail!("process {process} does not hear, end it with `kill {process}`: {error:#}");
    }
    run_dir.wait_until_free()
}

/// The run directory of the cluster of `dirs`, and its process.
///
/// # Errors
/// [`NothingRuns`], or that there is no such place, or that it cannot be looked into.
pub(crate) fn running(dirs: &ClusterDirs) -> anyhow::Result<(RunDir, String)> {
    let run_dir = dirs.run_dir()?;
    match run_dir.holder()? {
        Holder::Process(process) => Ok((run_dir, process)),
        Holder::Nobody => Err(NothingRuns(run_dir).into()),
    }
}

/// Nothing runs in this run directory.
#[derive(Debug)]
pub(crate) struct NothingRuns(RunDir);

impl fmt::Display for NothingRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.0.path().display();
        write!(f, "nothing runs in {directory}: was it started with the same --config-dir or --run-dir?")
    }
}

impl std::error::Error for NothingRuns {}

fn conclude<T: Display>(result: anyhow::Result<T>) -> ExitCode {
    match result {
        Ok(done) => {
            print(done);
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A line on standard output; that nobody reads it is no failure.
pub(crate) fn print(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}
