//! What is cleared away when a client leaves: the keys that were registered for it.
//!
//! They stand in its session, so that any worker can do it. Where Redis cannot be asked
//! at that moment, they wait until it can.

use std::sync::Arc;
use std::time::Duration;

use gatewayworker::router::SessionNames;
use gatewayworker::{Client, ClientId, SessionError, client};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::warn;

use crate::store::Store;

const CLOSE_KEYS: SessionNames = SessionNames::under("_close_keys");

/// How many may wait for Redis. What is more is left to the end of the room.
const MAX_WAITING: usize = 10_000;

/// How long to wait between two trials.
const AGAIN: Duration = Duration::from_secs(1);

/// Has a client struck off the table `key` when it leaves.
pub(crate) async fn add_close_key(client: &Client, key: &str) -> Result<(), client::Error> {
    CLOSE_KEYS.add(client, key).await
}

/// Has it not struck off any more; whether it would have been.
pub(crate) fn remove_close_key(client: &Client, key: &str) -> Result<bool, SessionError> {
    CLOSE_KEYS.remove(client, key)
}

/// Strikes clients off.
#[derive(Debug)]
pub(crate) struct Cleaner {
    waiting: mpsc::Sender<(String, ClientId)>,
    queue: std::sync::Mutex<Option<mpsc::Receiver<(String, ClientId)>>>,
}

impl Cleaner {
    pub(crate) fn new() -> Self {
        let (waiting, queue) = mpsc::channel(MAX_WAITING);
        Self { waiting, queue: std::sync::Mutex::new(Some(queue)) }
    }

    /// Strikes a client that has left off all tables that it is on.
    pub(crate) async fn clean(&self, store: &Store, client: &Client) -> Result<(), SessionError> {
        for key in CLOSE_KEYS.all(client)? {
            if store.remove(&key, client.id()).await.is_err()
                && self.waiting.try_send((key, client.id())).is_err()
            {
                warn!(client = %client.id(), "too many wait to be struck off: it stays until its room ends");
            }
        }
        Ok(())
    }

    /// Begins to work off what waits. (A second time it does nothing.)
    pub(crate) fn start(&self, store: Arc<Store>) {
        let queue = self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(mut queue) = queue else { return };
        tokio::spawn(async move {
            while let Some((key, id)) = queue.recv().await {
                while store.remove(&key, id).await.is_err() {
                    sleep(AGAIN).await;
                }
            }
        });
    }
}
