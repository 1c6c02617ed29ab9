//! Removes a client from the tables of the store when it leaves.
//!
//! The tables' keys are in the client's session, so that any worker can do it. While Redis does not answer, the removals
//! wait.

use std::sync::Arc;
use std::time::Duration;

use gatewayworker::router::SessionNames;
use gatewayworker::{Client, ClientId, SessionError, client};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::warn;

use crate::store::Store;

const CLOSE_KEYS: SessionNames = SessionNames::under("_close_keys");

/// How many removals may wait for Redis. Further ones are dropped: these members expire instead.
const MAX_WAITING: usize = 10_000;

/// The pause before Redis is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Registers the table `key`, from which the client is removed when it leaves.
pub(crate) async fn add_close_key(client: &Client, key: &str) -> Result<(), client::Error> {
    CLOSE_KEYS.add(client, key).await
}

/// Unregisters a table. Returns whether it was registered.
pub(crate) fn remove_close_key(client: &Client, key: &str) -> Result<bool, SessionError> {
    CLOSE_KEYS.remove(client, key)
}

/// Removes clients that have left.
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

    /// Removes a client that has left from all its tables.
    pub(crate) async fn clean(&self, store: &Store, client: &Client) -> Result<(), SessionError> {
        for key in CLOSE_KEYS.all(client)? {
            if store.remove(&key, client.id()).await.is_err()
                && self.waiting.try_send((key, client.id())).is_err()
            {
                warn!(client = %client.id(), "too many removals wait for Redis, so this member stays until it expires");
            }
        }
        Ok(())
    }

    /// Starts the task that retries the waiting removals. A second call does nothing.
    pub(crate) fn start(&self, store: Arc<Store>) {
        let queue = self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(mut queue) = queue else { return };
        tokio::spawn(async move {
            while let Some((key, id)) = queue.recv().await {
                while store.remove(&key, id).await.is_err() {
                    sleep(RETRY_PAUSE).await;
                }
            }
        });
    }
}
