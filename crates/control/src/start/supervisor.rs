//! Runs a cluster's daemons as child processes until a request ends it. This is the shell of the state machine in
//! `cluster.rs`: one task that waits for requests, events of children and deadlines, tells the state machine, and
//! carries its actions out. `foreground.rs` starts it; requests come from the control socket and from signals.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use futures_util::future::join_all;
use gatewayworker_daemon::ServiceManager;
use gatewayworker_daemon::child_protocol::ChildStatus;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use super::child::Child;
use super::child_event::{ChildEvent, ChildId, ReloadId, Reloaded};
use super::cluster::Cluster;
use super::daemon::Daemon;
use super::daemon_status::{DaemonStatus, ProcessStatus};
use super::decisions::Action;
use super::held_listeners::HeldListeners;
use super::supervisor_handle::Request;

/// Runs `daemons`, in the order in which they start, until a request ends them; `first_ready` is called with the
/// name and the addresses of each one when it listens for the first time. Requests are answered to the end.
///
/// # Errors
/// When one does not start; all others have ended then too.
///
/// # Panics
/// Outside a tokio runtime, and without any daemon.
pub(super) async fn supervise(
    daemons: Vec<Daemon>,
    mut requests: mpsc::Receiver<Request>,
    mut first_ready: impl FnMut(&str, &[String]),
) -> anyhow::Result<()> {
    let (events_in, mut events) = mpsc::channel(32);
    let mut supervisor = Supervisor::new(daemons, events_in);
    supervisor.cluster.start(Instant::now());
    loop {
        supervisor.carry_out();
        if let Some(result) = supervisor.cluster.result() {
            return result.map_err(|error| anyhow!(error));
        }
        let deadline = supervisor.cluster.next_deadline();
        let due = async {
            match deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(request) = requests.recv() => supervisor.handle_request(request),
            Some(event) = events.recv() => supervisor.handle_event(event, &mut first_ready),
            () = due => supervisor.cluster.handle_deadline(Instant::now()),
        }
    }
}

struct Supervisor {
    cluster: Cluster,
    daemons: Vec<Daemon>,
    /// The listeners held for each daemon.
    held: Vec<Arc<HeldListeners>>,
    children: BTreeMap<ChildId, RunningChild>,
    events: mpsc::Sender<ChildEvent>,
    reloads: BTreeMap<ReloadId, oneshot::Sender<Reloaded>>,
    /// Requests that wait until all daemons listen.
    waiting: Vec<oneshot::Sender<()>>,
}

#[derive(Clone)]
struct RunningChild {
    child: Arc<Child>,
    /// `None` until it listens.
    addresses: Option<Vec<String>>,
}

