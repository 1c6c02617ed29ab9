//! The state machine of a whole cluster: the first daemon starts alone, the others once it listens, all live until
//! a stop, and end in the opposite order, so that a gateway's last closes still find a worker. If a daemon does not
//! start, the others end too.
//!
//! Plain data, like the [`DaemonRunner`]s that it owns: events come in as calls with the time, actions go out by
//! [`Cluster::next_action`]. `supervisor.rs` carries them out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::child_event::{ChildId, ReloadId, Reloaded};
use super::daemon::OnReload;
use super::daemon_runner::DaemonRunner;
use super::decisions::{Action, Decisions};

/// The daemons of a cluster, in the order in which they start.
#[derive(Debug)]
pub(super) struct Cluster {
    runners: Vec<DaemonRunner>,
    /// How many daemons have not listened yet.
    to_come: usize,
    stop: Stop,
    failure: Option<String>,
    /// The reloads under way, with what each daemon has answered so far.
    reloads: BTreeMap<ReloadId, Vec<Option<Reloaded>>>,
    next_reload: u64,
    actions: VecDeque<Action>,
    reloaded: VecDeque<(ReloadId, Reloaded)>,
}

/// How far the stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Nobody has asked for it.
    No,
    /// Nothing is started any more.
    Begun,
    /// The daemon with this index drains; those before it are next, the last of them first.
    Draining(usize),
    /// All have ended.
    Done,
}

impl Cluster {
    /// Makes a cluster of daemons, of which nothing is started yet: their names, and what a reload does to them.
    ///
    /// # Panics
    /// Without any daemon.
    pub(super) fn new(daemons: impl IntoIterator<Item = (&'static str, OnReload)>) -> Self {
        let new = |(index, (name, on_reload))| DaemonRunner::new(name, index, on_reload);
        let runners: Vec<_> = daemons.into_iter().enumerate().map(new).collect();
        assert!(!runners.is_empty(), "a cluster has a daemon");
        Self {
            to_come: runners.len(),
            runners,
            stop: Stop::No,
            failure: None,
            reloads: BTreeMap::new(),
            next_reload: 0,
            actions: VecDeque::new(),
            reloaded: VecDeque::new(),
        }
    }

    /// Returns the daemons, in the order in which they start.
    pub(super) fn runners(&self) -> &[DaemonRunner] {
        &self.runners
    }

    /// Returns the next thing to do.
    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns the next reload that is over, with its result.
    pub(super) fn next_reloaded(&mut self) -> Option<(ReloadId, Reloaded)> {
        self.reloaded.pop_front()
    }

    /// Whether all daemons have listened.
    pub(super) fn is_ready(&self) -> bool {
        self.to_come == 0
    }

    /// Returns how it has ended, once all daemons have: an error says which one did not start, and why.
    pub(super) fn result(&self) -> Option<Result<(), String>> {
        (self.stop == Stop::Done).then(|| self.failure.clone().map_or(Ok(()), Err))
    }

    /// Starts the first daemon.
    pub(super) fn start(&mut self, now: Instant) {
        self.update(0, now, |runner, out| runner.start(now, out));
    }

    /// A process was started, by [`Action::Start`].
    pub(super) fn started(&mut self, child: ChildId, process_id: u32) {
        self.runners[child.daemon].started(child, process_id);
    }

    /// A process could not be started; `error` says which program, and why.
    pub(super) fn start_failed(&mut self, child: ChildId, error: String, now: Instant) {
        self.update(child.daemon, now, |runner, out| runner.start_failed(child, error, now, out));
    }

    /// A process listens. Returns whether it is the first one of its daemon that does.
    pub(super) fn child_ready(&mut self, child: ChildId, now: Instant) -> bool {
        let is_first = self.update(child.daemon, now, |runner, out| runner.child_ready(child, now, out));
        if is_first {
            self.to_come -= 1;
            if child.daemon == 0 {
                (1..self.runners.len())
                    .for_each(|other| self.update(other, now, |runner, out| runner.start(now, out)));
            }
        }
        is_first
    }

    /// A process has answered [`Action::AskStatus`]: it is linked to so many gateways.
    pub(super) fn child_status(&mut self, child: ChildId, gateways: u64, now: Instant) {
        self.update(child.daemon, now, |runner, out| runner.child_status(child, gateways, now, out));
    }

    /// A process has answered [`Action::ReadFiles`].
    pub(super) fn files_read(&mut self, child: ChildId, reload: ReloadId, result: Reloaded, now: Instant) {
        self.update(child.daemon, now, |runner, out| runner.files_read(reload, result, out));
    }

    /// A process has ended, as `end` says.
    pub(super) fn child_ended(&mut self, child: ChildId, end: &str, now: Instant) {
        self.update(child.daemon, now, |runner, out| runner.child_ended(child, end, now, out));
    }

    /// Reloads all daemons; the result comes by [`Cluster::next_reloaded`].
    pub(super) fn reload(&mut self, now: Instant) -> ReloadId {
        let reload = ReloadId(self.next_reload);
        self.next_reload += 1;
        self.reloads.insert(reload, vec![None; self.runners.len()]);
        (0..self.runners.len())
            .for_each(|daemon| self.update(daemon, now, |runner, out| runner.reload(reload, now, out)));
        reload
    }

    /// Lets all daemons drain and end, the last one first. A second call changes nothing.
    pub(super) fn stop(&mut self, now: Instant) {
        if self.stop != Stop::No {
            return;
        }
        self.stop = Stop::Begun;
        (0..self.runners.len())
            .for_each(|daemon| self.update(daemon, now, |runner, out| runner.stop_starting(out)));
        self.drain_from(self.runners.len() - 1, now);
    }

    /// Ends all processes at once.
    pub(super) fn kill(&mut self, now: Instant) {
        (0..self.runners.len()).for_each(|daemon| self.update(daemon, now, |runner, out| runner.kill(out)));
    }

    /// Returns when [`Cluster::handle_deadline`] is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.runners.iter().filter_map(DaemonRunner::next_deadline).min()
    }

