//! The gateway's start and end: the order in which shards, acceptors and links open and close.
//!
//! [`serve`] runs until a token is cancelled or a part fails that the gateway cannot do without. It
//! never serves with a part of itself. `bound_listeners` binds, `acceptors` gives connections to
//! the shards; what happens to them is in `client` and `link`.

mod acceptors;
mod bound_listeners;
#[cfg(test)]
mod tests;
mod watch;

use std::net::SocketAddrV4;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::anyhow;
use gatewayworker_auth::Authenticator;
use gatewayworker_daemon::{OpenFiles, Operator, Reload};
use gatewayworker_metrics::{Exporter, Health};
use gatewayworker_net::{UnixLinkListener, registers};
use gatewayworker_protocol::Command;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use acceptors::{LinkAcceptor, accept_clients};
pub use bound_listeners::BoundListeners;
use bound_listeners::listen_for_unix_links;
use watch::{watch_contact, watch_isolation};

use crate::capacity::Capacity;
use crate::config::{Config, ConfigError};
use crate::error::Error;
use crate::gateway_state::{GatewayState, Timings};
use crate::listener::{ConnectionLimit, Listener};
use crate::metrics::GatewayMetrics;
use crate::perpetual::PerpetualTasks;
use crate::presence::Presence;
use crate::problem::{notices, problems};
use crate::shard::{self, ShardMessage, ShardThread};
#[cfg(feature = "otel")]
use crate::spans;
use crate::tls::Certificate;

/// How often the gateway pings workers on other hosts that do not acknowledge events, PHP's among
/// them.
const PING_INTERVAL: Duration = Duration::from_secs(25);

/// How long links may take to send their last events when the gateway stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The options of [`serve`] beside the configuration: when to stop, and who may ask for stats.
#[derive(Debug)]
#[must_use]
pub struct ServeOptions {
    shutdown: CancellationToken,
    operator: Operator,
    metrics_listener: gatewayworker_metrics::Listener,
}

impl ServeOptions {
    /// The options of a gateway that runs until `shutdown` is cancelled.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { shutdown, operator: Operator::absent(), metrics_listener: Default::default() }
    }

    /// Serves an operator too, which may ask for stats, and for a reload of the certificates: new
    /// connections use the new ones. Files that cannot be loaded again are logged.
    pub fn with_operator(mut self, operator: Operator) -> Self {
        self.operator = operator;
        self
    }

    /// Shows metrics and health at this listener instead of `metrics_listen`; nowhere where it is `None`.
    pub fn with_metrics_listener(mut self, listener: impl Into<Option<TcpListener>>) -> Self {
        self.metrics_listener = gatewayworker_metrics::Listener::Given(listener.into());
        self
    }
}

/// The options of a gateway that runs until the token is cancelled.
impl From<CancellationToken> for ServeOptions {
    fn from(shutdown: CancellationToken) -> Self {
        Self::new(shutdown)
    }
}

