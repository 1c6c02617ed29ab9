//! One daemon, kept running: its first start has to go well; a later end by itself is
//! followed by the next start, and a reload by its successor, which listens and has its
//! links before the old one drains.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use gatewayworker_net::Backoff;
use serde_json::{Map, Value};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::child::{Child, Daemon, End, Stage};
use super::held_listeners::HeldListeners;

/// A successor that is not ready after this long is given up.
const SUCCESSOR_READY: Duration = Duration::from_secs(60);

/// How long a successor may take to have as many links as the one before it.
const SUCCESSOR_LINKED: Duration = Duration::from_secs(10);

/// How often to look, and how often in a row it has to be so: a link that is refused ends
/// right after it has begun.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 5;

/// How long one may take to drain before it is killed: longer than it gives itself by
/// default, as this is for one that is stuck.
pub(super) const DRAIN: Duration = Duration::from_secs(60);

/// A daemon that stood this long was a success, however it ended.
const SUCCESS: Duration = Duration::from_secs(60);

/// What a reload does to a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnReload {
    /// Nothing: it has neither files nor code of yours.
    Nothing,
    /// It stays, and reads its files again: it holds connections.
    ReadFiles,
    /// Another process takes its place: it has new code.
    Replace,
}

/// What a runner has to say.
#[derive(Debug)]
pub(crate) enum Event {
    /// Its daemon listens for the first time, on these addresses.
    Ready(&'static str, Vec<String>),
    /// Its daemon did not start.
    Failed(anyhow::Error),
}

/// What became of a reload.
pub(crate) type Reloaded = Result<(), String>;

/// A daemon that is kept running.
#[derive(Debug)]
pub(crate) struct DaemonRunner {
    pub(crate) daemon: Daemon,
    on_reload: OnReload,
    children: Mutex<Children>,
    reloads: mpsc::Sender<oneshot::Sender<Reloaded>>,
    ports: Arc<HeldListeners>,
    /// The end is near: one that ends now is not started again.
    ending: CancellationToken,
    drain: CancellationToken,
    kill: CancellationToken,
}

#[derive(Debug, Default)]
struct Children {
    /// The oldest first; more than one while an old one drains.
    alive: Vec<Arc<Child>>,
    /// How often one has ended by itself.
    restarts: u64,
}

/// How a process of a daemon is, to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) process_id: u32,
    pub(crate) state: &'static str,
    pub(crate) since: Instant,
    pub(crate) addresses: Vec<String>,
    pub(crate) stats: Map<String, Value>,
    /// What keeps it from its work, by its own account.
    pub(crate) problems: Vec<String>,
}

impl DaemonRunner {
    /// Keeps `daemon` running until `kill` ends it or [`DaemonRunner::drain`] asks for the end;
    /// from `ending` on it is not started again. The future has to be awaited to its end.
    pub(crate) fn new(
        daemon: Daemon,
        on_reload: OnReload,
        ending: &CancellationToken,
        kill: &CancellationToken,
        events: mpsc::Sender<Event>,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + use<>) {
        // Who asks while one is under way is told so.
        let (reloads, pending) = mpsc::channel(1);
        let runner = Arc::new(Self {
            daemon,
            on_reload,
            children: Mutex::default(),
            reloads,
            ports: Arc::default(),
            ending: ending.clone(),
            drain: CancellationToken::new(),
            kill: kill.clone(),
        });
        let keeping = runner.clone();
        (runner, async move {
            let draining = TaskTracker::new();
            if let Err(error) = keeping.keep(pending, &events, &draining).await {
                let _ = events.send(Event::Failed(error)).await;
            }
            draining.close();
            draining.wait().await;
        })
    }

    /// Asks it to drain, and then to end.
    pub(crate) fn drain(&self) {
        self.drain.cancel();
    }

    /// Whether a reload puts another process in the place of the one that runs.
    pub(crate) fn replaces(&self) -> bool {
        self.on_reload == OnReload::Replace
    }

    /// Reads its files again, or is replaced; returns when all is done.
    ///
    /// # Errors
    /// Why not, or not all of it.
    pub(crate) async fn reload(&self) -> Reloaded {
        if self.on_reload == OnReload::Nothing {
            return Ok(());
        }
        let name = self.daemon.name;
        let ending = || Err(format!("the {name} is ending"));
        let (done, is_done) = oneshot::channel();
        match self.reloads.try_send(done) {
            _ if self.ending.is_cancelled() => ending(),
            Err(TrySendError::Closed(_)) => ending(),
            Err(TrySendError::Full(_)) => Err(format!("the {name} is being replaced already")),
            Ok(()) => is_done.await.unwrap_or_else(|_| ending()),
        }
    }

