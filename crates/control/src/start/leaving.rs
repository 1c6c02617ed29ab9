//! The processes of one daemon that drain, or were killed, until they have ended. Plain data: a process that does not
//! drain in time is killed by [`Leaving::handle_deadline`]. `daemon_runner.rs` owns it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::warn;

use super::child_event::{ChildId, ReloadId, Reloaded};
use super::decisions::{Action, Decisions};

/// How long a process may take to drain before it is killed: longer than it gives itself by default, as this is
/// for a process that hangs.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// The processes of one daemon that are about to end.
#[derive(Debug)]
pub(super) struct Leaving {
    daemon: &'static str,
    processes: BTreeMap<ChildId, Process>,
}

#[derive(Debug)]
struct Process {
    process_id: u32,
    /// `None` once it was killed.
    kill_at: Option<Instant>,
    /// The reload that is over when the process has ended, and its result.
    reload: Option<(ReloadId, Reloaded)>,
}

impl Leaving {
    /// Makes an empty set for the daemon of this name.
    pub(super) fn new(daemon: &'static str) -> Self {
        Self { daemon, processes: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Returns the processes, the oldest first.
    pub(super) fn children(&self) -> impl Iterator<Item = ChildId> {
        self.processes.keys().copied()
    }

    /// Lets a process drain. `reload` is over when it has ended; it fails if the process has to be killed.
    pub(super) fn drain(
        &mut self,
        child: ChildId,
        process_id: u32,
        reload: Option<ReloadId>,
        now: Instant,
        out: &mut Decisions,
    ) {
        out.actions.push(Action::Drain(child));
        let reload = reload.map(|reload| (reload, Ok(())));
        self.processes.insert(child, Process { process_id, kill_at: Some(now + DRAIN_TIMEOUT), reload });
    }

    /// Kills a process. `reload` is over when it has ended, with the result given here.
    pub(super) fn kill(
        &mut self,
        child: ChildId,
        process_id: u32,
        reload: (ReloadId, Reloaded),
        out: &mut Decisions,
    ) {
        out.actions.push(Action::Kill(child));
        self.processes.insert(child, Process { process_id, kill_at: None, reload: Some(reload) });
    }

    /// A process has ended. Returns whether it was one of these.
    pub(super) fn ended(&mut self, child: ChildId, out: &mut Decisions) -> bool {
        let process = self.processes.remove(&child);
        let was_here = process.is_some();
        out.reloaded.extend(process.and_then(|process| process.reload));
        was_here
    }

    /// Returns when [`Leaving::handle_deadline`] is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.processes.values().filter_map(|process| process.kill_at).min()
    }

    /// Kills the processes that have not drained in time.
    pub(super) fn handle_deadline(&mut self, now: Instant, out: &mut Decisions) {
        for (child, process) in &mut self.processes {
            if process.kill_at.take_if(|at| *at <= now).is_some() {
                let (name, id, limit) = (self.daemon, process.process_id, DRAIN_TIMEOUT.as_secs());
                let why =
                    format!("the {name}, process {id}, had not drained after {limit} s, and was killed");
                warn!("{why}");
                process.reload = process.reload.take().map(|(reload, _)| (reload, Err(why)));
                out.actions.push(Action::Kill(*child));
            }
        }
    }
}