/// Serves clients and workers until the options' token is cancelled. Then the gateway leaves the
/// register, closes its clients with 1001, sends each close to the workers, and returns.
///
/// Must run within a tokio runtime. The first shard is on the calling thread, so the future is not
/// `Send`; each other shard has a thread of its own. It is not cancel safe: dropping it ends the first
/// shard's clients without a close, and leaves the other shards running.
///
/// # Errors
/// At the start: when `config` is not valid, the limit on open files leaves no room for
/// connections, a shard cannot be started, other listeners are bound than `config` has, or a
/// certificate cannot be loaded. Later: when a part fails without which the gateway cannot serve,
/// such as a shard or an acceptor. Then the clients are closed at once, without regard to
/// `shutdown_spread_ms`.
pub async fn serve(
    listeners: BoundListeners,
    config: Config,
    options: impl Into<ServeOptions>,
) -> Result<(), Error> {
    let ServeOptions { shutdown, operator, metrics_listener } = options.into();
    let config = config.validated()?;
    let metrics_listener = metrics_listener.open(config.metrics_listen.as_deref()).await?;
    if listeners.clients.len() != config.listen.len() {
        return Err(Error::ListenerCount);
    }
    let lan_port = match config.lan_listen {
        // The gateway announces lan_port; lan_listen may bind another.
        Some(_) if config.lan_port != 0 => config.lan_port,
        _ => listeners.inner.local_addr().map_err(Error::LocalAddress)?.port(),
    };
    let (senders, channels): (Vec<_>, Vec<_>) = (0..config.shards).map(|_| shard::channel()).unzip();
    let address = SocketAddrV4::new(config.lan_ip.resolve(&config.register_address).await?, lan_port);
    let files = OpenFiles::now();
    let capacity = Capacity::new(&config, files)?;
    capacity.log(&config, files);
    let link_tls = config.link_tls.load_for_both().map_err(ConfigError::from)?;
    let authenticator = match config.auth.is_on() {
        true => Some(Authenticator::new(&config.auth, config.token_limits()).map_err(ConfigError::from)?),
        false => None,
    };
    let timings = metrics_listener.as_ref().map(|_| Timings::default());
    let presence = Presence::new(&config.presence, address)?;
    let shared = GatewayState::new(config, capacity, address, senders);
    let shared = shared.with_link_tls(link_tls).with_timings(timings).with_presence(presence);
    let shared = shared.with_authenticator(authenticator.map(Arc::new));
    #[cfg(feature = "otel")]
    let span_exporter = spans::exporter(&shared.config)?;
    #[cfg(feature = "otel")]
    let shared = shared.with_span_exporter(span_exporter.clone());
    let shared = Arc::new(shared.with_loops(operator.loops));
    let counted = shared.clone();
    operator.stats.provide(move || counted.stats());
    let watched = shared.clone();
    operator.stats.provide_problems(move || problems(&watched));
    let watched = shared.clone();
    operator.stats.provide_notices(move || notices(&watched));
    let draining = shutdown.child_token();
    let metrics =
        metrics_listener.map(|listener| (listener, Health::new(operator.stats.clone(), draining.clone())));
    let unix_links = listen_for_unix_links(&listeners.inner, address, shared.config.unix_links);
    let parts = Parts { listeners, unix_links, channels, reload: operator.reload, metrics, draining };
    let served = LocalSet::new().run_until(serve_here(shared, parts, shutdown)).await;
    #[cfg(feature = "otel")]
    spans::send_last(span_exporter).await;
    served
}

/// What a gateway is started with, beside its shared state.
struct Parts {
    listeners: BoundListeners,
    /// Where links of this host are accepted beside the inner port.
    unix_links: Option<UnixLinkListener>,
    channels: Vec<mpsc::Receiver<ShardMessage>>,
    reload: Reload,
    /// Where metrics and health are shown, and the health.
    metrics: Option<(TcpListener, Health)>,
    /// Cancelled when the gateway stops.
    draining: CancellationToken,
}

/// Serves until `shutdown`, or until a perpetual task ends; then stops the gateway.
async fn serve_here(
    shared: Arc<GatewayState>,
    parts: Parts,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let Parts { listeners, unix_links, channels, reload, metrics, draining } = parts;
    let mut shards = PerpetualTasks::default();
    let mut tasks = PerpetualTasks::default();
    // These go on while the gateway stops.
    let mut lasting = PerpetualTasks::default();
    lasting.spawn("the watch for registers", watch_contact(shared.clone(), shutdown.clone()));
    if let Some(presence) = shared.presence.clone() {
        lasting.spawn("presence", presence.run(shared.clone()));
    }
    let links = LinkAcceptor::new(shared.clone());
    if let Some(unix_links) = unix_links {
        lasting.spawn("the acceptor of Unix links", links.clone().accept_unix(unix_links));
    }
    lasting.spawn("the acceptor of the inner port", links.accept_tcp(listeners.inner));
    let started = start_shards(&mut shards, &shared, channels)
        .and_then(|first| start_tasks(&mut tasks, listeners.clients, &first, &shutdown, reload));
    // It shows the stop, too.
    let mut _metrics = None;
    let served = match started.map(|()| {
        _metrics = metrics.map(|(listener, health)| start_metrics(&shared, listener, health));
    }) {
        Err(error) => Err(error),
        Ok(()) => tokio::select! {
            // First, as acceptors end by it, too.
            biased;
            () = shutdown.cancelled() => Ok(()),
            failure = shards.failure() => Err(Error::PartFailed(format!("{failure:#}"))),
            failure = tasks.failure() => Err(Error::PartFailed(format!("{failure:#}"))),
            failure = lasting.failure() => Err(Error::PartFailed(format!("{failure:#}"))),
        },
    };
    let mut spread = Duration::from_millis(shared.config.shutdown_spread_ms);
    if let Err(error) = &served {
        error!(%error, "the gateway cannot go on, and ends");
        spread = Duration::ZERO;
    }
    draining.cancel();
    // This ends the clients' acceptors and the announcement: no new client comes from now on. The links go
    // on, as they carry the last closes, and a worker whose links were cut may link again for them.
    tasks.stop().await;
    lasting.spawn("the announcement to missing workers", announce_if_worker_is_missing(shared.clone()));
    stop(&shared, spread).await;
    if let Some(presence) = &shared.presence {
        presence.reported().await;
    }
    if tokio::time::timeout(DRAIN_TIMEOUT, shards.join()).await.is_err() {
        warn!("some shards did not end in time");
    }
    served
}

