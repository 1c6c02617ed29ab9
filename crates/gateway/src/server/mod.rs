//! The daemon: its listeners, its shards, and the order in which they open and close.

mod acceptors;
mod bound_listeners;
#[cfg(test)]
mod tests;

use std::net::SocketAddrV4;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use gatewayworker_daemon::{OpenFiles, Operator, Reload};
use gatewayworker_net::registers;
use gatewayworker_protocol::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use acceptors::{accept_clients, accept_links};
pub use bound_listeners::BoundListeners;

use crate::capacity::Capacity;
use crate::config::Config;
use crate::listener::{ConnectionLimit, Listener};
use crate::perpetual::PerpetualTasks;
use crate::problem::problem;
use crate::shard::{self, ShardMessage, ShardThread, Shared};
use crate::tls::Certificate;

/// How often a worker on another host hears from the gateway.
const PING_INTERVAL: Duration = Duration::from_secs(25);

/// How long links may take to send what is left when the gateway stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How [`serve`] runs a gateway, apart from its configuration: until when, and for whom.
#[derive(Debug)]
#[must_use]
pub struct ServeOptions {
    shutdown: CancellationToken,
    operator: Operator,
}

impl ServeOptions {
    /// The options of a gateway that runs until `shutdown` is cancelled.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { shutdown, operator: Operator::absent() }
    }

    /// Serves an operator too, who may ask how many clients there are, and have the certificates
    /// loaded again: new connections see those. Files that cannot be loaded again are logged.
    pub fn with_operator(mut self, operator: Operator) -> Self {
        self.operator = operator;
        self
    }
}

/// A gateway that runs until the token is cancelled, with no options beyond that.
impl From<CancellationToken> for ServeOptions {
    fn from(shutdown: CancellationToken) -> Self {
        Self::new(shutdown)
    }
}

/// Serves clients and workers until it is told to stop. Then the gateway
/// leaves the register, closes its clients with 1001, lets the workers hear of
/// each close, and returns.
///
/// Must run within a tokio runtime. The first shard is on the calling thread, so the
/// future cannot be moved to another; each other shard has a thread of its own.
///
/// # Errors
/// When the limit on open files leaves no room for connections, a shard cannot be started,
/// other listeners are bound than `config` has, or a
/// certificate cannot be loaded. Later, when a part without which the gateway cannot serve
/// ends by itself: a shard or one of its tasks, an acceptor, the announcement. The clients
/// that are left are closed then, without regard to `shutdown_spread_ms`.
pub async fn serve(
    listeners: BoundListeners,
    config: Config,
    options: impl Into<ServeOptions>,
) -> anyhow::Result<()> {
    let ServeOptions { shutdown, operator } = options.into();
    let config = config.validated()?;
    ensure!(
        listeners.clients.len() == config.listen.len(),
        "as many listeners are to be bound as listen has"
    );
    let lan_port = match config.lan_listen {
        // What is bound is not what is announced.
        Some(_) if config.lan_port != 0 => config.lan_port,
        _ => listeners.inner.local_addr()?.port(),
    };
    let (senders, channels): (Vec<_>, Vec<_>) = (0..config.shards).map(|_| shard::channel()).unzip();
    let address = SocketAddrV4::new(config.lan_ip, lan_port);
    let files = OpenFiles::now();
    let capacity = Capacity::new(&config, files)?;
    capacity.log(&config, files);
    let shared = Arc::new(Shared::new(config, capacity, address, senders));
    let counted = shared.clone();
    operator.stats.provide(move || counted.figures());
    let watched = shared.clone();
    operator
        .stats
        .provide_problems(move || problem(watched.workers.len(), &watched.registers).into_iter().collect());
    LocalSet::new().run_until(serve_here(listeners, shared, channels, shutdown, operator.reload)).await
}

/// Serves until `shutdown`, or until a task ends that is not to; then ends everything.
async fn serve_here(
    listeners: BoundListeners,
    shared: Arc<Shared>,
    channels: Vec<mpsc::Receiver<ShardMessage>>,
    shutdown: CancellationToken,
    reload: Reload,
) -> anyhow::Result<()> {
    let mut shards = PerpetualTasks::default();
    let mut tasks = PerpetualTasks::default();
    let started = start_shards(&mut shards, &shared, channels)
        .and_then(|first| start_tasks(&mut tasks, listeners, &first, &shutdown, reload));
    let served = match started {
        Err(error) => Err(error),
        Ok(()) => tokio::select! {
            // First: acceptors end by it too.
            biased;
            () = shutdown.cancelled() => Ok(()),
            failure = shards.failure() => Err(failure),
            failure = tasks.failure() => Err(failure),
        },
    };
    let mut spread = Duration::from_millis(shared.config.shutdown_spread_ms);
    if let Err(error) = &served {
        error!(error = format!("{error:#}"), "the gateway cannot go on, and ends");
        spread = Duration::ZERO;
    }
    // The announcement ends with the tasks: no worker will come, and no new client.
    // Links that stand outlive this: they carry the last closes.
    tasks.stop().await;
    stop(&shared, spread).await;
    if tokio::time::timeout(DRAIN_TIMEOUT, shards.join()).await.is_err() {
        warn!("some shards did not end in time");
    }
    served
}