    /// Does what is due at `now`.
    pub(super) fn handle_deadline(&mut self, now: Instant) {
        (0..self.runners.len())
            .for_each(|daemon| self.update(daemon, now, |runner, out| runner.handle_deadline(now, out)));
    }

    /// Calls a runner, and follows its decisions.
    fn update<T>(
        &mut self,
        daemon: usize,
        now: Instant,
        call: impl FnOnce(&mut DaemonRunner, &mut Decisions) -> T,
    ) -> T {
        let mut out = Decisions::default();
        let result = call(&mut self.runners[daemon], &mut out);
        self.actions.extend(out.actions);
        for (reload, result) in out.reloaded {
            self.collect(reload, daemon, result);
        }
        if let Some(failure) = out.failure {
            self.failure.get_or_insert(failure);
            self.stop(now);
        }
        if self.stop == Stop::Draining(daemon) && self.runners[daemon].has_ended() {
            self.next_drain(daemon, now);
        }
        result
    }

    /// Drains a daemon, and those before it as soon as it has ended.
    fn drain_from(&mut self, daemon: usize, now: Instant) {
        self.stop = Stop::Draining(daemon);
        self.update(daemon, now, |runner, out| runner.drain(now, out));
    }

    fn next_drain(&mut self, ended: usize, now: Instant) {
        match ended.checked_sub(1) {
            Some(next) => self.drain_from(next, now),
            None => self.stop = Stop::Done,
        }
    }

    /// Keeps what came of a reload for one daemon. A failure of one is no reason to leave the others as they are, so
    /// the whole is over when all have answered.
    fn collect(&mut self, reload: ReloadId, daemon: usize, result: Reloaded) {
        let Some(results) = self.reloads.get_mut(&reload) else { return };
        results[daemon] = Some(result);
        let Some(results) = results.iter().cloned().collect::<Option<Vec<_>>>() else { return };
        self.reloads.remove(&reload);
        let was_replaced = |(runner, result): (&DaemonRunner, &Reloaded)| {
            (result.is_ok() && runner.replaces()).then(|| format!("the {} was replaced", runner.name()))
        };
        let replaced: Vec<_> = self.runners.iter().zip(&results).filter_map(was_replaced).collect();
        let problems: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        let whole = if problems.is_empty() { Ok(()) } else { Err([problems, replaced].concat().join("; ")) };
        self.reloaded.push_back((reload, whole));
    }
}

#[cfg(test)]
mod tests;