    /// Its processes, and how often one has ended by itself.
    pub(crate) async fn processes(&self) -> (Vec<Process>, u64) {
        let (alive, restarts) = {
            let children = self.children();
            (children.alive.clone(), children.restarts)
        };
        let mut processes = Vec::new();
        for child in alive {
            let (state, addresses) = match child.stage() {
                Stage::Ended(_) => continue,
                Stage::Starting => ("starting", Vec::new()),
                Stage::Ready(addresses) if child.drains() => ("draining", addresses),
                Stage::Ready(addresses) => ("ready", addresses),
            };
            let (process_id, since, name) = (child.process_id, child.since, self.daemon.name);
            let (mut stats, mut problems) = (Map::new(), Vec::new());
            match child.stats().await {
                Some(said) => stats = said,
                None => problems.push(format!("the {name}, process {process_id}, does not answer")),
            }
            if let Some(said) = stats.shift_remove("problems") {
                problems = serde_json::from_value(said).unwrap_or_default();
            }
            processes.push(Process { process_id, state, since, addresses, stats, problems });
        }
        (processes, restarts)
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> anyhow::Result<Arc<Child>> {
        let child = Arc::new(self.daemon.start(&self.ports, &self.kill)?);
        self.children().alive.push(child.clone());
        Ok(child)
    }

    fn forget(&self, child: &Arc<Child>) {
        self.children().alive.retain(|one| !Arc::ptr_eq(one, child));
    }

    async fn keep(
        self: &Arc<Self>,
        mut reloads: mpsc::Receiver<oneshot::Sender<Reloaded>>,
        events: &mpsc::Sender<Event>,
        draining: &TaskTracker,
    ) -> anyhow::Result<()> {
        let name = self.daemon.name;
        let mut child = self.start()?;
        tokio::select! {
            started = child.ready() => match started {
                Ok(addresses) => drop(events.send(Event::Ready(name, addresses)).await),
                Err(_) if self.ending.is_cancelled() => {}
                Err(end) => bail!("the {name} ended by itself ({end})"),
            },
            () = self.drain.cancelled() => {}
        }
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => {
                    // Who wants to connect now is not to wait for one that will not come.
                    self.ports.keep_only(&HashSet::new());
                    let _ = self.end(&child).await;
                    return Ok(());
                }
                end = child.ended() => match self.start_again(&child, &end, &mut backoff, &mut reloads).await {
                    Some(next) => child = next,
                    None => {
                        self.ports.keep_only(&HashSet::new());
                        return Ok(());
                    }
                },
                Some(done) = reloads.recv() => match self.on_reload {
                    OnReload::Nothing => drop(done.send(Ok(()))),
                    OnReload::ReadFiles => {
                        let child = child.clone();
                        tokio::spawn(async move {
                            let result = child.reload().await;
                            let _ = done.send(result.map_err(|why| format!("the {name}: {why}")));
                        });
                    }
                    OnReload::Replace => self.replace(&mut child, done, draining).await,
                },
            }
        }
    }

    /// Puts a successor in `child`'s place, which then drains in its own time; `done` hears
    /// when that is over.
    async fn replace(
        self: &Arc<Self>,
        child: &mut Arc<Child>,
        done: oneshot::Sender<Reloaded>,
        draining: &TaskTracker,
    ) {
        let next = match self.successor(child).await {
            Ok(next) => next,
            Err(mut why) => {
                self.ports.keep_only(&child.wanted());
                if !self.ending.is_cancelled() {
                    let is_gone = matches!(child.stage(), Stage::Ended(_));
                    why += if is_gone { ", and the old one has ended too" } else { "; the old one goes on" };
                    error!("{why}");
                }
                let _ = done.send(Err(why));
                return;
            }
        };
        self.ports.keep_only(&next.wanted());
        let (name, next_id, old_id) = (self.daemon.name, next.process_id, child.process_id);
        info!("process {next_id} takes the {name}'s place from {old_id}, which drains");
        let old = std::mem::replace(child, next);
        let runner = self.clone();
        draining.spawn(async move {
            let _ = done.send(runner.end(&old).await);
        });
    }

    /// Lets a child drain, and forgets it.
    ///
    /// # Errors
    /// When it had to be killed.
    async fn end(&self, child: &Arc<Child>) -> Reloaded {
        child.drain();
        let drained = timeout(DRAIN, child.ended()).await.map(drop).map_err(|_| {
            let (name, id, limit) = (self.daemon.name, child.process_id, DRAIN.as_secs());
            format!("the {name}, process {id}, had not drained after {limit} s, and was killed")
        });
        if let Err(why) = &drained {
            warn!("{why}");
            child.kill();
            child.ended().await;
        }
        self.forget(child);
        drained
    }

    /// Starts the next after one that has ended by itself; none, if all are to end.
    async fn start_again(
        &self,
        child: &Arc<Child>,
        end: &End,
        backoff: &mut Backoff,
        reloads: &mut mpsc::Receiver<oneshot::Sender<Reloaded>>,
    ) -> Option<Arc<Child>> {
        let name = self.daemon.name;
        self.forget(child);
        if self.ending.is_cancelled() {
            return None;
        }
        error!("the {name} ended by itself ({end}), and is started again");
        if child.since.elapsed() > SUCCESS {
            backoff.reset();
        }
        self.children().restarts += 1;
        loop {
            let mut waiting = None;
            tokio::select! {
                () = sleep(backoff.next_wait()) => {}
                () = self.ending.cancelled() => return None,
                // Whoever has mended it does not want to wait.
                Some(done) = reloads.recv() => waiting = Some(done),
            }
            let next = self.start();
            if let Err(error) = &next {
                error!("{error:#}");
            }
            if let Some(done) = waiting {
                match &next {
                    Ok(next) => {
                        let next = next.clone();
                        tokio::spawn(async move { done.send(able(name, None, &next).await) });
                    }
                    Err(error) => drop(done.send(Err(format!("{error:#}")))),
                }
            }
            if let Ok(next) = next {
                let (started, ports) = (next.clone(), self.ports.clone());
                tokio::spawn(async move {
                    if started.ready().await.is_ok() {
                        ports.keep_only(&started.wanted());
                    }
                });
                return Some(next);
            }
        }
    }

    /// Starts the one that takes `old`'s place, and waits until it can.
    ///
    /// # Errors
    /// Why it cannot; it is gone then.
    async fn successor(&self, old: &Child) -> Result<Arc<Child>, String> {
        let name = self.daemon.name;
        let next = self.start().map_err(|error| format!("{error:#}"))?;
        let result = tokio::select! {
            result = able(name, Some(old), &next) => result,
            () = self.ending.cancelled() => Err(format!("the {name} is ending")),
        };
        if let Err(why) = result {
            next.kill();
            next.ended().await;
            self.forget(&next);
            return Err(why);
        }
        Ok(next)
    }
}

