//! Opens a daemon's listeners that are to outlive its process: the supervisor opens and keeps them, if there is one
//! that can pass sockets on; otherwise this process does. A new process of the daemon then takes connections from
//! the same queue as the one whose place it takes, and none is lost.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::AddressError;
use crate::child_protocol::ChildMessage;
use crate::supervisor_link::{self, Socket};

/// How long the supervisor may take to open a listener.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens listeners, in the supervisor or in this process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ListenerSource(Option<Arc<PendingListeners>>);

/// Why a listener cannot be opened. The message names the setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerError {
    /// This process cannot listen on the address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The supervisor cannot open the listener.
    #[error("{reason}")]
    Refused {
        /// As the supervisor says it, with the setting.
        reason: String,
    },
    /// The supervisor does not answer.
    #[error("{key}: the supervisor did not open {address} within {} s", ANSWER_TIMEOUT.as_secs())]
    NoAnswer {
        /// The name of the setting.
        key: String,
        /// Where to listen.
        address: SocketAddr,
    },
    /// The socket that the supervisor has sent is of no use.
    #[error("{key}: {address}")]
    Socket {
        /// The name of the setting.
        key: String,
        /// Where to listen.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

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
    pub async fn bind(&self, key: &str, address: SocketAddr) -> Result<TcpListener, ListenerError> {
        let Some(pending) = &self.0 else { return Ok(crate::bind(key, address)?) };
        let key = key.to_owned();
        let (sender, answer) = oneshot::channel();
        pending.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), sender);
        supervisor_link::send(&ChildMessage::Listen { key: key.clone(), address });
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(Ok(socket))) => supervisor_link::into_listener(socket)
                .map_err(|source| ListenerError::Socket { key, address, source }),
            Ok(Ok(Err(reason))) => Err(ListenerError::Refused { reason }),
            _ => Err(ListenerError::NoAnswer { key, address }),
        }
    }

    /// Whether the supervisor holds the listeners, so that another process may take connections from the same queue.
    pub fn is_supervisor(&self) -> bool {
        self.0.is_some()
    }

    /// Passes the supervisor's answer to the call of [`ListenerSource::bind`] that waits for it.
    pub(crate) fn answer(&self, key: &str, socket: Result<Socket, String>) {
        let Some(pending) = &self.0 else { return };
        if let Some(sender) = pending.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            let _ = sender.send(socket);
        }
    }
}
