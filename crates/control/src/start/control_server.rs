//! The control socket's server in the supervisor's process: holds the run directory's lock, and passes requests of
//! `stop`, `reload`, `status` and `start --daemon` on to the supervisor. `foreground.rs` starts it; the protocol is
//! in `control_socket.rs`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use gatewayworker_daemon::{LogFormat, ProcessUsage};
use serde_json::Value;
use tokio::net::UnixListener;
use tracing::{info, warn};

use super::daemon_status::{DaemonStatus, ProcessStatus};
use super::supervisor_handle::SupervisorHandle;
use super::{StartFlags, output, readiness};
use crate::control_socket::{self, Request};
use crate::report::{ClusterReport, DaemonReport, PageFlags, PageReport, ProcessReport, Programs};
use crate::run_dir::{AlreadyRuns, Lock};

/// A server that listens, and has the run directory to itself.
#[derive(Debug)]
pub(super) struct ControlServer {
    claim: Claim,
    listener: std::os::unix::net::UnixListener,
    about: About,
}

/// The run directory's lock. Dropped, it removes the socket too: a program that copies the directory would stumble
/// over it.
#[derive(Debug)]
struct Claim {
    _lock: Lock,
    socket: PathBuf,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The part of a report that does not change.
#[derive(Debug, Clone)]
struct About {
    since: Instant,
    config_dir: Option<String>,
    log_file: Option<String>,
    programs: Programs,
    no_worker: bool,
    page: Option<PageReport>,
    page_flags: PageFlags,
    log_format: LogFormat,
}

impl ControlServer {
    /// Locks the run directory and listens there. Returns `None` in the foreground where the directory cannot be
    /// written to: a container may have none that can.
    ///
    /// # Errors
    /// When a cluster runs there already; in the background, also where the directory cannot be written to, or
    /// listened in.
    pub(super) fn bind(flags: &StartFlags) -> anyhow::Result<Option<Self>> {
        let run_dir = flags.dirs.run_dir()?;
        let bind = || {
            run_dir.make()?;
            let lock = run_dir.lock()?;
            anyhow::Ok((lock, control_socket::listen(&run_dir.socket(), run_dir.socket_permissions())?))
        };
        let (lock, listener) = match bind() {
            Ok(bound) => bound,
            Err(error) if flags.in_background() || error.is::<AlreadyRuns>() => return Err(error),
            Err(error) => {
                warn!("{error:#}: stop, reload and status will not find this cluster");
                return Ok(None);
            }
        };
        let text = |path: &Path| std::path::absolute(path).ok().map(|path| path.display().to_string());
        let about = About {
            since: Instant::now(),
            config_dir: flags.dirs.configs()?.and_then(text),
            log_file: flags.in_background().then(|| text(&flags.log_file(&run_dir))).flatten(),
            programs: Programs {
                register: flags.register.as_deref().and_then(text),
                businessworker: flags.businessworker.as_deref().and_then(text),
                gateway: flags.gateway.as_deref().and_then(text),
            },
            no_worker: flags.no_worker,
            page: None,
            page_flags: PageFlags {
                admin_listen: flags.admin.admin_listen.clone(),
                admin_token_file: flags.admin.admin_token_file.clone(),
                admin_hosts: flags.admin.admin_hosts.clone(),
            },
            log_format: flags.log_format(),
        };
        Ok(Some(Self { claim: Claim { _lock: lock, socket: run_dir.socket() }, listener, about }))
    }

    /// Answers requests for as long as the runtime lives, from a task of its own; `page` is in the reports.
    ///
    /// # Errors
    /// When the system refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn serve(self, supervisor: SupervisorHandle, page: Option<PageReport>) -> anyhow::Result<()> {
        let Self { claim, listener, about } = self;
        let about = About { page, ..about };
        let listener = UnixListener::from_std(listener).context("the control socket")?;
        tokio::spawn(async move {
            let _claim = claim;
            let answer = move |request| answer(request, supervisor.clone(), about.clone());
            control_socket::serve(listener, answer).await
        });
        Ok(())
    }
}

async fn answer(request: Request, supervisor: SupervisorHandle, about: About) -> Result<Value, String> {
    let ended = |ending: super::supervisor_handle::Ending| ending.to_string();
    match request {
        Request::Ready => supervisor.ready().await.map_err(ended)?,
        Request::Able => {
            readiness::wait(&supervisor, readiness::TIMEOUT).await.map_err(|why| why.to_string())?;
        }
        Request::Reload => supervisor.reload().await.map_err(ended)??,
        Request::Status => {
            let report = about.report(supervisor.status().await.map_err(ended)?);
            return serde_json::to_value(report).map_err(|error| error.to_string());
        }
        Request::Stop { now } => {
            info!("asked to stop: ending all daemons");
            supervisor.stop(now).await.map_err(ended)?;
        }
    }
    Ok(Value::Null)
}

impl About {
    fn report(&self, daemons: Vec<DaemonStatus>) -> ClusterReport {
        let daemons: Vec<_> = daemons.into_iter().map(report_daemon).collect();
        ClusterReport {
            ready: daemons.iter().all(|daemon| daemon.problems.is_empty()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process_id: std::process::id(),
            uptime_ms: milliseconds(self.since),
            config_dir: self.config_dir.clone(),
            log_file: self.log_file.clone(),
            log_format: self.log_format.name().to_owned(),
            log_lines_dropped: output::dropped(),
            programs: self.programs.clone(),
            no_worker: self.no_worker,
            page: self.page.clone(),
            page_flags: self.page_flags.clone(),
            daemons,
        }
    }
}

fn report_daemon(status: DaemonStatus) -> DaemonReport {
    DaemonReport {
        name: status.name.to_owned(),
        restarts: status.restarts,
        problems: status.problems(),
        notices: status.notices(),
        processes: status.processes.into_iter().map(report_process).collect(),
    }
}

fn report_process(process: ProcessStatus) -> ProcessReport {
    let usage = ProcessUsage::of(process.process_id);
    ProcessReport {
        process_id: process.process_id,
        state: process.state.to_owned(),
        uptime_ms: milliseconds(process.since),
        cpu_ms: usage.cpu_ms,
        memory_bytes: usage.memory_bytes,
        listens: process.addresses,
        stats: process.status.stats,
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
