//! The daemon: its doors, its shards, and the order in which they open and close.

use std::net::{SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use gatewayworker_daemon::{Operator, Reload, accept_loop, bind, bind_as, check_exposure, resolve};
use gatewayworker_net::registers;
use gatewayworker_protocol::Command;
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::client;
use crate::config::Config;
use crate::door::{Door, Limit, Place, Taken};
use crate::entry::refused::Refused;
use crate::listener::ListenUrl;
use crate::order::{Arrival, Mail};
use crate::problem::problem;
use crate::shard::{self, Shard, Shared};
use crate::tls::Certificate;

/// How often a worker on another host hears from the gateway.
const PING_INTERVAL: Duration = Duration::from_secs(25);

/// How long links may take to send what is left when the gateway stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The gateway's listeners, bound: tests bind them to port 0.
#[derive(Debug)]
pub struct Listeners {
    /// For clients, one for each in the configuration's `listen`.
    pub doors: Vec<TcpListener>,
    /// For workers and client libraries.
    pub inner: TcpListener,
}

impl Listeners {
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
        let doors = addresses.iter().map(|address| {
            // [::] takes IPv4 too, unless that has a listener of its own.
            let twin =
                |other: &&SocketAddr| other.is_ipv4() && other.port() == address.port() && other.port() != 0;
            let alone = addresses.iter().find(twin).is_none();
            bind_as("listen", *address, alone)
        });
        Ok(Self { doors: doors.collect::<Result<_, _>>()?, inner })
    }

    /// The clients' addresses, as people write them.
    ///
    /// # Errors
    /// When the system does not know its own sockets.
    pub fn urls(&self, config: &Config) -> anyhow::Result<Vec<ListenUrl>> {
        let doors = self.doors.iter().zip(&config.listen);
        doors.map(|(door, listener)| Ok(listener.bound_to(door.local_addr()?))).collect()
    }
}

/// Serves clients and workers until `shutdown` is cancelled. Then the gateway
/// leaves the register, closes its clients with 1001, lets the workers hear of
/// each close, and returns.
///
/// Must run within a tokio runtime. The first shard is on the calling thread, so the
/// future cannot be moved to another; each other shard has a thread of its own.
///
/// # Errors
/// When a thread cannot be started, other doors are bound than `config` has, or a
/// certificate cannot be loaded.
pub async fn serve(listeners: Listeners, config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    serve_for(Operator::absent(), listeners, config, shutdown).await
}

/// [`serve`], for an `operator` who may ask how many are there, and for the certificates
/// to be loaded again, which those see who connect from then on.
///
/// # Errors
/// As [`serve`]; not because of files that cannot be loaded again, which is logged.
pub async fn serve_for(
    operator: Operator,
    listeners: Listeners,
    config: Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let config = config.validated()?;
    ensure!(listeners.doors.len() == config.listen.len(), "as many doors are to be bound as listen has");
    let lan_port = match config.lan_listen {
        // What is bound is not what is announced.
        Some(_) if config.lan_port != 0 => config.lan_port,
        _ => listeners.inner.local_addr()?.port(),
    };
    let (senders, mailboxes): (Vec<_>, Vec<_>) = (0..config.shards).map(|_| shard::mailbox()).unzip();
    let address = SocketAddrV4::new(config.lan_ip, lan_port);
    let shared = Arc::new(Shared::new(config, address, senders));
    let counted = shared.clone();
    operator.figures.are(move || counted.figures());
    let watched = shared.clone();
    operator
        .figures
        .problems_are(move || problem(watched.workers.len(), &watched.registers).into_iter().collect());
    let mut mailboxes = mailboxes.into_iter();
    let mailbox = mailboxes.next().context("a gateway needs a shard")?;
    for (index, mailbox) in (1..).zip(mailboxes) {
        start_shard(index, shared.clone(), mailbox)?;
    }
    LocalSet::new().run_until(serve_here(listeners, shared, mailbox, shutdown, operator.reload)).await
}

/// What the thread of the first shard does: accepts for all, and is a shard.
async fn serve_here(
    listeners: Listeners,
    shared: Arc<Shared>,
    mailbox: mpsc::Receiver<Mail>,
    shutdown: CancellationToken,
    reload: Reload,
) -> anyhow::Result<()> {
    let shard = Shard::begin(0, shared.clone());
    let reading = tokio::task::spawn_local(shard.clone().read_mail(mailbox));
    let accepting = TaskTracker::new();
    let places = Arc::new(Limit::new(shared.config.max_connections));
    let mut certificates = Vec::new();
    for (socket, listener) in listeners.doors.into_iter().zip(&shared.config.listen) {
        gatewayworker_net::tune(&socket);
        let port = socket.local_addr()?.port();
        let door = Arc::new(Door::new(port, listener, &shared.config, places.clone())?);
        certificates.extend(door.certificate.clone());
        accepting.spawn_local(accept_clients(socket, door, shard.clone(), shutdown.clone()));
    }
    accepting.spawn_local(accept_links(listeners.inner, shared.clone(), shutdown.clone()));
    accepting.close();

    let announced = shared.address.to_string();
    let registers = &shared.config.register_address;
    tokio::select! {
        () = registers::announce(registers, &announced, &shared.config.secret_key, &shared.registers) => {}
        () = ping_workers(&shared) => {}
        () = load_again(certificates, reload) => {}
        () = shutdown.cancelled() => {}
    }
    // The announcement has ended with its future: no worker will come, and no new client.
    // Links that stand outlive this: they carry the last closes.
    accepting.wait().await;
    stop(&shared).await;
    let _ = reading.await;
    Ok(())
}

