//! The daemon: its listeners, its shards, and the order in which they open and close.

use std::net::{SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use gatewayworker_daemon::{
    OpenFiles, Operator, Reload, accept_loop, bind, bind_as, check_exposure, resolve,
};
use gatewayworker_net::registers;
use gatewayworker_protocol::Command;
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::access::rejections::RejectReason;
use crate::capacity::Capacity;
use crate::client;
use crate::config::{Config, ListenUrl};
use crate::listener::{ConnectionLimit, ConnectionPermit, LimitReached, Listener};
use crate::perpetual::PerpetualTasks;
use crate::problem::problem;
use crate::shard::{self, NewConnection, ShardMessage, ShardThread, Shared};
use crate::tls::Certificate;

/// How often a worker on another host hears from the gateway.
const PING_INTERVAL: Duration = Duration::from_secs(25);

/// How long links may take to send what is left when the gateway stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The gateway's listeners, bound: tests bind them to port 0.
#[derive(Debug)]
pub struct BoundListeners {
    /// For clients, one for each in the configuration's `listen`.
    pub clients: Vec<TcpListener>,
    /// For workers and client libraries.
    pub inner: TcpListener,
}

impl BoundListeners {
    /// Binds what `config` says.
    ///
    /// # Errors
    /// When an address does not resolve, is in use, or would let anybody in.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let inner = match &config.lan_listen {
            Some(address) => resolve("lan_listen", address).await?,
            None => SocketAddr::from((config.lan_ip, config.lan_port)),
        };
        check_exposure("the gateway's inner port", inner.ip(), &config.secret_key, config.allow_insecure)?;
        let inner = bind("lan_port", inner)?;
        let mut addresses = Vec::new();
        for listener in &config.listen {
            addresses.push(resolve("listen", listener.url.address()).await?);
        }
        let clients = addresses.iter().map(|address| {
            // [::] takes IPv4 too, unless that has a listener of its own.
            let twin =
                |other: &&SocketAddr| other.is_ipv4() && other.port() == address.port() && other.port() != 0;
            let alone = addresses.iter().find(twin).is_none();
            bind_as("listen", *address, alone)
        });
        Ok(Self { clients: clients.collect::<Result<_, _>>()?, inner })
    }

    /// The clients' addresses, as people write them.
    ///
    /// # Errors
    /// When the system does not know its own sockets.
    pub fn urls(&self, config: &Config) -> anyhow::Result<Vec<ListenUrl>> {
        let listeners = self.clients.iter().zip(&config.listen);
        listeners.map(|(socket, listener)| Ok(listener.bound_to(socket.local_addr()?))).collect()
    }
}

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

/// Deals clients out to the shards, in turn.
async fn accept_clients(
    socket: TcpListener,
    listener: Arc<Listener>,
    first: Rc<ShardThread>,
    shutdown: CancellationToken,
) {
    let shared = &first.shared;
    let mut turn = 0;
    accept_loop(&socket, &shutdown, |stream, peer| {
        let permit = match ConnectionPermit::take(&listener) {
            Ok(permit) => permit,
            Err(taken) => {
                let (of, why) = match taken {
                    LimitReached::All => ("the gateway", RejectReason::Full),
                    LimitReached::Here => ("the listener", RejectReason::ListenerFull),
                };
                let port = listener.policy.port;
                shared.refusals.count_and_log(why, move |times| {
                    warn!(port, times, "max_connections of {of} is reached: clients are refused");
                });
                return client::reject_over_limit(&first, stream, &listener, why);
            }
        };
        let new = NewConnection { peer, permit };
        turn = (turn + 1) % shared.shards.len();
        if turn == first.index {
            return first.spawn_client(stream, new);
        }
        let Ok(stream) = stream.into_std() else { return };
        if !deal(shared, turn, ShardMessage::Client(stream, new)) {
            let log =
                move |times| warn!(client = %peer, times, "all shards are too busy to take a client in");
            shared.logs.too_busy.log(log);
        }
    })
    .await;
}

async fn accept_links(listener: TcpListener, shared: Arc<Shared>, shutdown: CancellationToken) {
    let limit = shared.capacity.links;
    let permits = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
    let mut turn = 0;
    accept_loop(&listener, &shutdown, |stream, peer| {
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            let log = move |times| warn!(%peer, limit, times, "max_links is reached: a link is refused");
            return shared.logs.link_refused.log(log);
        };
        let Ok(stream) = stream.into_std() else { return };
        turn = (turn + 1) % shared.shards.len();
        if !deal(&shared, turn, ShardMessage::Link(stream, peer, permit)) {
            let log = move |times| warn!(%peer, times, "all shards are too busy to take a link in");
            shared.logs.too_busy.log(log);
        }
    })
    .await;
}

