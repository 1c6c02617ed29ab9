//! A cluster that runs, as the commands see it: found by the lock of its run directory, asked over its control
//! socket. `commands.rs` and `status.rs` use it.

use std::fmt;
use std::time::Duration;

use anyhow::bail;

use crate::cluster_dirs::ClusterDirs;
use crate::control_socket::{self, Request};
use crate::report::ClusterReport;
use crate::run_dir::{Holder, RunDir};

/// How long a cluster may take to answer that it will stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a reload may take: a minute until a new worker is ready, and a minute for the old one to drain.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(180);

/// How long a report may take: a cluster waits a second for daemons that do not answer.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);

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
        let run_dir = dirs.run_dir()?;
        match run_dir.holder()? {
            Holder::Process(process_id) => Ok(Self { run_dir, process_id }),
            Holder::Nobody => Err(NothingRuns(run_dir).into()),
        }
    }

    /// Asks it for a report.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn report(&self) -> anyhow::Result<ClusterReport> {
        control_socket::ask(&self.run_dir.socket(), Request::Status, REPORT_TIMEOUT)
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

/// No cluster runs in this run directory.
#[derive(Debug)]
pub(crate) struct NothingRuns(RunDir);

impl fmt::Display for NothingRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.0.path().display();
        write!(f, "nothing runs in {directory}: was it started with the same --config-dir or --run-dir?")
    }
}

impl std::error::Error for NothingRuns {}
