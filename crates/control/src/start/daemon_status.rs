//! The status of a cluster's daemons as the supervisor sees them. `supervisor.rs` makes it; `control_server.rs`
//! makes the report of it that `status` prints, `readiness.rs` looks for problems in it.

use std::time::Instant;

use gatewayworker_daemon::child_protocol::ChildStatus;

/// A daemon and its processes.
#[derive(Debug, Clone)]
pub(super) struct DaemonStatus {
    pub(super) name: &'static str,
    /// How often a process of it has ended by itself.
    pub(super) restarts: u64,
    /// None between an end and the next start; two while one takes the other's place.
    pub(super) processes: Vec<ProcessStatus>,
}

/// A process of a daemon.
#[derive(Debug, Clone)]
pub(super) struct ProcessStatus {
    pub(super) process_id: u32,
    /// `starting`, `ready` or `draining`.
    pub(super) state: &'static str,
    pub(super) since: Instant,
    pub(super) addresses: Vec<String>,
    /// What it reports about itself.
    pub(super) status: ChildStatus,
}

impl DaemonStatus {
    /// Returns what keeps the daemon from its work, each as a sentence; nothing if one of its processes is able.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut ready = self.processes.iter().filter(|process| process.state == "ready");
        let Some(first) = ready.next() else {
            let state = self.processes.first().map_or("not running, see the log", |process| process.state);
            return vec![format!("the {} is {state}", self.name)];
        };
        if ready.chain([first]).any(|process| process.status.problems.is_empty()) {
            return Vec::new();
        }
        first.status.problems.clone()
    }

    /// Returns what an operator has to mend though the daemon does its work, each as a sentence: the notices of all its
    /// processes that are ready.
    pub(super) fn notices(&self) -> Vec<String> {
        let ready = self.processes.iter().filter(|process| process.state == "ready");
        let mut notices: Vec<_> = ready.flat_map(|process| process.status.notices.clone()).collect();
        notices.sort();
        notices.dedup();
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_of_several_processes_is_there_once() {
        let process = |notices: &[&str]| ProcessStatus {
            process_id: 1,
            state: "ready",
            since: Instant::now(),
            addresses: Vec::new(),
            status: ChildStatus {
                notices: notices.iter().map(|notice| (*notice).into()).collect(),
                ..ChildStatus::default()
            },
        };
        let processes = vec![process(&["b", "a"]), process(&["b", "a"]), process(&["b"])];
        let daemon = DaemonStatus { name: "businessworker", restarts: 0, processes };
        assert_eq!(daemon.notices(), ["a", "b"]);
    }
}
