//! Several daemons together: they start one after the other, live until they are
//! told to end, and end in the opposite order, so that a gateway's last closes
//! still find a worker. Where one of them does not start, the others do not go on
//! without it.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::child::Daemon;
use super::daemon_runner::{DaemonRunner, Event, OnReload, Process, Reloaded};

/// The daemons of one cluster.
pub(crate) struct Plan {
    /// Comes first: the others look for it, and try again only after a while.
    pub(crate) register: Daemon,
    /// Start together once the register listens.
    pub(crate) others: Vec<(Daemon, OnReload)>,
}

/// What the operator wants.
#[derive(Debug)]
pub(crate) enum Request {
    /// The end: after a drain, or at once.
    Stop {
        /// At once.
        now: bool,
    },
    /// New code for the worker, and new files for those that hold connections. The answer
    /// comes when all is done.
    Reload(oneshot::Sender<Reloaded>),
    /// How it goes.
    Status(oneshot::Sender<Vec<Status>>),
    /// Word as soon as all daemons listen.
    Ready(oneshot::Sender<()>),
}

/// How a daemon is.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) name: &'static str,
    /// How often a process of it has ended by itself.
    pub(crate) restarts: u64,
    /// None between two starts, two while one takes the other's place.
    pub(crate) processes: Vec<Process>,
}

impl Status {
    /// Returns what keeps the daemon from its work, each as a sentence; nothing, if one process
    /// of it can do that.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut ready = self.processes.iter().filter(|process| process.state == "ready");
        let Some(first) = ready.next() else {
            let state = self.processes.first().map_or("not running, see the log", |process| process.state);
            return vec![format!("the {} is {state}", self.name)];
        };
        if ready.chain([first]).any(|process| process.problems.is_empty()) {
            return Vec::new();
        }
        first.problems.clone()
    }
}

/// Runs all daemons until a request ends it; `welcome` is called with each name and its
/// addresses when one listens for the first time. Requests are answered to the end.
///
/// # Errors
/// When one does not start; all others have ended then too.
pub(crate) async fn supervise(
    plan: Plan,
    mut requests: mpsc::Receiver<Request>,
    mut welcome: impl FnMut(&str, &[String]),
) -> anyhow::Result<()> {
    let Plan { register, others } = plan;
    let (events_in, mut events) = mpsc::channel(8);
    let mut cluster = Cluster::new(1 + others.len(), events_in);
    let mut after_register = Some(others);
    cluster.start(register, OnReload::Nothing);
    let result = loop {
        tokio::select! {
            Some(request) = requests.recv() => match request {
                Request::Stop { now } => {
                    if now {
                        cluster.kill.cancel();
                    }
                    break Ok(());
                }
                request => cluster.answer(request),
            },
            Some(event) = events.recv() => match event {
                Event::Ready(name, addresses) => {
                    welcome(name, &addresses);
                    for (daemon, on_reload) in after_register.take().unwrap_or_default() {
                        cluster.start(daemon, on_reload);
                    }
                    cluster.one_more_is_ready();
                }
                Event::Failed(error) => break Err(error),
            },
        }
    };

    // Nobody waits to be heard any more, and nobody is started again.
    events.close();
    cluster.ending.cancel();
    let mut ended = pin!(end(std::mem::take(&mut cluster.running)));
    loop {
        tokio::select! {
            () = &mut ended => return result,
            Some(request) = requests.recv() => match request {
                Request::Stop { now: false } => {}
                Request::Stop { now: true } => cluster.kill.cancel(),
                request => cluster.answer(request),
            },
        }
    }
}

/// Lets all drain, the last one first.
async fn end(running: Vec<(Arc<DaemonRunner>, JoinHandle<()>)>) {
    for (runner, task) in running.into_iter().rev() {
        runner.drain();
        let _ = task.await;
    }
}

struct Cluster {
    ending: CancellationToken,
    kill: CancellationToken,
    runners: Vec<Arc<DaemonRunner>>,
    /// Those that have not been asked to end.
    running: Vec<(Arc<DaemonRunner>, JoinHandle<()>)>,
    events: mpsc::Sender<Event>,
    /// How many daemons do not listen yet.
    to_come: usize,
    /// Who wants to know when that is over.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Cluster {
    fn new(daemons: usize, events: mpsc::Sender<Event>) -> Self {
        Self {
            ending: CancellationToken::new(),
            kill: CancellationToken::new(),
            runners: Vec::new(),
            running: Vec::new(),
            events,
            to_come: daemons,
            waiting: Vec::new(),
        }
    }

    fn start(&mut self, daemon: Daemon, on_reload: OnReload) {
        let (runner, keeping) =
            DaemonRunner::new(daemon, on_reload, &self.ending, &self.kill, self.events.clone());
        self.runners.push(runner.clone());
        self.running.push((runner, tokio::spawn(keeping)));
    }

    fn one_more_is_ready(&mut self) {
        self.to_come = self.to_come.saturating_sub(1);
        self.tell_if_ready();
    }

    fn tell_if_ready(&mut self) {
        if self.to_come == 0 {
            for waiting in self.waiting.drain(..) {
                // Who has gone meanwhile does not want to know any more.
                let _ = waiting.send(());
            }
        }
    }

    /// Does what is asked for, in its own time; not [`Request::Stop`].
    fn answer(&mut self, request: Request) {
        let runners = self.runners.clone();
        match request {
            Request::Stop { .. } => {}
            Request::Reload(done) => {
                tokio::spawn(async move { done.send(reload(&runners).await) });
            }
            Request::Status(to) => {
                tokio::spawn(async move { to.send(status(&runners).await) });
            }
            Request::Ready(to) => {
                // One who asks again and again, and does not wait, is not kept.
                self.waiting.retain(|waiting| !waiting.is_closed());
                self.waiting.push(to);
                self.tell_if_ready();
            }
        }
    }
}

/// What fails for one is no reason to leave the others as they are.
async fn reload(runners: &[Arc<DaemonRunner>]) -> Reloaded {
    let results = join_all(runners.iter().map(|runner| runner.reload())).await;
    let was_replaced = |(runner, result): (&Arc<DaemonRunner>, &Reloaded)| {
        (result.is_ok() && runner.replaces()).then(|| format!("the {} was replaced", runner.daemon.name))
    };
    let replaced: Vec<_> = runners.iter().zip(&results).filter_map(was_replaced).collect();
    let problems: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    if problems.is_empty() { Ok(()) } else { Err([problems, replaced].concat().join("; ")) }
}

async fn status(runners: &[Arc<DaemonRunner>]) -> Vec<Status> {
    let each = runners.iter().map(|runner| async {
        let (processes, restarts) = runner.processes().await;
        Status { name: runner.daemon.name, restarts, processes }
    });
    join_all(each).await
}

#[cfg(all(test, unix))]
mod tests;