/// Gives a connection to the shard whose turn it is, or to the next that has room
/// in its messages; closes it where none has.
fn deal(shared: &Shared, turn: usize, mut message: ShardMessage) -> bool {
    let (before, from) = shared.shards.split_at(turn);
    for shard in from.iter().chain(before) {
        match shard.try_send(message) {
            Ok(()) => return true,
            Err(TrySendError::Full(back) | TrySendError::Closed(back)) => message = back,
        }
    }
    false
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use gatewayworker_protocol::{Command, Question};
    use socket2::SockRef;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;
    use crate::shard::testing;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A gateway with two shards and two listeners on any port, whose clients would be
    /// closed over an hour.
    async fn gateway() -> (BoundListeners, Arc<Shared>, Vec<mpsc::Receiver<ShardMessage>>) {
        let text = "listen = ['websocket://127.0.0.1:0', 'text://127.0.0.1:0']\n\
            lan_port = 0\nshards = 2\nshutdown_spread_ms = 3600000\nregister_address = '127.0.0.1:1'";
        let config = toml::from_str::<Config>(text).unwrap().validated().unwrap();
        let listeners = BoundListeners::bind(&config).await.unwrap();
        let (shared, channels) = testing::shared(config);
        (listeners, shared, channels)
    }

    /// What a gateway ends with to which `harm` is done.
    async fn end(harm: impl AsyncFnOnce(&Arc<Shared>, [SockRef<'static>; 3])) -> anyhow::Result<()> {
        let (listeners, shared, channels) = gateway().await;
        let sockets = [&listeners.clients[0], &listeners.clients[1], &listeners.inner];
        // They outlive the test, as the borrow has to.
        let sockets = sockets.map(|socket| {
            let socket = SockRef::from(socket).try_clone().unwrap();
            SockRef::from(&*Box::leak(Box::new(socket)))
        });
        let serving =
            serve_here(listeners, shared.clone(), channels, CancellationToken::new(), Reload::never());
        let test = async { tokio::join!(serving, harm(&shared, sockets)).0 };
        timeout(LIMIT, LocalSet::new().run_until(test)).await.expect("a gateway that goes on")
    }

    #[tokio::test]
    async fn the_end_of_a_shard_ends_the_gateway() {
        for index in [0, 1] {
            let ended =
                end(async |shared, _| shared.shards[index].send(ShardMessage::End).await.ok().unwrap());
            assert_eq!(ended.await.unwrap_err().to_string(), format!("shard {index} has ended"));
        }
    }

    #[tokio::test]
    async fn the_end_of_an_acceptor_ends_the_gateway() {
        for (index, acceptor) in
            [(0, "of websocket://127.0.0.1:0"), (1, "of text://127.0.0.1:0"), (2, "of the inner port")]
        {
            let ended = end(async |_, sockets| {
                sockets[index].shutdown(std::net::Shutdown::Both).unwrap();
            });
            assert_eq!(ended.await.unwrap_err().to_string(), format!("the acceptor {acceptor} has ended"));
        }
    }

    #[tokio::test]
    async fn a_gateway_whose_shard_ends_sends_the_other_clients_away_at_once() {
        let since = Instant::now();
        let ended = end(async |shared, sockets| {
            let listener = sockets[1].local_addr().unwrap().as_socket().unwrap();
            let (_worker, _peer) = testing::worker(shared, 1000).await;
            // One for each shard, in whichever order.
            let mut clients = Vec::new();
            for _ in 0..2 {
                clients.push(TcpStream::connect(listener).await.unwrap());
            }
            while shared.clients.load(Ordering::Relaxed) < 2 {
                tokio::task::yield_now().await;
            }
            shared.shards[1].send(ShardMessage::End).await.ok().unwrap();
            for client in &mut clients {
                let read = timeout(LIMIT, client.read(&mut [0])).await.expect("an end");
                assert!(matches!(read, Ok(0) | Err(_)));
            }
        });
        assert!(ended.await.is_err());
        assert!(since.elapsed() < LIMIT);
    }

    #[tokio::test]
    async fn who_asks_gets_no_answer_that_lacks_the_part_of_a_shard() {
        let (_, shared, mut channels) = gateway().await;
        // The other one is not there.
        let _first = channels.remove(0);
        channels.clear();
        let (ours, mut theirs) = testing::connection().await;
        let links = Arc::new(Semaphore::new(1));
        let permit = links.clone().try_acquire_owned().unwrap();
        let peer = theirs.local_addr().unwrap();
        let link = crate::link::run(ShardThread::new(0, shared), ours.into_std().unwrap(), peer, permit);
        let mut question = bytes::BytesMut::new();
        Command::Ask(Question::Count(None)).encode(&mut question);
        theirs.write_all(&question).await.unwrap();
        let mut answer = Vec::new();
        let asking = async { tokio::join!(link, theirs.read_to_end(&mut answer)).1 };
        let read = timeout(LIMIT, LocalSet::new().run_until(asking)).await.expect("an end");
        assert!(read.is_err() || answer.is_empty(), "{answer:?}");
        assert_eq!(links.available_permits(), 1);
    }
}
