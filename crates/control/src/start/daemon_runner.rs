//! The state machine that keeps one daemon running: it decides when to start a process, when to start the next one
//! after an end, when a successor takes the place, and when a process that does not drain is killed.
//!
//! Plain data, without processes, tasks and clocks: events come in as calls, time is an argument, decisions go out
//! as [`Action`]s, and timers are [`DaemonRunner::next_deadline`]. `cluster.rs` owns one for each daemon;
//! `supervisor.rs` carries the actions out.

use std::time::{Duration, Instant};

use gatewayworker_net::Backoff;
use tracing::{error, info};

use super::child_event::{ChildId, ReloadId, Reloaded};
use super::daemon::OnReload;
use super::decisions::{Action, Decisions};
use super::leaving::Leaving;
use super::successor_check::{Step, SuccessorCheck};

/// After a process that lived this long, the waits between starts begin anew.
const SUCCESS: Duration = Duration::from_secs(60);

/// The waits between an end and the next start.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A daemon, of which one process is kept running.
#[derive(Debug)]
pub(super) struct DaemonRunner {
    name: &'static str,
    index: usize,
    on_reload: OnReload,
    /// The process that has the daemon's place. `None` before the start, between an end and the next start, and
    /// after the drain.
    current: Option<Process>,
    /// When to start the next process after an end.
    restart_at: Option<Instant>,
    backoff: Backoff,
    restarts: u64,
    /// Whether a process of it has listened: from then on an end is followed by the next start.
    was_ready: bool,
    /// The reload under way, with the process that has to prove itself.
    reloading: Option<Reloading>,
    /// A reload that waits for the one under way, or for the first process.
    next_reload: Option<ReloadId>,
    /// Processes that drain, or were killed; the reload is answered when they have ended.
    leaving: Leaving,
    /// The end is near: nothing is started any more.
    is_stopping: bool,
    next_number: u64,
}

#[derive(Debug)]
struct Process {
    child: ChildId,
    process_id: u32,
    since: Instant,
}

#[derive(Debug)]
struct Reloading {
    reload: ReloadId,
    check: SuccessorCheck,
    /// The process that shall take the place; `None` where it has the place already, after an end.
    successor: Option<Process>,
}

