//! One daemon, kept running: its first start has to go well; a later end by itself is
//! followed by the next start, and a reload by its successor, which listens and has its
//! links before the old one drains.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use gatewayworker_net::Backoff;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::child::{Child, Daemon, End, Stage};
use super::tell;

/// A successor that is not ready after this long is given up.
const SUCCESSOR_READY: Duration = Duration::from_secs(60);

/// How long a successor may take to have as many links as the one before it.
const SUCCESSOR_LINKED: Duration = Duration::from_secs(5);

/// How often to look.
const LOOK: Duration = Duration::from_millis(20);

/// How long one may take to drain before it is killed: longer than it gives itself, in
/// its configuration, as this is for one that is stuck.
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

/// What a keeper has to say.
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
pub(crate) struct Keeper {
    pub(crate) daemon: Daemon,
    on_reload: OnReload,
    children: Mutex<Children>,
    reloads: mpsc::Sender<oneshot::Sender<Reloaded>>,
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
    pub(crate) figures: Map<String, Value>,
}

impl Keeper {
    /// Keeps `daemon` running from now on, until `kill` ends it or [`Keeper::drain`] asks
    /// for the end. The future has to be awaited to its end.
    pub(crate) fn new(
        daemon: Daemon,
        on_reload: OnReload,
        kill: &CancellationToken,
        events: mpsc::Sender<Event>,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + use<>) {
        // Who asks while one is under way is told so.
        let (reloads, asked) = mpsc::channel(1);
        let keeper = Arc::new(Self {
            daemon,
            on_reload,
            children: Mutex::default(),
            reloads,
            drain: CancellationToken::new(),
            kill: kill.clone(),
        });
        let keeping = keeper.clone();
        (keeper, async move {
            let draining = TaskTracker::new();
            if let Err(error) = keeping.keep(asked, &events, &draining).await {
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

    /// Reads its files again, or is replaced; returns when all is done.
    ///
    /// # Errors
    /// When it goes on as before, and why.
    pub(crate) async fn reload(&self) -> Reloaded {
        let (done, is_done) = oneshot::channel();
        if self.children().alive.len() > 1 || self.reloads.try_send(done).is_err() {
            return Err(format!("the {} is being replaced already", self.daemon.name));
        }
        is_done.await.unwrap_or_else(|_| Err(format!("the {} is ending", self.daemon.name)))
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
            let figures = child.figures().await;
            let (process_id, since) = (child.process_id, child.since);
            processes.push(Process { process_id, state, since, addresses, figures });
        }
        (processes, restarts)
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, successor: bool) -> anyhow::Result<Arc<Child>> {
        let child = Arc::new(self.daemon.start(successor, &self.kill)?);
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
        let mut child = self.start(false)?;
        tokio::select! {
            started = child.ready() => match started {
                Ok(addresses) => drop(events.send(Event::Ready(name, addresses)).await),
                Err(end) => bail!("the {name} ended by itself ({end})"),
            },
            () = self.drain.cancelled() => {}
        }
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => {
                    self.end(&child).await;
                    return Ok(());
                }
                end = child.ended() => match self.start_again(&child, &end, &mut backoff).await {
                    Some(next) => child = next,
                    None => return Ok(()),
                },
                Some(done) = reloads.recv() => match self.on_reload {
                    OnReload::Nothing => drop(done.send(Ok(()))),
                    OnReload::ReadFiles => {
                        child.reload();
                        let _ = done.send(Ok(()));
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
            Err(why) => {
                let why = format!("{why:#}; the old one goes on");
                tell(&why);
                let _ = done.send(Err(why));
                return;
            }
        };
        let (name, next_id, old_id) = (self.daemon.name, next.process_id, child.process_id);
        tell(format_args!("process {next_id} takes the {name}'s place from {old_id}, which drains"));
        let old = std::mem::replace(child, next);
        let keeper = self.clone();
        draining.spawn(async move {
            keeper.end(&old).await;
            let _ = done.send(Ok(()));
        });
    }

    /// Lets a child drain, and forgets it.
    async fn end(&self, child: &Arc<Child>) {
        child.drain();
        if timeout(DRAIN, child.ended()).await.is_err() {
            tell(format_args!("the {} did not drain in time, and is killed", self.daemon.name));
            child.kill();
            child.ended().await;
        }
        self.forget(child);
    }

    /// Starts the next after one that has ended by itself; none, if it is asked to end
    /// before.
    async fn start_again(&self, child: &Arc<Child>, end: &End, backoff: &mut Backoff) -> Option<Arc<Child>> {
        let name = self.daemon.name;
        tell(format_args!("the {name} ended by itself ({end}), and is started again"));
        self.forget(child);
        if child.since.elapsed() > SUCCESS {
            backoff.reset();
        }
        loop {
            tokio::select! {
                () = sleep(backoff.next_wait()) => {}
                () = self.drain.cancelled() => return None,
                () = self.kill.cancelled() => return None,
            }
            self.children().restarts += 1;
            match self.start(false) {
                Ok(next) => return Some(next),
                Err(error) => tell(format_args!("{error:#}")),
            }
        }
    }

    /// Starts the one that takes `old`'s place, and waits until it can.
    async fn successor(&self, old: &Child) -> anyhow::Result<Arc<Child>> {
        let name = self.daemon.name;
        let next = self.start(true)?;
        let started = tokio::select! {
            started = timeout(SUCCESSOR_READY, next.ready()) => started,
            () = self.drain.cancelled() => Ok(Err(End::asked())),
        };
        let problem = match started {
            Ok(Ok(_)) => {
                let _ = timeout(SUCCESSOR_LINKED, linked(old, &next)).await;
                return Ok(next);
            }
            Ok(Err(end)) => anyhow!("the new {name} ended by itself ({end})"),
            Err(_) => anyhow!("the new {name} was not ready after {} s", SUCCESSOR_READY.as_secs()),
        };
        next.kill();
        next.ended().await;
        self.forget(&next);
        Err(problem)
    }
}

/// Waits until `next` takes events from as many gateways as `old`.
async fn linked(old: &Child, next: &Child) {
    let gateways = |figures: Map<String, Value>| figures.get("gateways").and_then(Value::as_u64);
    let before = gateways(old.figures().await);
    while gateways(next.figures().await) < before {
        sleep(LOOK).await;
    }
}
