//! `stop`, `restart` and `reload`: they find a cluster that runs in the background or in another shell, and ask it
//! over its control socket.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::ValueEnum;
use gatewayworker_daemon::LogFormat;

use crate::cluster_dirs::ClusterDirs;
use crate::console::conclude;
use crate::running_cluster::{NothingRuns, RunningCluster};
use crate::start::{self, RunsChat, StartFlags};

/// The flags of `stop`.
#[derive(Debug, clap::Args)]
pub struct StopFlags {
    #[command(flatten)]
    dirs: ClusterDirs,

    /// End all daemons at once, without letting them drain
    #[arg(long, conflicts_with = "graceful")]
    now: bool,

    /// Has no effect: a stop is graceful unless --now is given
    #[arg(short, long, hide = true)]
    graceful: bool,
}

/// The flags of `restart`.
#[derive(Debug, clap::Args)]
pub struct RestartFlags {
    #[command(flatten)]
    start: StartFlags,

    /// Start in the foreground, also where nothing runs yet
    #[arg(long, conflicts_with = "daemon")]
    foreground: bool,

    /// Has no effect: a restart is graceful
    #[arg(short, long, hide = true)]
    graceful: bool,
}

impl RestartFlags {
    /// As [`StartFlags::with_runs_chat`].
    #[must_use]
    pub fn with_runs_chat(mut self, runs_chat: RunsChat) -> Self {
        self.start = self.start.with_runs_chat(runs_chat);
        self
    }
}

/// The flags of `reload`.
#[derive(Debug, clap::Args)]
pub struct ReloadFlags {
    #[command(flatten)]
    dirs: ClusterDirs,

    /// Has no effect: a reload is graceful
    #[arg(short, long, hide = true)]
    graceful: bool,
}

/// Stops a cluster, and returns when it has ended: status 0, or 1 if nothing runs or it does not answer.
pub fn stop(flags: &StopFlags) -> ExitCode {
    conclude(RunningCluster::find(&flags.dirs).and_then(|cluster| {
        cluster.stop(flags.now)?;
        Ok(format!("stopped process {}", cluster.process_id))
    }))
}

/// Reloads a cluster, and returns when all is done: status 0, or 1 if nothing runs or a part of it failed.
pub fn reload(flags: &ReloadFlags) -> ExitCode {
    conclude(RunningCluster::find(&flags.dirs).and_then(|cluster| {
        cluster.reload()?;
        Ok("reloaded")
    }))
}

/// Stops a cluster if one runs, and starts it: what no flag sets is as it was. Where none runs it is started in the
/// background, unless `--foreground` is given: nobody expects that a restart stays. The status is that of `start`,
/// and 1 if the cluster is not stopped: its configuration is not valid, or it does not answer.
pub fn restart(flags: &RestartFlags) -> ExitCode {
    let mut start = flags.start.clone();
    if start.check_config {
        return start::run(&start);
    }
    match stop_to_start_again(&mut start, flags.foreground) {
        Err(error) if error.is::<NothingRuns>() => {
            start.daemon |= !flags.foreground;
            start::run(&start)
        }
        Err(error) => conclude(Err::<String, _>(error)),
        Ok(()) => start::run(&start),
    }
}

/// Stops a cluster, and completes the flags for its next start with what it was started with.
///
/// # Errors
/// [`NothingRuns`]; when systemd runs the cluster, the next start would fail, or the cluster does not answer: it runs
/// on then.
fn stop_to_start_again(flags: &mut StartFlags, foreground: bool) -> anyhow::Result<()> {
    let cluster = RunningCluster::find(&flags.dirs)?;
    ensure!(
        flags.dirs.run_dir.is_some() || !cluster.is_of_service(),
        "the cluster that runs is that of gatewayworker.service: `systemctl restart gatewayworker`"
    );
    let was = cluster.report()?;
    let path = |text: Option<String>| text.map(PathBuf::from);
    flags.daemon |= was.log_file.is_some() && !foreground;
    flags.dirs.config_dir = flags.dirs.config_dir.take().or(path(was.config_dir));
    let programs = was.programs;
    flags.register = flags.register.take().or(path(programs.register));
    // Flags of a worker ask for one.
    let is_worker_wanted = [&flags.federation, &flags.cluster_name].into_iter().any(Option::is_some)
        || flags.businessworker.is_some();
    flags.no_worker |= was.no_worker && !is_worker_wanted;
    if !flags.no_worker {
        flags.businessworker = flags.businessworker.take().or(path(programs.businessworker));
    }
    flags.gateway = flags.gateway.take().or(path(programs.gateway));
    flags.log_format = flags.log_format.or(LogFormat::from_str(&was.log_format, true).ok());
    flags.log_file = flags.log_file.take().or(path(was.log_file));
    let (page, was) = (&mut flags.admin, was.page_flags);
    page.admin_listen = page.admin_listen.take().or(was.admin_listen);
    page.admin_token_file = page.admin_token_file.take().or(was.admin_token_file);
    page.admin_hosts = page.admin_hosts.take().or(was.admin_hosts);
    let problems = start::check(flags)?;
    ensure!(problems.is_empty(), "{}; what runs goes on", problems.join("; "));
    cluster.stop(false)
}