/// Waits until a new process of the daemon can do what `old` does.
///
/// # Errors
/// Why it cannot.
async fn able(name: &str, old: Option<&Child>, next: &Child) -> Result<(), String> {
    let able = match timeout(SUCCESSOR_READY, next.ready()).await {
        Ok(Ok(_)) => linked(old, next).await,
        Ok(Err(end)) => Err(format!("ended by itself ({end})")),
        Err(_) => Err(format!("was not ready after {} s", SUCCESSOR_READY.as_secs())),
    };
    able.map_err(|why| format!("the new {name} {why}"))
}

/// Waits until `next` takes events from as many gateways as `old`, and from one at least:
/// there is one.
async fn linked(old: Option<&Child>, next: &Child) -> Result<(), String> {
    let gateways = |stats: Option<Map<String, Value>>| {
        stats.and_then(|said| said.get("gateways")?.as_u64()).unwrap_or(0)
    };
    let before = match old {
        Some(old) => gateways(old.stats().await).max(1),
        None => 1,
    };
    let (mut now, mut looks) = (0, 0);
    let as_many = async {
        while looks < LOOKS {
            now = gateways(next.stats().await);
            looks = if now >= before { looks + 1 } else { 0 };
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = as_many => return Ok(()),
        end = next.ended() => return Err(format!("ended by itself ({end})")),
        () = sleep(SUCCESSOR_LINKED) => {}
    }
    Err(format!("has reached {now} of {before} gateways after {} s", SUCCESSOR_LINKED.as_secs()))
}