impl Supervisor {
    fn new(daemons: Vec<Daemon>, events: mpsc::Sender<ChildEvent>) -> Self {
        Self {
            cluster: Cluster::new(daemons.iter().map(|daemon| (daemon.name, daemon.on_reload))),
            held: daemons.iter().map(|_| Arc::default()).collect(),
            daemons,
            children: BTreeMap::new(),
            events,
            reloads: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    fn handle_request(&mut self, request: Request) {
        let now = Instant::now();
        match request {
            Request::Stop { now: at_once } => {
                ServiceManager::of_process().stopping();
                self.cluster.stop(now);
                if at_once {
                    self.cluster.kill(now);
                }
            }
            Request::Reload(reply) => {
                ServiceManager::of_process().reloading();
                let reload = self.cluster.reload(now);
                self.reloads.insert(reload, reply);
            }
            Request::Status(reply) => self.answer_status(reply),
            Request::Ready(reply) => {
                // A client that asks again and again without waiting must not gather replies here.
                self.waiting.retain(|waiting| !waiting.is_closed());
                self.waiting.push(reply);
            }
        }
    }

    fn handle_event(&mut self, event: ChildEvent, first_ready: &mut impl FnMut(&str, &[String])) {
        let now = Instant::now();
        match event {
            ChildEvent::Ready(child, addresses) => {
                if self.cluster.child_ready(child, now) {
                    first_ready(self.daemons[child.daemon].name, &addresses);
                }
                if let Some(running) = self.children.get_mut(&child) {
                    running.addresses = Some(addresses);
                }
            }
            ChildEvent::Status(child, status) => {
                self.cluster.child_status(child, gateways(status.as_ref()), now);
            }
            ChildEvent::FilesRead(child, reload, result) => {
                self.cluster.files_read(child, reload, result, now);
            }
            ChildEvent::Ended(child, end) => {
                self.children.remove(&child);
                self.cluster.child_ended(child, &end.to_string(), now);
            }
        }
    }

    /// Carries out what the state machine has decided, and answers the requests which that completes.
    fn carry_out(&mut self) {
        while let Some(action) = self.cluster.next_action() {
            match action {
                Action::Start(child) => self.start(child),
                Action::Drain(child) => self.with(child, Child::drain),
                Action::Kill(child) => self.with(child, Child::kill),
                Action::AskStatus(id) => {
                    self.spawn(id, async move |child| ChildEvent::Status(id, child.status().await));
                }
                Action::ReadFiles(id, reload) => {
                    self.spawn(id, async move |child| {
                        ChildEvent::FilesRead(id, reload, child.reload().await)
                    });
                }
                Action::ReleaseListeners { daemon, except_of } => {
                    let child = except_of.and_then(|child| self.children.get(&child));
                    let wanted = child.map(|running| running.child.wanted_listeners()).unwrap_or_default();
                    self.held[daemon].keep_only(&wanted);
                }
            }
        }
        while let Some((reload, result)) = self.cluster.next_reloaded() {
            if let Some(reply) = self.reloads.remove(&reload) {
                let _ = reply.send(result);
            }
            if self.reloads.is_empty() {
                ServiceManager::of_process().reloaded();
            }
        }
        if self.cluster.is_ready() {
            for waiting in self.waiting.drain(..) {
                let _ = waiting.send(());
            }
        }
    }

    fn start(&mut self, id: ChildId) {
        let daemon = &self.daemons[id.daemon];
        match Child::start(daemon, id, self.held[id.daemon].clone(), self.events.clone()) {
            Ok(child) => {
                self.cluster.started(id, child.process_id);
                self.children.insert(id, RunningChild { child: Arc::new(child), addresses: None });
            }
            Err(error) => self.cluster.start_failed(id, format!("{error:#}"), Instant::now()),
        }
    }

    /// Calls `f` with a child that still runs.
    fn with(&self, id: ChildId, f: impl FnOnce(&Child)) {
        if let Some(running) = self.children.get(&id) {
            f(&running.child);
        }
    }

    /// Asks a child something in a task of its own; the answer comes as an event. A child that is gone sends none:
    /// its end is an event too.
    fn spawn<F>(&self, id: ChildId, ask: impl FnOnce(Arc<Child>) -> F)
    where
        F: Future<Output = ChildEvent> + Send + 'static,
    {
        let Some(running) = self.children.get(&id) else { return };
        let (answer, events) = (ask(running.child.clone()), self.events.clone());
        tokio::spawn(async move {
            let _ = events.send(answer.await).await;
        });
    }

    /// Asks all processes for their status, in a task of its own: one that does not answer delays nothing else.
    fn answer_status(&self, reply: oneshot::Sender<Vec<DaemonStatus>>) {
        let daemons: Vec<_> = self
            .cluster
            .runners()
            .iter()
            .enumerate()
            .map(|(index, runner)| {
                let of_daemon = self.children.iter().filter(|(id, _)| id.daemon == index);
                let children: Vec<RunningChild> = of_daemon.map(|(_, running)| running.clone()).collect();
                (runner.name(), runner.restarts(), children)
            })
            .collect();
        tokio::spawn(async move {
            let each = daemons.into_iter().map(async |(name, restarts, children)| {
                let processes = join_all(children.iter().map(|running| running.status(name))).await;
                DaemonStatus { name, restarts, processes }
            });
            let _ = reply.send(join_all(each).await);
        });
    }
}

impl RunningChild {
    async fn status(&self, daemon: &str) -> ProcessStatus {
        let process_id = self.child.process_id;
        let state = match &self.addresses {
            None => "starting",
            Some(_) if self.child.is_draining() => "draining",
            Some(_) => "ready",
        };
        let status = self.child.status().await.unwrap_or_else(|| ChildStatus {
            problems: vec![format!("the {daemon}, process {process_id}, does not answer")],
            ..ChildStatus::default()
        });
        ProcessStatus {
            process_id,
            state,
            since: self.child.since,
            addresses: self.addresses.clone().unwrap_or_default(),
            status,
        }
    }
}

/// Returns how many gateways a worker is linked to, by its own account.
fn gateways(status: Option<&ChildStatus>) -> u64 {
    status.and_then(|status| status.stats.get("gateways")?.as_u64()).unwrap_or(0)
}

#[cfg(all(test, unix))]
mod tests;
