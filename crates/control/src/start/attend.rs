//! Tells the service manager that runs this process, such as systemd, when the cluster is ready, what keeps it from its
//! work, and that the supervisor lives. `foreground.rs` starts it; reloads and the stop are told by `supervisor.rs`.

use gatewayworker_daemon::ServiceManager;
use tokio::time::sleep;

use super::daemon_status::DaemonStatus;
use super::readiness;
use super::supervisor_handle::{Ending, SupervisorHandle};

/// Tells the service manager how the cluster goes, until the cluster ends; returns at once if there is no manager.
///
/// The cluster is ready when all daemons listen and have found each other. It is ready without the latter after
/// [`readiness::TIMEOUT`]: a daemon that it needs may run on another host, and come later.
pub(super) async fn attend(supervisor: SupervisorHandle) {
    let manager = ServiceManager::of_process();
    if manager.is_present() {
        // It ends with the cluster.
        let Err(Ending) = tell(manager, &supervisor).await;
    }
}

async fn tell(
    manager: &ServiceManager,
    supervisor: &SupervisorHandle,
) -> Result<std::convert::Infallible, Ending> {
    supervisor.ready().await?;
    let _ = readiness::wait(supervisor, readiness::TIMEOUT).await;
    manager.ready("all daemons are ready");
    loop {
        // The supervisor's loop takes the request: its answer is the sign of life.
        let status = supervisor.status().await?;
        manager.alive();
        manager.status(&status.iter().flat_map(DaemonStatus::problems).collect::<Vec<_>>());
        sleep(manager.interval()).await;
    }
}