/// Starts the shards: the first on this thread, each other on a thread of its own. Returns the
/// first.
fn start_shards(
    shards: &mut PerpetualTasks,
    shared: &Arc<GatewayState>,
    channels: Vec<mpsc::Receiver<ShardMessage>>,
) -> Result<Rc<ShardThread>, Error> {
    let first = ShardThread::new(0, shared.clone());
    for (index, messages) in channels.into_iter().enumerate() {
        if index == 0 {
            shards.spawn_fallible("shard 0", first.clone().run(messages));
            continue;
        }
        let ended = start_shard(index, shared.clone(), messages).map_err(|error| Error::StartShard {
            index,
            shards: shared.shards.len(),
            error,
        })?;
        shards.spawn_fallible(format!("shard {index}"), async {
            // Its thread sends nothing where it panics.
            ended.await.unwrap_or_else(|_| Err(anyhow!("its thread has panicked")))
        });
    }
    Ok(first)
}

/// Starts a shard's thread. The receiver gets the result with which the shard ends.
fn start_shard(
    index: usize,
    shared: Arc<GatewayState>,
    messages: mpsc::Receiver<ShardMessage>,
) -> std::io::Result<oneshot::Receiver<anyhow::Result<()>>> {
    // Built here, so that a lack of file descriptors is this function's error.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (give, given) = std::sync::mpsc::sync_channel(1);
    let (end, ended) = oneshot::channel();
    let run = move || {
        // It fails only where the thread did not start.
        let Ok(runtime) = given.recv() else { return };
        let result = shard::run(&runtime, index, shared, messages);
        let _ = end.send(result);
    };
    // The runtime is handed over once the thread runs. Where the thread cannot start, its closure
    // is dropped here, within another runtime, where a runtime must not be dropped.
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

/// Starts the tasks that the first shard's thread runs for all shards until the gateway stops: the
/// clients' acceptors, the announcement, the workers' pings, the watch for isolation, and
/// the reload of certificates.
fn start_tasks(
    tasks: &mut PerpetualTasks,
    sockets: Vec<TcpListener>,
    first: &Rc<ShardThread>,
    shutdown: &CancellationToken,
    reload: Reload,
) -> Result<(), Error> {
    let shared = &first.shared;
    let gateway_limit = Arc::new(ConnectionLimit::new(shared.capacity.clients));
    let mut certificates = Vec::new();
    let mut open = Vec::new();
    let configured = sockets.into_iter().zip(&shared.config.listen);
    for (index, (socket, config)) in configured.enumerate() {
        gatewayworker_net::tune(&socket);
        let address = socket.local_addr().map_err(Error::LocalAddress)?;
        let port = address.port();
        let listener = Arc::new(Listener::new(index, port, config, &shared.config, gateway_limit.clone())?);
        certificates.extend(listener.certificate.clone());
        open.push((config.bound_to(address).to_string(), listener.clone()));
        let accepting = accept_clients(socket, listener, first.clone(), shutdown.clone());
        tasks.spawn(format!("the acceptor of {}", config.url), accepting);
    }
    // They are set once, here.
    let _ = shared.listeners.set(open);
    tasks.spawn("the announcement to the registers", announce(shared.clone()));
    tasks.spawn("the workers' heartbeat", ping_workers(shared.clone()));
    tasks.spawn("the watch for isolation", watch_isolation(shared.clone()));
    if let Some(authenticator) = shared.authenticator.clone() {
        tasks.spawn("the refresh of the keys of tokens", async move { authenticator.refresh().await });
    }
    tasks.spawn("the reload of certificates and keys", reload_files(certificates, shared.clone(), reload));
    Ok(())
}

/// Starts to show metrics and health, until the returned handle is dropped.
fn start_metrics(shared: &Arc<GatewayState>, listener: TcpListener, health: Health) -> AbortOnDropHandle<()> {
    let exporter = Exporter::new(GatewayMetrics::new(shared.clone()), health);
    let serving = gatewayworker_metrics::serve(listener, exporter, CancellationToken::new());
    AbortOnDropHandle::new(tokio::spawn(serving))
}

/// Keeps the gateway announced at its registers, as long as the future is polled.
async fn announce(shared: Arc<GatewayState>) {
    let address = shared.address.to_string();
    let Config { register_address, secret_key, .. } = &shared.config;
    registers::announce(register_address, &address, secret_key, shared.link_tls.as_ref(), &shared.registers)
        .await;
}

/// Announces a gateway that stops again, while closes wait for the last worker, which is missing: workers link
/// to a gateway that a register lists. Returns when the links end.
async fn announce_if_worker_is_missing(shared: Arc<GatewayState>) {
    let (mut workers, mut waiting) = (shared.workers.changes(), shared.waiting_shards.subscribe());
    let mut was_said = false;
    loop {
        // Their senders are in `shared`: waiting for them does not fail.
        if *waiting.borrow_and_update() > 0 && shared.workers.is_one_missing() {
            if !std::mem::replace(&mut was_said, true) {
                info!(
                    "no worker is linked: the gateway waits for one to handle the closes, for shutdown_timeout_ms \
                     at most"
                );
            }
            tokio::select! {
                () = announce(shared.clone()) => {}
                () = shared.workers.wait_for_one() => {}
                _ = waiting.wait_for(|shards| *shards == 0) => {}
                () = shared.stopping.cancelled() => return,
            }
        } else {
            tokio::select! {
                _ = workers.changed() => {}
                _ = waiting.changed() => {}
                () = shared.stopping.cancelled() => return,
            }
        }
    }
}

/// Loads the certificates, and the keys of tokens, again at each request of the operator. Without both it
/// drops `reload`, which tells the operator that there is nothing to load.
async fn reload_files(certificates: Vec<Arc<Certificate>>, shared: Arc<GatewayState>, mut reload: Reload) {
    if certificates.is_empty() && shared.authenticator.is_none() {
        drop(reload);
        return std::future::pending().await;
    }
    loop {
        let request = reload.next().await;
        let (certificates, shared) = (certificates.clone(), shared.clone());
        // Reading files may be slow, and this thread serves clients.
        let load = move || {
            let keys = shared.authenticator.iter().filter_map(|keys| keys.reload(&shared.config.auth).err());
            let keys = keys.map(|error| error.to_string());
            certificates.iter().filter_map(|c| c.reload().err()).chain(keys).collect::<Vec<_>>()
        };
        let problems = tokio::task::spawn_blocking(load).await.unwrap_or_default();
        request.done(if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) });
    }
}

