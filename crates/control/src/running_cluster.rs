//! A cluster that runs, as the commands see it: found by the lock of its run directory, asked over its control
//! socket. `commands.rs` and `status.rs` use it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::cluster_dirs::{ClusterDirs, PACKAGED_RUN_DIR, packaged_configs};
use crate::control_socket::{self, Request};
use crate::report::ClusterReport;
use crate::run_dir::{Holder, RunDir};

/// How long a cluster may take to answer that it will stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a reload may take: a minute until a new worker is ready, and a minute for the old one to drain.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(180);

/// How long a report may take: a cluster waits a second for daemons that do not answer.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster that ran when it was looked for.
#[derive(Debug)]
pub(crate) struct RunningCluster {
    run_dir: RunDir,
    /// The id of the supervisor's process; empty while it has not written it.
    pub(crate) process_id: String,
}

impl RunningCluster {
    /// Finds the cluster whose directories are `dirs`.
    ///
    /// # Errors
    /// [`NothingRuns`], or that the directories do not exist, or cannot be read.
    pub(crate) fn find(dirs: &ClusterDirs) -> anyhow::Result<Self> {
        let searched = dirs.run_dirs_to_search()?;
        for run_dir in &searched {
            if let Holder::Process(process_id) = run_dir.holder()? {
                return Ok(Self { run_dir: run_dir.clone(), process_id });
            }
        }
        Err(NothingRuns(searched).into())
    }

    /// Returns whether it is that of the Debian package's service, which systemd starts and stops.
    pub(crate) fn is_of_service(&self) -> bool {
        self.run_dir.path() == Path::new(PACKAGED_RUN_DIR)
    }

    /// Asks it for a report.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn report(&self) -> anyhow::Result<ClusterReport> {
        let asked = control_socket::ask(&self.run_dir.socket(), Request::Status, REPORT_TIMEOUT);
        asked.with_context(|| format!("the supervisor, process {}, does not report", self.process_id))
    }

    /// Reloads it; returns when all is done.
    ///
    /// # Errors
    /// Why it failed, or what did.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        control_socket::ask(&self.run_dir.socket(), Request::Reload, RELOAD_TIMEOUT)
    }

    /// Stops it, at once if `now`; returns when its process has ended.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn stop(&self, now: bool) -> anyhow::Result<()> {
        let process = &self.process_id;
        let asked = control_socket::ask::<()>(&self.run_dir.socket(), Request::Stop { now }, STOP_TIMEOUT);
        if let Err(error) = asked
            && self.run_dir.holder()? != Holder::Nobody
        {
            bail!("process {process} does not answer, end it with `kill {process}`: {error:#}");
        }
        self.run_dir.wait_until_free()
    }
}

/// No cluster runs in these run directories.
#[derive(Debug)]
pub(crate) struct NothingRuns(Vec<RunDir>);

impl fmt::Display for NothingRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directories: Vec<_> = self.0.iter().map(|run_dir| run_dir.path().display().to_string()).collect();
        let directories = directories.join(" or ");
        if self.0.len() > 1 && packaged_configs().is_some() {
            let units = "`systemctl status 'gatewayworker*'` shows the units of the package";
            return write!(
                f,
                "nothing runs in {directories}: {units}, status --register-address their cluster"
            );
        }
        write!(f, "nothing runs in {directories}: was it started with the same --config-dir or --run-dir?")
    }
}

impl std::error::Error for NothingRuns {}