impl DaemonRunner {
    /// Makes the runner of a daemon, whose index becomes part of its children's ids. Nothing is started yet.
    pub(super) fn new(name: &'static str, index: usize, on_reload: OnReload) -> Self {
        Self {
            name,
            index,
            on_reload,
            current: None,
            restart_at: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            restarts: 0,
            was_ready: false,
            reloading: None,
            next_reload: None,
            leaving: Leaving::new(name),
            is_stopping: false,
            next_number: 0,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether a reload puts a new process in the place of the old one.
    pub(super) fn replaces(&self) -> bool {
        self.on_reload == OnReload::Replace
    }

    /// Returns how often a process of it has ended by itself.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Whether it has no process any more, and starts none.
    pub(super) fn has_ended(&self) -> bool {
        self.is_stopping && self.current.is_none() && self.leaving.is_empty()
    }

    /// Starts the first process. If that ends before it is ready, the daemon has failed.
    pub(super) fn start(&mut self, now: Instant, out: &mut Decisions) {
        if !self.is_stopping {
            self.current = Some(self.new_process(now, out));
        }
    }

    fn new_process(&mut self, now: Instant, out: &mut Decisions) -> Process {
        let child = ChildId { daemon: self.index, number: self.next_number };
        self.next_number += 1;
        out.actions.push(Action::Start(child));
        Process { child, process_id: 0, since: now }
    }

    /// The process was started.
    pub(super) fn started(&mut self, child: ChildId, process_id: u32) {
        let successor = self.reloading.as_mut().and_then(|reloading| reloading.successor.as_mut());
        for process in self.current.iter_mut().chain(successor).filter(|process| process.child == child) {
            process.process_id = process_id;
        }
    }

    /// The process could not be started; `error` says which program, and why.
    pub(super) fn start_failed(&mut self, child: ChildId, error: String, now: Instant, out: &mut Decisions) {
        if self.is_successor(child) {
            return self.reject_successor(error, true, now, out);
        }
        self.current = None;
        if !self.was_ready {
            out.failure = Some(error);
            return;
        }
        error!("{error}");
        if let Some(reloading) = self.reloading.take() {
            out.reloaded.push((reloading.reload, Err(error)));
        }
        self.restart_at = Some(now + self.backoff.next_wait());
    }

    /// The process listens. Returns whether it is the daemon's first that does.
    pub(super) fn child_ready(&mut self, child: ChildId, now: Instant, out: &mut Decisions) -> bool {
        if let Some(reloading) = &mut self.reloading
            && reloading.successor.as_ref().is_some_and(|successor| successor.child == child)
        {
            let step = reloading.check.new_is_ready(self.current.is_some(), now);
            self.take_step(step, now, out);
            return false;
        }
        if self.current.as_ref().is_none_or(|current| current.child != child) {
            return false;
        }
        let is_first = !std::mem::replace(&mut self.was_ready, true);
        if !is_first && self.successor().is_none() {
            out.actions.push(Action::ReleaseListeners { daemon: self.index, except_of: Some(child) });
        }
        if let Some(reloading) = self.reloading.as_mut().filter(|reloading| reloading.successor.is_none()) {
            let step = reloading.check.new_is_ready(false, now);
            self.take_step(step, now, out);
        }
        self.begin_next_reload(now, out);
        is_first
    }

    /// The process has answered a question about its status: it is linked to so many gateways.
    pub(super) fn child_status(&mut self, child: ChildId, gateways: u64, now: Instant, out: &mut Decisions) {
        let Some(reloading) = &mut self.reloading else { return };
        let is_current = self.current.as_ref().is_some_and(|current| current.child == child);
        let step = match &reloading.successor {
            Some(successor) if successor.child == child => reloading.check.new_has(gateways, now),
            Some(_) if is_current => reloading.check.old_has(gateways, now),
            None if is_current => reloading.check.new_has(gateways, now),
            _ => return,
        };
        self.take_step(step, now, out);
    }

    /// The process has read its files again, or not.
    pub(super) fn files_read(&mut self, reload: ReloadId, result: Reloaded, out: &mut Decisions) {
        out.reloaded.push((reload, result.map_err(|reason| format!("the {}: {reason}", self.name))));
    }

    /// The process has ended, as `end` says.
    pub(super) fn child_ended(&mut self, child: ChildId, end: &str, now: Instant, out: &mut Decisions) {
        if self.leaving.ended(child, out) {
            return;
        }
        if self.is_successor(child) {
            let why = self.unable(&format!("ended by itself ({end})"));
            return self.reject_successor(why, true, now, out);
        }
        let Some(old) = self.current.take_if(|current| current.child == child) else { return };
        let name = self.name;
        if self.is_stopping {
            out.actions.push(Action::ReleaseListeners { daemon: self.index, except_of: None });
            return;
        }
        if !self.was_ready {
            out.failure = Some(format!("the {name} ended by itself ({end})"));
            return;
        }
        if let Some(reloading) = self.reloading.as_mut().filter(|reloading| reloading.successor.is_some()) {
            // The successor is about to take the place; only if it cannot, another one is started.
            error!("the {name} ended by itself ({end}) while its successor starts");
            let step = reloading.check.old_has(0, now);
            return self.take_step(step, now, out);
        }
        if let Some(reloading) = self.reloading.take() {
            out.reloaded.push((reloading.reload, Err(self.unable(&format!("ended by itself ({end})")))));
        }
        error!("the {name} ended by itself ({end}), and is started again");
        if now.saturating_duration_since(old.since) > SUCCESS {
            self.backoff.reset();
        }
        self.schedule_restart(now);
    }

    fn schedule_restart(&mut self, now: Instant) {
        self.restarts += 1;
        self.restart_at = Some(now + self.backoff.next_wait());
    }

    /// Somebody asks for new code, or for files to be read again.
    pub(super) fn reload(&mut self, reload: ReloadId, now: Instant, out: &mut Decisions) {
        let name = self.name;
        if self.is_stopping {
            out.reloaded.push((reload, Err(self.ending())));
        } else if self.on_reload == OnReload::Nothing {
            out.reloaded.push((reload, Ok(())));
        } else if self.restart_at.take().is_some() {
            // A person who has mended the daemon does not want to wait for the next try.
            self.current = Some(self.new_process(now, out));
            let check = SuccessorCheck::new(self.replaces(), now);
            self.reloading = Some(Reloading { reload, check, successor: None });
        } else if self.reloading.is_some() || !self.was_ready {
            match self.next_reload {
                None => self.next_reload = Some(reload),
                Some(_) => {
                    let busy = format!("the {name} is being reloaded already, and the next reload waits");
                    out.reloaded.push((reload, Err(busy)));
                }
            }
        } else if self.replaces() {
            let successor = Some(self.new_process(now, out));
            let check = SuccessorCheck::new(true, now);
            self.reloading = Some(Reloading { reload, check, successor });
        } else if let Some(current) = &self.current {
            out.actions.push(Action::ReadFiles(current.child, reload));
        }
    }

    fn begin_next_reload(&mut self, now: Instant, out: &mut Decisions) {
        if self.reloading.is_none()
            && let Some(reload) = self.next_reload.take()
        {
            self.reload(reload, now, out);
        }
    }

    /// Returns the process that shall take the place of the current one.
    fn successor(&self) -> Option<&Process> {
        self.reloading.as_ref()?.successor.as_ref()
    }

    fn is_successor(&self, child: ChildId) -> bool {
        self.successor().is_some_and(|successor| successor.child == child)
    }

    fn unable(&self, why: &str) -> String {
        format!("the new {} {why}", self.name)
    }

    fn ending(&self) -> String {
        format!("the {} is ending", self.name)
    }

    /// Does what the check of a new process asks for.
    fn take_step(&mut self, step: Step, now: Instant, out: &mut Decisions) {
        let current = self.current.as_ref().map(|current| current.child);
        match step {
            Step::Wait => {}
            Step::AskOld => out.actions.extend(current.map(Action::AskStatus)),
            Step::AskNew => {
                let successor = self.successor().map(|successor| successor.child);
                out.actions.extend(successor.or(current).map(Action::AskStatus));
            }
            Step::Able => {
                if let Some(Reloading { reload, successor, .. }) = self.reloading.take() {
                    match successor {
                        Some(successor) => self.replace_current(successor, reload, now, out),
                        None => out.reloaded.push((reload, Ok(()))),
                    }
                }
                self.begin_next_reload(now, out);
            }
            Step::Unable(why) => self.reject_successor(self.unable(&why), false, now, out),
        }
    }

    /// Puts the successor in the place of the current process, which drains. The reload is over when that has ended.
    fn replace_current(&mut self, next: Process, reload: ReloadId, now: Instant, out: &mut Decisions) {
        let (name, next_id) = (self.name, next.process_id);
        out.actions.push(Action::ReleaseListeners { daemon: self.index, except_of: Some(next.child) });
        match self.current.replace(next) {
            Some(old) => {
                info!("process {next_id} takes the {name}'s place from {}, which drains", old.process_id);
                self.leaving.drain(old.child, old.process_id, Some(reload), now, out);
            }
            None => {
                info!("process {next_id} takes the {name}'s place");
                out.reloaded.push((reload, Ok(())));
            }
        }
    }

    /// Gives the new process of a reload up, for the reason `why`, and kills it unless it is gone. The old one goes
    /// on; if that has ended meanwhile, the daemon is started again as after any end.
    fn reject_successor(&mut self, why: String, is_gone: bool, now: Instant, out: &mut Decisions) {
        let Some(Reloading { reload, successor, .. }) = self.reloading.take() else { return };
        match successor {
            None => out.reloaded.push((reload, Err(why))),
            Some(successor) => {
                let current = self.current.as_ref().map(|current| current.child);
                let old = if current.is_some() {
                    "; the old one goes on"
                } else {
                    ", and the old one has ended too"
                };
                let why = why + old;
                error!("{why}");
                out.actions.push(Action::ReleaseListeners { daemon: self.index, except_of: current });
                match is_gone {
                    true => out.reloaded.push((reload, Err(why))),
                    false => {
                        self.leaving.kill(successor.child, successor.process_id, (reload, Err(why)), out)
                    }
                }
                if current.is_none() {
                    self.schedule_restart(now);
                }
            }
        }
        self.begin_next_reload(now, out);
    }

    /// Starts nothing any more. The current process runs on until [`DaemonRunner::drain`].
    pub(super) fn stop_starting(&mut self, out: &mut Decisions) {
        self.is_stopping = true;
        self.restart_at = None;
        let ending = self.ending();
        out.reloaded.extend(self.next_reload.take().map(|reload| (reload, Err(ending.clone()))));
        if let Some(Reloading { reload, successor, .. }) = self.reloading.take() {
            let answer = (reload, Err(ending));
            match successor {
                Some(successor) => self.leaving.kill(successor.child, successor.process_id, answer, out),
                None => out.reloaded.push(answer),
            }
        }
    }

    /// Lets the current process drain, and then end.
    pub(super) fn drain(&mut self, now: Instant, out: &mut Decisions) {
        // Callers who connect now must not wait for a process that will not come.
        out.actions.push(Action::ReleaseListeners { daemon: self.index, except_of: None });
        if let Some(process) = self.current.take() {
            self.leaving.drain(process.child, process.process_id, None, now, out);
        }
    }

    /// Ends all its processes at once.
    pub(super) fn kill(&mut self, out: &mut Decisions) {
        let alive = self.current.iter().chain(self.successor()).map(|process| process.child);
        out.actions.extend(alive.chain(self.leaving.children()).map(Action::Kill));
    }

    /// Returns when [`DaemonRunner::handle_deadline`] is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let check = self.reloading.as_ref().and_then(|reloading| reloading.check.next_deadline());
        self.restart_at.into_iter().chain(check).chain(self.leaving.next_deadline()).min()
    }

    /// Does what is due at `now`.
    pub(super) fn handle_deadline(&mut self, now: Instant, out: &mut Decisions) {
        if self.restart_at.take_if(|at| *at <= now).is_some() {
            self.current = Some(self.new_process(now, out));
        }
        self.leaving.handle_deadline(now, out);
        if let Some(reloading) = &mut self.reloading {
            let step = reloading.check.handle_deadline(now);
            self.take_step(step, now, out);
        }
    }
}

#[cfg(test)]
mod tests;