/// Pings the workers of a gateway that is not on loopback, as the original does.
async fn ping_workers(shared: Arc<GatewayState>) {
    if *shared.address.ip() == std::net::Ipv4Addr::LOCALHOST {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(PING_INTERVAL);
    loop {
        ticks.tick().await;
        for worker in shared.workers.all() {
            if worker.acknowledges() {
                // Its link's task pings it.
                continue;
            }
            // A full link needs no ping: it has events to read.
            let _ = worker.buffer.push(|out| Command::Ping(bytes::Bytes::new()).encode(out));
            worker.buffer.flush_soon();
        }
    }
}

/// Closes the clients evenly over `spread`, lets the workers handle the closes for
/// `shutdown_timeout_ms` at most, and ends the shards.
async fn stop(shared: &Arc<GatewayState>, spread: Duration) {
    let timeout = Duration::from_millis(shared.config.shutdown_timeout_ms);
    let clients = shared.clients.load(Ordering::Relaxed);
    if clients > 0 {
        info!(clients, "closing the clients");
    }
    let mut stopping = Vec::new();
    for shard in &shared.shards {
        let (done, stopped) = oneshot::channel();
        if shard.send(ShardMessage::Stop { spread, timeout, done }).await.is_ok() {
            stopping.push(stopped);
        }
    }
    let (mut lost, mut unfinished) = (0, 0);
    for stopped in stopping {
        let given_up = stopped.await.unwrap_or_default();
        lost += given_up.lost;
        unfinished += given_up.unfinished;
    }
    if unfinished > 0 {
        warn!(
            closes = unfinished,
            "workers have not handled these closes within shutdown_timeout_ms: it is not known whether their \
             on_close has run or will"
        );
    }
    if lost > 0 {
        warn!(
            closes = lost,
            "no worker was linked while the gateway stopped: on_close is lost for these clients"
        );
    }
    shared.stopping.cancel();
    shared.links.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, shared.links.wait()).await.is_err() {
        let links = shared.links.len();
        warn!(links, "some links did not take their last events in time");
    }
    for shard in &shared.shards {
        let _ = shard.send(ShardMessage::End).await;
    }
    info!(closes = %*shared.closes, rejections = %shared.rejections, "the gateway has stopped");
}
