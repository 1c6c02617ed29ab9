//! Runs a cluster in this process until a signal or a request ends it: takes the run directory, starts the
//! supervisor, and prints where clients connect. `start` calls it; with `--daemon` the process in the background
//! does.

use anyhow::Context;
use gatewayworker_daemon::{LogFormat, Signals, unknown_variables};
use tracing::{info, warn};

use super::admin_page::AdminPage;
use super::attend::attend;
use super::daemon::Daemon;
use super::plan::plan;
use super::readiness::{self, NotReady};
use super::supervisor::supervise;
use super::supervisor_handle::SupervisorHandle;
use super::welcome::ListenAddresses;
use super::{StartFlags, output};
#[cfg(unix)]
use super::{background, control_server, operator_signals};
use crate::report::PageReport;

/// Runs the cluster to its end.
///
/// # Errors
/// When a cluster runs in the run directory already, or a daemon does not start.
#[cfg(unix)]
pub(super) fn run(flags: &StartFlags) -> anyhow::Result<()> {
    if flags.in_background() {
        background::leave_terminal()?;
    }
    unknown_variables().iter().for_each(|warning| warn!("{warning}"));
    let daemons = plan(flags)?;
    let control = control_server::ControlServer::bind(flags)?;
    supervise_here(flags, daemons, |supervisor, page| {
        if let Some(control) = control {
            control.serve(supervisor.clone(), page)?;
        }
        operator_signals::listen(supervisor)
    })
}

/// Runs the cluster to its end.
///
/// # Errors
/// When a daemon does not start.
#[cfg(not(unix))]
pub(super) fn run(flags: &StartFlags) -> anyhow::Result<()> {
    unknown_variables().iter().for_each(|warning| warn!("{warning}"));
    supervise_here(flags, plan(flags)?, |_, _| Ok(()))
}

/// Supervises the daemons on this thread. `listen` starts what else may make requests: SIGINT and SIGTERM always do.
fn supervise_here(
    flags: &StartFlags,
    daemons: Vec<Daemon>,
    listen: impl FnOnce(SupervisorHandle, Option<PageReport>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new().context("cannot listen for signals")?;
        let (supervisor, requests) = SupervisorHandle::new();
        let page = AdminPage::open(flags).await?;
        let report = page.as_ref().map(AdminPage::report);
        listen(supervisor.clone(), report.clone())?;
        let _page = page.map(|page| page.serve(supervisor.clone())).transpose()?;
        tokio::spawn(attend(supervisor.clone()));
        let stopped = supervisor.clone();
        tokio::spawn(async move {
            for now in [false, true] {
                let signal = signals.next().await;
                info!("{}: ending all daemons", signal.name);
                let _ = stopped.stop(now).await;
            }
        });
        let expected = daemons.len();
        let mut addresses = ListenAddresses::default();
        addresses.set_page(report);
        supervise(daemons, requests, |name, of_daemon| {
            addresses.add(name, of_daemon);
            if addresses.is_complete(expected) && !flags.in_background() {
                let addresses = std::mem::take(&mut addresses);
                tokio::spawn(welcome(supervisor.clone(), addresses, flags.clone()));
            }
        })
        .await
    })
}

/// Prints where clients connect once the cluster can do its work; logs what keeps it from that where it takes long.
async fn welcome(supervisor: SupervisorHandle, addresses: ListenAddresses, flags: StartFlags) {
    let mut logged = Vec::new();
    loop {
        match readiness::wait(&supervisor, readiness::TIMEOUT).await {
            Ok(()) => break,
            Err(NotReady::Ending) => return,
            Err(NotReady::Problems(problems)) if problems != logged => {
                warn!("the cluster cannot do its work: {}", problems.join("; "));
                logged = problems;
            }
            Err(NotReady::Problems(_)) => {}
        }
    }
    match flags.log_format() {
        LogFormat::Text => output::print(addresses.welcome(flags.page(), "Ctrl-C ends all.")),
        LogFormat::Json => info!(listens = addresses.in_one_line(), "GatewayWorker is running"),
    }
}