fn start_shard(index: usize, shared: Arc<Shared>, mailbox: mpsc::Receiver<Mail>) -> anyhow::Result<()> {
    let run = move || {
        if let Err(error) = shard::run(index, shared, mailbox) {
            warn!(shard = index, %error, "a shard could not start: its clients are refused");
        }
    };
    std::thread::Builder::new()
        .name(format!("shard-{index}"))
        .spawn(run)
        .context("cannot start a shard's thread")?;
    Ok(())
}

/// Deals clients out to the shards, in turn.
async fn accept_clients(
    listener: TcpListener,
    door: Arc<Door>,
    first: Rc<Shard>,
    shutdown: CancellationToken,
) {
    let shared = &first.shared;
    let mut turn = 0;
    accept_loop(&listener, &shutdown, |stream, peer| {
        let place = match Place::take(&door) {
            Ok(place) => place,
            Err(taken) => {
                let (of, why) = match taken {
                    Taken::All => ("the gateway", Refused::Full),
                    Taken::Here => ("the listener", Refused::DoorFull),
                };
                let refused = shared.refusals.count(why);
                if refused.is_power_of_two() {
                    warn!(
                        port = door.port,
                        refused, "max_connections of {of} is reached: clients are refused"
                    );
                }
                return client::turn_away(&first, stream, &door, why);
            }
        };
        let arrival = Arrival { peer, place };
        turn = (turn + 1) % shared.shards.len();
        if turn == first.index {
            return first.take_in(stream, arrival);
        }
        let Ok(stream) = stream.into_std() else { return };
        if !deal(shared, turn, Mail::Client(stream, arrival)) {
            warn!(client = %peer, "all shards are too busy to take a client in");
        }
    })
    .await;
}

async fn accept_links(listener: TcpListener, shared: Arc<Shared>, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(shared.config.max_links.min(Semaphore::MAX_PERMITS)));
    let mut turn = 0;
    accept_loop(&listener, &shutdown, |stream, peer| {
        let Ok(permit) = places.clone().try_acquire_owned() else {
            warn!(%peer, limit = shared.config.max_links, "max_links is reached: a link is refused");
            return;
        };
        let Ok(stream) = stream.into_std() else { return };
        turn = (turn + 1) % shared.shards.len();
        if !deal(&shared, turn, Mail::Link(stream, peer, permit)) {
            warn!(%peer, "all shards are too busy to take a link in");
        }
    })
    .await;
}

/// Gives a connection to the shard whose turn it is, or to the next that has room
/// in its mailbox; closes it where none has.
fn deal(shared: &Shared, turn: usize, mut mail: Mail) -> bool {
    let (before, from) = shared.shards.split_at(turn);
    for shard in from.iter().chain(before) {
        match shard.try_send(mail) {
            Ok(()) => return true,
            Err(TrySendError::Full(back) | TrySendError::Closed(back)) => mail = back,
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
async fn ping_workers(shared: &Shared) {
    if shared.config.lan_ip == std::net::Ipv4Addr::LOCALHOST {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(PING_INTERVAL);
    loop {
        ticks.tick().await;
        for worker in shared.workers.all() {
            // One that is full hears from us anyway.
            let _ = worker.writer.push(|out| Command::Ping(bytes::Bytes::new()).encode(out));
            worker.writer.flush_soon();
        }
    }
}

async fn stop(shared: &Arc<Shared>) {
    let clients = shared.clients.load(Ordering::Relaxed);
    if clients > 0 {
        info!(clients, "closing the clients");
    }
    let mut stopping = Vec::new();
    for shard in &shared.shards {
        let (done, stopped) = oneshot::channel();
        if shard.send(Mail::Stop(done)).await.is_ok() {
            stopping.push(stopped);
        }
    }
    for stopped in stopping {
        let _ = stopped.await;
    }
    shared.stopping.cancel();
    shared.links.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, shared.links.wait()).await.is_err() {
        warn!("some links did not take what was left for them");
    }
    for shard in &shared.shards {
        let _ = shard.send(Mail::End).await;
    }
    info!(closes = %shared.closes, refusals = %shared.refusals, "the gateway has stopped");
}
