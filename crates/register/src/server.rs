//! The connections together: letting them in, the roster they share, and the
//! list that goes out to all who asked for it.
//!
//! A list replaces the one before it, so there is no queue: each connection
//! follows a `watch` channel, and one that reads slowly skips what it missed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatewayworker_daemon::{OpenFiles, Stats};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::Config;
use crate::peer::{self, Logs};
use crate::roster::{ConnectionId, List, Roster};

/// How long a change waits after the one before it, so that a burst (a cluster
/// that starts) goes out as a few lists and not as one for each gateway.
const PAUSE_BETWEEN_LISTS: Duration = Duration::from_millis(3);

/// Descriptors that are left for the process itself.
const SPARE: usize = 16;

/// Serves gateways, workers and client libraries on `listener` until `shutdown`
/// is cancelled; then closes all connections and returns.
pub async fn serve(listener: TcpListener, config: Config, shutdown: CancellationToken) {
    serve_and_count(listener, config, shutdown, &Stats::default()).await;
}

/// [`serve`], and says by `stats` who is there.
pub(crate) async fn serve_and_count(
    listener: TcpListener,
    config: Config,
    shutdown: CancellationToken,
    stats: &Stats,
) {
    // Each connection is a file. Strangers never take what a daemon of the cluster needs.
    let room = OpenFiles::now().map_or(Semaphore::MAX_PERMITS, |files| files.free().saturating_sub(SPARE));
    let connections = Arc::new(Semaphore::new(config.max_connections.min(room)));
    let strangers = Arc::new(Semaphore::new(config.max_unauthenticated.min(room / 2)));
    let register = Arc::new(Register::new(config));
    let tasks = TaskTracker::new();
    stats.provide({
        let (register, tasks) = (register.clone(), tasks.clone());
        move || {
            vec![
                ("gateways", register.roster().len() as u64),
                ("connections", tasks.len() as u64),
                ("wrong_keys", register.wrong_keys.load(Ordering::Relaxed)),
            ]
        }
    });

    let mut next_id: ConnectionId = 0;
    let accepting = gatewayworker_daemon::accept_loop(&listener, &shutdown, |stream, peer| {
        let permits = (connections.clone().try_acquire_owned(), strangers.clone().try_acquire_owned());
        let (Ok(connection), Ok(stranger)) = permits else {
            return register.logs.refused.log(move |times| {
                warn!(%peer, times, "too many connections, refusing new ones; see max_connections and max_unauthenticated");
            });
        };
        next_id += 1;
        let id = next_id;
        let (register, shutdown) = (register.clone(), shutdown.clone());
        tasks.spawn(async move {
            debug!(%peer, "connected");
            tokio::select! {
                () = shutdown.cancelled() => {}
                why = peer::converse(&register, id, stream, peer, stranger) => why.log(peer, &register.logs),
            }
            register.leave(id);
            drop(connection);
        });
    });
    tokio::select! {
        () = accepting => {}
        () = register.publish_changes() => {}
    }

    info!(connections = tasks.len(), "the register stops");
    tasks.close();
    tasks.wait().await;
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Register {
    pub(crate) config: Config,
    logs: Logs,
    roster: Mutex<Roster>,
    changed: Notify,
    published: watch::Sender<List>,
    /// Connections that were closed because their `secret_key` was another one.
    pub(crate) wrong_keys: AtomicU64,
}

impl Register {
    fn new(config: Config) -> Self {
        Self {
            config,
            logs: Logs::default(),
            roster: Mutex::default(),
            changed: Notify::new(),
            published: watch::Sender::default(),
            wrong_keys: AtomicU64::new(0),
        }
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `connection` announces `address`, in place of what it announced before.
    pub(crate) fn announce(&self, connection: ConnectionId, address: String) {
        if self.roster().announce(connection, address) {
            self.changed.notify_one();
        }
    }

    fn leave(&self, connection: ConnectionId) {
        if let Some(address) = self.roster().leave(connection) {
            info!(%address, "a gateway is gone");
            self.changed.notify_one();
        }
    }

    /// The list as it stands, which may be newer than the one published last.
    pub(crate) fn list(&self) -> List {
        self.roster().list()
    }

    /// The lists that are published from now on.
    pub(crate) fn follow(&self) -> watch::Receiver<List> {
        self.published.subscribe()
    }

    async fn publish_changes(&self) {
        loop {
            self.changed.notified().await;
            self.published.send_replace(self.list());
            tokio::time::sleep(PAUSE_BETWEEN_LISTS).await;
        }
    }
}
