//! `stop`, `restart` and `reload`, of a cluster that runs in the background or in another
//! shell, and what the commands for such a cluster share.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};

use crate::control::{self, Request};
use crate::place::Place;
use crate::run_dir::{Holder, RunDir};
use crate::{start, status};

/// A cluster answers at once that it will stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A new worker may take a minute until it is ready, and the old one as long to drain.
const RELOAD_PATIENCE: Duration = Duration::from_secs(180);

/// The flags of `stop`.
#[derive(Debug, clap::Args)]
pub(crate) struct StopFlags {
    #[command(flatten)]
    pub(crate) place: Place,

    /// End all daemons at once, without letting them drain
    #[arg(long, conflicts_with = "graceful")]
    pub(crate) now: bool,

    /// Nothing: that is how it stops anyway
    #[arg(short, long, hide = true)]
    pub(crate) graceful: bool,
}

/// The flags of `restart`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestartFlags {
    #[command(flatten)]
    start: start::Flags,

    /// Nothing: that is how it stops anyway
    #[arg(short, long, hide = true)]
    graceful: bool,
}

/// The flags of `reload`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReloadFlags {
    #[command(flatten)]
    place: Place,

    /// Nothing: that is how it reloads anyway
    #[arg(short, long, hide = true)]
    graceful: bool,
}

/// Stops a cluster, and returns when it has ended.
pub(crate) fn stop(flags: &StopFlags) -> ExitCode {
    conclude(try_stop(&flags.place, flags.now).and_then(|stopped| match stopped {
        Some(process) => Ok(format!("stopped process {process}")),
        None => Err(nothing_runs(&flags.place)),
    }))
}

/// Reloads a cluster, and returns when all is done.
pub(crate) fn reload(flags: &ReloadFlags) -> ExitCode {
    let reload = || {
        let run_dir = running(&flags.place)?.ok_or_else(|| nothing_runs(&flags.place))?;
        control::ask::<()>(&run_dir.socket(), Request::Reload, RELOAD_PATIENCE)?;
        Ok("reloaded")
    };
    conclude(reload())
}

/// Stops a cluster if one runs, and starts it: what is not given is as it was.
pub(crate) fn restart(flags: &RestartFlags) -> ExitCode {
    let mut flags = flags.start.clone();
    let stopped = running(&flags.place).and_then(|run_dir| {
        let Some(run_dir) = run_dir else { return Ok(()) };
        let was = status::ask(&run_dir)?;
        let path = |text: Option<String>| text.map(PathBuf::from);
        flags.daemon |= was.log_file.is_some();
        flags.place.config_dir = flags.place.config_dir.take().or(path(was.config_dir));
        flags.businessworker = flags.businessworker.take().or(path(was.businessworker));
        flags.log_file = flags.log_file.take().or(path(was.log_file));
        start::check(&flags).map_err(|error| anyhow!("{error:#}; what runs goes on"))?;
        try_stop(&flags.place, false).map(drop)
    });
    match stopped {
        Ok(()) => start::run(&flags),
        Err(error) => conclude::<&str>(Err(error)),
    }
}

/// Ends the cluster at `place`, if one runs there, and says which process that was.
///
/// # Errors
/// When it does not hear.
pub(crate) fn try_stop(place: &Place, now: bool) -> anyhow::Result<Option<String>> {
    let run_dir = place.run_dir()?;
    let Holder::Process(process) = run_dir.holder()? else { return Ok(None) };
    if let Err(error) = control::ask::<()>(&run_dir.socket(), Request::Stop { now }, STOP_PATIENCE)
        && run_dir.holder()? != Holder::Nobody
    {
        bail!("process {process} does not hear, end it with `kill {process}`: {error:#}");
    }
    run_dir.wait_until_free()?;
    Ok(Some(process))
}

/// The run directory of the cluster at `place`, if one runs there.
///
/// # Errors
/// When there is no such place, or it cannot be looked into.
pub(crate) fn running(place: &Place) -> anyhow::Result<Option<RunDir>> {
    let run_dir = place.run_dir()?;
    Ok((run_dir.holder()? != Holder::Nobody).then_some(run_dir))
}

/// What to say where nothing runs.
pub(crate) fn nothing_runs(place: &Place) -> anyhow::Error {
    match place.run_dir() {
        Ok(run_dir) => anyhow!(
            "nothing runs in {}: was it started with the same --config-dir or --run-dir?",
            run_dir.path().display()
        ),
        Err(error) => error,
    }
}

fn conclude<T: Display>(result: anyhow::Result<T>) -> ExitCode {
    match result {
        Ok(done) => {
            print(done);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A line on standard output; that nobody reads it is no failure.
pub(crate) fn print(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line on standard error.
pub(crate) fn complain(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "error: {line}");
}
