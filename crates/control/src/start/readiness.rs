//! Waits until a cluster whose daemons listen can do its work: they have to find each other. The welcome message
//! and `start --daemon` wait for that. Workers that others run may come later: nobody waits for those.

use std::time::Duration;

use gatewayworker_daemon::child_protocol::NO_WORKER;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::daemon_status::{DaemonStatus, ProcessStatus};
use super::plan::WORKER;
use super::supervisor_handle::{Ending, SupervisorHandle};

/// How long daemons that listen may take to find each other before somebody is told. They need milliseconds, or a
/// second or two where a register is asked again.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How many looks in a row have to find no problem: a link that is refused ends right after it has begun.
const GOOD_LOOKS: u32 = 3;

/// Why a cluster cannot do its work.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotReady {
    /// Each problem is a sentence that says what to do.
    Problems(Vec<String>),
    /// The cluster ends before it is ready.
    Ending,
}

/// Waits until the cluster can do its work, for `limit` at most.
///
/// # Errors
/// What keeps it from that.
pub(super) async fn wait(supervisor: &SupervisorHandle, limit: Duration) -> Result<(), NotReady> {
    let deadline = Instant::now() + limit;
    let mut good_looks = 0;
    while good_looks < GOOD_LOOKS {
        let status = supervisor.status().await.map_err(|Ending| NotReady::Ending)?;
        let problems = problems(&status);
        good_looks = if problems.is_empty() { good_looks + 1 } else { 0 };
        if good_looks == 0 && Instant::now() >= deadline {
            return Err(NotReady::Problems(problems));
        }
        sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// Returns what keeps the cluster from its work, as far as it is to be waited for: where the cluster starts no worker, a
/// gateway that a register lists has done its part.
fn problems(status: &[DaemonStatus]) -> Vec<String> {
    let starts_worker = status.iter().any(|daemon| daemon.name == WORKER);
    let gateways = |process: &ProcessStatus| process.status.stats.get("gateways").and_then(Value::as_u64);
    let is_listed = || {
        let registers = status.iter().filter(|daemon| daemon.name == "register");
        registers.flat_map(|daemon| &daemon.processes).any(|process| gateways(process) > Some(0))
    };
    let waits_for_others = |problem: &String| !starts_worker && problem.starts_with(NO_WORKER) && is_listed();
    status.iter().flat_map(DaemonStatus::problems).filter(|problem| !waits_for_others(problem)).collect()
}

impl std::fmt::Display for NotReady {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Problems(problems) => f.write_str(&problems.join("; ")),
            Self::Ending => Ending.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker_daemon::child_protocol::ChildStatus;
    use serde_json::json;

    use super::*;

    fn daemon(name: &'static str, status: Value) -> DaemonStatus {
        let status: ChildStatus = serde_json::from_value(status).unwrap();
        let (since, addresses) = (std::time::Instant::now(), Vec::new());
        let process = ProcessStatus { process_id: 1, state: "ready", since, addresses, status };
        DaemonStatus { name, restarts: 0, processes: vec![process] }
    }

    #[test]
    fn a_gateway_without_a_worker_is_waited_for_until_a_register_lists_it_where_others_run_the_workers() {
        let no_worker = format!("{NO_WORKER}, its clients wait: why");
        let gateway = |more: &[&str]| {
            let problems = [&[no_worker.as_str()], more].concat();
            daemon("gateway", json!({"workers": 0, "problems": problems}))
        };
        let register = |gateways: u64| daemon("register", json!({"gateways": gateways}));
        assert_eq!(problems(&[register(0), gateway(&[])]), [&*no_worker]);
        assert_eq!(problems(&[register(1), gateway(&[])]), [""; 0]);
        assert_eq!(problems(&[register(1), gateway(&["auth.jwks_url: why"])]), ["auth.jwks_url: why"]);
        let worker = daemon(WORKER, json!({}));
        assert_eq!(problems(&[register(1), worker, gateway(&[])]), [&*no_worker], "its worker is to come");
    }
}
