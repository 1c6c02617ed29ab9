//! The server: accepts connections within the limits, starts a task for each, and stops.
//!
//! A connection goes to `connection`; what they share is `register`.

use std::sync::Arc;

use gatewayworker_daemon::{OpenFiles, Stats};
use gatewayworker_net::LinkTlsError;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::Config;
use crate::connection;
use crate::register::Register;
use crate::roster::PeerId;

/// Descriptors that are left for the process itself.
const SPARE: usize = 16;

/// Serves gateways, workers and client libraries on `listener` until `shutdown`
/// is cancelled; then closes all connections and returns.
///
/// # Errors
/// When `link_tls` cannot work: the register has not begun then.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), LinkTlsError> {
    serve_and_count(listener, config, shutdown, &Stats::default()).await
}

/// As [`serve`], and provides its numbers to `stats`.
pub(crate) async fn serve_and_count(
    listener: TcpListener,
    config: Config,
    shutdown: CancellationToken,
    stats: &Stats,
) -> Result<(), LinkTlsError> {
    let tls = config.link_tls.load_for_accepting()?;
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

    let mut next_id: PeerId = 0;
    let accepting = gatewayworker_daemon::accept_loop(&listener, &shutdown, |stream, peer| {
        let permits = (connections.clone().try_acquire_owned(), unauthenticated.clone().try_acquire_owned());
        let (Ok(connection), Ok(without_key)) = permits else {
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
                end = connection::serve(&register, id, stream, peer, without_key) => end.log(peer, &register.logs),
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
        let (stats, shutdown) = (Stats::default(), CancellationToken::new());
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
            _ = serve_and_count(listener, Config::default(), shutdown, &stats) => panic!("it has stopped"),
            () = read => {}
        }
    }
}