/// Starts the shards: the first on this thread, which is returned, and each other on its own.
fn start_shards(
    shards: &mut PerpetualTasks,
    shared: &Arc<Shared>,
    channels: Vec<mpsc::Receiver<ShardMessage>>,
) -> anyhow::Result<Rc<ShardThread>> {
    let mut channels = channels.into_iter();
    let messages = channels.next().context("a gateway needs a shard")?;
    let first = ShardThread::new(0, shared.clone());
    shards.spawn_fallible("shard 0", first.clone().run(messages));
    for (index, messages) in (1..).zip(channels) {
        let ended = start_shard(index, shared.clone(), messages)
            .with_context(|| format!("cannot start shard {index} of {}", shared.shards.len()))?;
        shards.spawn_fallible(format!("shard {index}"), async {
            // Its thread sends nothing where it panics.
            ended.await.unwrap_or_else(|_| Err(anyhow!("its thread has panicked")))
        });
    }
    Ok(first)
}

/// Starts a shard's thread; it says by what is returned how the shard ended.
fn start_shard(
    index: usize,
    shared: Arc<Shared>,
    messages: mpsc::Receiver<ShardMessage>,
) -> std::io::Result<oneshot::Receiver<anyhow::Result<()>>> {
    // Here, so that a lack of descriptors is this function's error.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (give, given) = std::sync::mpsc::sync_channel(1);
    let (end, ended) = oneshot::channel();
    let run = move || {
        // It always is: the thread has just been given it, or will be.
        let Ok(runtime) = given.recv() else { return };
        let result = shard::run(&runtime, index, shared, messages);
        let _ = end.send(result);
    };
    // The thread gets its runtime only once it is there: where it cannot start, what it would
    // run is dropped here, and a runtime must not be dropped within another.
    match std::thread::Builder::new().name(format!("shard-{index}")).spawn(run) {
        Ok(_) => {
            let _ = give.send(runtime);
            Ok(ended)
        }
        Err(error) => {
            runtime.shutdown_background();
            Err(error)
        }
    }
}

/// Starts what the first shard's thread does for all: it accepts, announces the gateway,
/// pings workers, and reads certificates again.
fn start_tasks(
    tasks: &mut PerpetualTasks,
    listeners: BoundListeners,
    first: &Rc<ShardThread>,
    shutdown: &CancellationToken,
    reload: Reload,
) -> anyhow::Result<()> {
    let shared = &first.shared;
    let gateway_limit = Arc::new(ConnectionLimit::new(shared.capacity.clients));
    let mut certificates = Vec::new();
    for (socket, config) in listeners.clients.into_iter().zip(&shared.config.listen) {
        gatewayworker_net::tune(&socket);
        let port = socket.local_addr()?.port();
        let listener = Arc::new(Listener::new(port, config, &shared.config, gateway_limit.clone())?);
        certificates.extend(listener.certificate.clone());
        let accepting = accept_clients(socket, listener, first.clone(), shutdown.clone());
        tasks.spawn(format!("the acceptor of {}", config.url), accepting);
    }
    let accepting = accept_links(listeners.inner, shared.clone(), shutdown.clone());
    tasks.spawn("the acceptor of the inner port", accepting);
    tasks.spawn("the announcement to the registers", announce(shared.clone()));
    tasks.spawn("the workers' heartbeat", ping_workers(shared.clone()));
    tasks.spawn("the reload of certificates", load_again(certificates, reload));
    Ok(())
}

/// Announces the gateway to its registers, as long as it is polled.
async fn announce(shared: Arc<Shared>) {
    let address = shared.address.to_string();
    let Config { register_address, secret_key, .. } = &shared.config;
    registers::announce(register_address, &address, secret_key, &shared.registers).await;
}

/// Loads certificates again when asked to. Without any it lets `reload` go, which is
/// how whoever asks hears of that.
async fn load_again(certificates: Vec<Arc<Certificate>>, mut reload: Reload) {
    if certificates.is_empty() {
        drop(reload);
        return std::future::pending().await;
    }
    loop {
        let request = reload.next().await;
        let certificates = certificates.clone();
        // Files may be slow, and this thread has clients.
        let load = move || certificates.iter().filter_map(|c| c.reload().err()).collect::<Vec<_>>();
        let problems = tokio::task::spawn_blocking(load).await.unwrap_or_default();
        request.done(if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) });
    }
}

/// Tells workers on other hosts that the gateway lives, as the original does.
async fn ping_workers(shared: Arc<Shared>) {
    if shared.config.lan_ip == std::net::Ipv4Addr::LOCALHOST {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(PING_INTERVAL);
    loop {
        ticks.tick().await;
        for worker in shared.workers.all() {
            // One that is full hears from us anyway.
            let _ = worker.buffer.push(|out| Command::Ping(bytes::Bytes::new()).encode(out));
            worker.buffer.flush_soon();
        }
    }
}

/// Closes the clients, each shard its own over `spread`, lets the workers hear of it, and
/// ends the shards.
async fn stop(shared: &Arc<Shared>, spread: Duration) {
    let clients = shared.clients.load(Ordering::Relaxed);
    if clients > 0 {
        info!(clients, "closing the clients");
    }
    let mut stopping = Vec::new();
    for shard in &shared.shards {
        let (done, stopped) = oneshot::channel();
        if shard.send(ShardMessage::Stop(spread, done)).await.is_ok() {
            stopping.push(stopped);
        }
    }
    for stopped in stopping {
        let _ = stopped.await;
    }
    shared.stopping.cancel();
    shared.links.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, shared.links.wait()).await.is_err() {
        let links = shared.links.len();
        warn!(links, "some links did not take what was left for them");
    }
    let closes = shared.workers.drop_kept_closes();
    if closes > 0 {
        warn!(closes, "no worker was linked when the gateway stopped: on_close is lost for these clients");
    }
    for shard in &shared.shards {
        let _ = shard.send(ShardMessage::End).await;
    }
    info!(closes = %shared.closes, refusals = %shared.refusals, "the gateway has stopped");
}
