//! Opens a daemon's listeners that are to outlive its process: the supervisor opens and keeps them, if there is one
//! that can pass sockets on; otherwise this process does. A new process of the daemon then takes connections from
//! the same queue as the one whose place it takes, and none is lost.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::child_protocol::ChildMessage;
use crate::supervisor_link::{self, Socket};

/// How long the supervisor may take to open a listener.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens listeners, in the supervisor or in this process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ListenerSource(Option<Arc<PendingListeners>>);

/// The listeners that the supervisor was asked for, by their keys.
type PendingListeners = Mutex<HashMap<String, oneshot::Sender<Result<Socket, String>>>>;

impl ListenerSource {
    /// Listeners of the supervisor, if its link can pass sockets on, otherwise of this process.
    pub(crate) fn of_supervisor() -> Self {
        Self(supervisor_link::passes_sockets().then(Arc::default))
    }

    /// Listens on `address`, which the configuration calls `key`.
    ///
    /// # Errors
    /// When the address is in use, not this machine's, or needs rights; when the supervisor
    /// does not answer within five seconds.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn bind(&self, key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
        let Some(pending) = &self.0 else { return crate::bind(key, address) };
        let (sender, answer) = oneshot::channel();
        pending.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), sender);
        supervisor_link::send(&ChildMessage::Listen { key: key.to_owned(), address });
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(Ok(socket))) => {
                supervisor_link::into_listener(socket).with_context(|| format!("{key}: {address}"))
            }
            Ok(Ok(Err(reason))) => bail!(reason),
            _ => Err(anyhow!("{key}: the supervisor did not open {address}")),
        }
    }

    /// Passes the supervisor's answer to the call of [`ListenerSource::bind`] that waits for it.
    pub(crate) fn answer(&self, key: &str, socket: Result<Socket, String>) {
        let Some(pending) = &self.0 else { return };
        if let Some(sender) = pending.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            let _ = sender.send(socket);
        }
    }
}
