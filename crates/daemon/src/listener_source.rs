//! Opens a daemon's listeners. Those that are to outlive its process the supervisor opens and keeps, if there is one
//! that can pass sockets on: a new process of the daemon then takes connections from the same queue as the one whose
//! place it takes, and none is lost. Otherwise a listener is the one that a service manager has passed to this process
//! (`inherited_listeners.rs`), or this process opens it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tracing::warn;

use crate::AddressError;
use crate::child_protocol::ChildMessage;
use crate::inherited_listeners::InheritedListeners;
use crate::supervisor_link::{self, Socket};

/// How long the supervisor may take to open a listener.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens listeners, in the supervisor or in this process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ListenerSource {
    supervisor: Option<Arc<PendingListeners>>,
    inherited: Arc<InheritedListeners>,
}

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
    /// The service manager has passed a socket for the setting, but one with another address.
    #[error(
        "{key}: the service manager passed no socket for {address}, but for {}: make ListenStream= and the setting the \
         same",
        list(passed)
    )]
    OtherAddress {
        /// The name of the setting.
        key: String,
        /// Where to listen.
        address: SocketAddr,
        /// The addresses of the sockets that were passed under this name.
        passed: Vec<SocketAddr>,
    },
    /// The socket that the supervisor or the service manager has passed is of no use.
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

/// Why a daemon does not listen where a setting says. The message names the setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The setting is not an address, or its host has none.
    #[error(transparent)]
    Resolve(#[from] AddressError),
    /// The address cannot be listened on, or the supervisor did not open it.
    #[error(transparent)]
    Listen(#[from] ListenerError),
    /// The system does not tell the address of the socket.
    #[error("{key}: the address of the socket is not known")]
    Socket {
        /// The name of the setting.
        key: String,
        /// The system's error.
        source: io::Error,
    },
}

/// The listeners that the supervisor was asked for, by their keys.
type PendingListeners = Mutex<HashMap<String, oneshot::Sender<Result<Socket, String>>>>;

impl ListenerSource {
    /// Listeners of the supervisor, if its link can pass sockets on, otherwise of this process.
    pub(crate) fn of_supervisor() -> Self {
        Self { supervisor: supervisor_link::passes_sockets().then(Arc::default), inherited: Arc::default() }
    }

    /// Listeners of this process, some of which the service manager has passed to it.
    pub(crate) fn of_service_manager(inherited: InheritedListeners) -> Self {
        Self { supervisor: None, inherited: Arc::new(inherited) }
    }

    /// Closes the listeners that the service manager has passed and nobody has taken, with a warning in the log. Call it
    /// when everything listens.
    pub fn close_the_rest(&self) {
        self.inherited.close_the_rest().iter().for_each(|unused| warn!("{unused}"));
    }

    /// Listens on `address`, which the configuration calls `key`. The listener is to outlive this process.
    ///
    /// # Errors
    /// When the address is in use, not this machine's, or needs rights; when the supervisor
    /// does not answer within five seconds.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn bind(&self, key: &str, address: SocketAddr) -> Result<TcpListener, ListenerError> {
        let Some(pending) = &self.supervisor else { return self.bind_here(key, address, true) };
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

    /// Resolves `address`, `host:port`, the value of the setting `key`, and listens there as [`bind`](Self::bind) does.
    /// Returns the address of the socket, too.
    ///
    /// # Errors
    /// When the address does not resolve, and as [`bind`](Self::bind).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open(&self, key: &str, address: &str) -> Result<(TcpListener, SocketAddr), BindError> {
        let listener = self.bind(key, crate::resolve(key, address).await?).await?;
        let address =
            listener.local_addr().map_err(|source| BindError::Socket { key: key.to_owned(), source })?;
        Ok((listener, address))
    }

    /// Listens on `address`, which the configuration calls `key`, as long as this process lives: on the socket that the
    /// service manager has passed for it, if there is one. Where `address` is `[::]` and no socket was passed, `dual`
    /// says whether it takes IPv4 connections too.
    ///
    /// # Errors
    /// As [`bind_as`](crate::bind_as), and when the service manager has passed a socket for `key` with another address.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind_here(
        &self,
        key: &str,
        address: SocketAddr,
        dual: bool,
    ) -> Result<TcpListener, ListenerError> {
        let unusable = |source| ListenerError::Socket { key: key.to_owned(), address, source };
        match self.inherited.take(key, address) {
            Ok(None) => Ok(crate::bind_as(key, address, dual)?),
            Ok(Some(listener)) => {
                listener.set_nonblocking(true).map_err(unusable)?;
                TcpListener::from_std(listener).map_err(unusable)
            }
            Err(passed) => Err(ListenerError::OtherAddress { key: key.to_owned(), address, passed }),
        }
    }

    /// Whether the supervisor holds the listeners, so that another process may take connections from the same queue.
    pub fn is_supervisor(&self) -> bool {
        self.supervisor.is_some()
    }

    /// Passes the supervisor's answer to the call of [`ListenerSource::bind`] that waits for it.
    pub(crate) fn answer(&self, key: &str, socket: Result<Socket, String>) {
        let Some(pending) = &self.supervisor else { return };
        if let Some(sender) = pending.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            let _ = sender.send(socket);
        }
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}
