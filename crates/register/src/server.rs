//! The server: accepts connections within the limits, starts a task for each, and stops.
//!
//! A connection goes to `connection`; what they share is `register`.

use std::sync::Arc;

use gatewayworker_daemon::{BindError, OpenFiles, Stats};
use gatewayworker_metrics::{Exporter, Health};
use gatewayworker_net::LinkTlsError;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{debug, info, warn};

use crate::Config;
use crate::connection;
use crate::metrics::RegisterMetrics;
use crate::register::Register;
use crate::rejections::RejectReason;
use crate::roster::PeerId;

/// Descriptors that are left for the process itself.
const SPARE: usize = 16;

/// Why [`serve`] has not begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `link_tls` cannot work.
    #[error(transparent)]
    LinkTls(#[from] LinkTlsError),
    /// `metrics_listen` cannot be listened on.
    #[error(transparent)]
    Metrics(#[from] BindError),
}

/// How [`serve`] runs a register, apart from its configuration: until when, and who may ask how it goes.
#[derive(Debug)]
#[must_use]
pub struct ServeOptions {
    shutdown: CancellationToken,
    stats: Stats,
    metrics_listener: gatewayworker_metrics::Listener,
}

impl ServeOptions {
    /// The options of a register that runs until `shutdown` is cancelled.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { shutdown, stats: Stats::default(), metrics_listener: Default::default() }
    }

    /// Provides the register's numbers and problems to `stats`, too.
    pub fn with_stats(mut self, stats: Stats) -> Self {
        self.stats = stats;
        self
    }

    /// Shows metrics and health at this listener instead of `metrics_listen`; nowhere where it is `None`.
    pub fn with_metrics_listener(mut self, listener: impl Into<Option<TcpListener>>) -> Self {
        self.metrics_listener = gatewayworker_metrics::Listener::Given(listener.into());
        self
    }
}

/// A register that runs until the token is cancelled, with no options beyond that.
impl From<CancellationToken> for ServeOptions {
    fn from(shutdown: CancellationToken) -> Self {
        Self::new(shutdown)
    }
}

/// Serves gateways, workers and client libraries on `listener` until the options' token is cancelled; then closes
/// all connections and returns.
///
/// # Errors
/// When `link_tls` cannot work, or `metrics_listen` cannot be listened on: the register has not begun then.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    options: impl Into<ServeOptions>,
) -> Result<(), Error> {
    let ServeOptions { shutdown, stats, metrics_listener } = options.into();
    let tls = config.link_tls.load_for_accepting()?;
    let metrics_listener = metrics_listener.open(config.metrics_listen.as_deref()).await?;
    // Each connection is a file. Peers without the key never take the files that the cluster's
    // daemons need.
    let room = OpenFiles::now().map_or(Semaphore::MAX_PERMITS, |files| files.free().saturating_sub(SPARE));
    let connections = Arc::new(Semaphore::new(config.max_connections.min(room)));
    let unauthenticated = Arc::new(Semaphore::new(config.max_unauthenticated.min(room / 2)));
    let register = Arc::new(Register::new(config, tls));
    let tasks = TaskTracker::new();
    stats.provide({
        let (register, tasks) = (register.clone(), tasks.clone());
        move || {
            // One lock for both numbers: a second one in the same expression would wait for the first for ever.
            let roster = register.roster();
            let (gateways, wrong_keys) = (roster.gateways() as u64, roster.wrong_keys());
            drop(roster);
            vec![("gateways", gateways), ("connections", tasks.len() as u64), ("wrong_keys", wrong_keys)]
        }
    });
    // A register that accepts connections can do its work.
    stats.provide_problems(Vec::new);
    let _metrics = metrics_listener.map(|listener| {
        let health = Health::new(stats.clone(), shutdown.clone());
        let exporter = Exporter::new(RegisterMetrics(register.clone()), health);
        let serving = gatewayworker_metrics::serve(listener, exporter, CancellationToken::new());
        AbortOnDropHandle::new(tokio::spawn(serving))
    });

    let mut next_id: PeerId = 0;
    let accepting = gatewayworker_daemon::accept_loop(&listener, &shutdown, |stream, peer| {
        let permits = (connections.clone().try_acquire_owned(), unauthenticated.clone().try_acquire_owned());
        let (Ok(connection), Ok(without_key)) = permits else {
            register.rejections.count(RejectReason::Full);
            return register.logs.refused.log(move |times| {
                warn!(%peer, times, "too many connections, refusing new ones; see max_connections and max_unauthenticated");
            });
        };
        next_id += 1;
        let id = next_id;
        register.connected(id);
        let (register, shutdown) = (register.clone(), shutdown.clone());
        tasks.spawn(async move {
            debug!(%peer, "connected");
            tokio::select! {
                () = shutdown.cancelled() => {}
                end = connection::serve(&register, id, stream, peer, without_key) => {
                    end.rejection().into_iter().for_each(|reason| register.rejections.count(reason));
                    end.log(peer, &register.logs);
                }
            }
            register.disconnected(id);
            drop(connection);
        });
    });
    tokio::select! {
        () = accepting => {}
        () = register.publish() => {}
    }

    info!(connections = tasks.len(), "the register stops");
    tasks.close();
    tasks.wait().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn stats_can_be_read_while_the_register_runs() {
        let stats = Stats::default();
        let options = ServeOptions::new(CancellationToken::new()).with_stats(stats.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let read = async {
            loop {
                let stats = stats.clone();
                let reading = tokio::task::spawn_blocking(move || format!("{stats:?}"));
                let text =
                    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("an answer").unwrap();
                if ["gateways", "connections", "wrong_keys"].iter().all(|name| text.contains(name)) {
                    return;
                }
            }
        };
        tokio::select! {
            _ = serve(listener, Config::default(), options) => panic!("it has stopped"),
            () = read => {}
        }
    }
}
