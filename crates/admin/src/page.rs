//! The listener of the page, and the thread that serves it.
//!
//! A daemon opens the page with its other listeners, before it says that it is ready, and starts to serve it then.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use gatewayworker_client::SecretKey;
use gatewayworker_daemon::{BindError, Counter, ListenerSource, Warnings};
use gatewayworker_http::api::TokenGuard;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use crate::config::{LISTEN, check_exposure};
use crate::monitor::{DaemonLook, Monitor};
use crate::shared::Shared;
use crate::{Access, Config, ConfigError, poller, server};

/// How many wrong tokens an address may show within a minute.
const MAX_AUTH_FAILURES: u32 = 10;

/// How many requests with the token run at once.
const CONCURRENCY: usize = 32;

/// The page, which listens and is not served yet.
#[derive(Debug)]
#[must_use = "nobody is answered until it is started"]
pub struct Page {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<SecretKey>,
    hosts: Vec<String>,
}

/// What the page is about.
#[derive(Debug)]
pub struct About {
    /// What serves it: `gatewayworker start`, `register`, `gateway` or `businessworker`.
    pub served_by: &'static str,
    /// The cluster.
    pub access: Access,
    /// The warnings of the log, if it is known.
    pub warnings: Option<Warnings>,
    /// The processes of a supervisor, which changes them; `None` for any other daemon.
    pub daemons: Option<watch::Receiver<Vec<DaemonLook>>>,
}

/// The page, which is served until this is dropped.
#[derive(Debug)]
#[must_use = "the page ends with it"]
pub struct ServedPage {
    _end: DropGuard,
}

/// Why the page cannot be opened. The text names the setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Listens where `config` says, with a socket from `listeners`; returns `None` where it says nowhere. Logs the address,
/// with a warning if other machines could read the token on its way. `secret_key` is the cluster's.
///
/// # Errors
/// When the address does not resolve or is in use, and when a setting cannot work.
pub async fn open(
    config: &Config,
    secret_key: &SecretKey,
    listeners: &ListenerSource,
) -> Result<Option<Page>, OpenError> {
    let Some(listen) = &config.listen else { return Ok(None) };
    let token = config.read_token(secret_key)?;
    let (listener, address) = listeners.open(LISTEN, listen).await?;
    check_exposure(address.ip(), token.as_ref())?;
    info!(%address, "the page for operators listens");
    if !address.ip().to_canonical().is_loopback() {
        warn!(
            %address,
            "admin.listen: HTTP is not encrypted, and the token goes over it: put a proxy with TLS before it, nginx \
             for example"
        );
    }
    Ok(Some(Page { listener, address, token, hosts: config.hosts.clone() }))
}

impl Page {
    /// Returns the URL of the page, as a daemon reports it.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Serves the page on a thread of its own, until `end` is cancelled or what is returned is dropped.
    ///
    /// # Errors
    /// When the system has no thread left.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self, about: About, end: CancellationToken) -> io::Result<ServedPage> {
        let Self { listener, address, token, hosts } = self;
        let About { served_by, access, warnings, daemons } = about;
        let end = end.child_token();
        let shutdown = end.clone();
        let serve = move |listener| async move {
            let shared = Arc::new(Shared {
                address,
                served_by,
                inspector: access.inspector(),
                access,
                gateway: OnceCell::new(),
                monitor: Mutex::new(Monitor::default()),
                token: token.map(|token| TokenGuard::new(token, MAX_AUTH_FAILURES)),
                hosts,
                daemons,
                warnings,
                request_permits: Semaphore::new(CONCURRENCY),
                rejected: Counter::default(),
            });
            tokio::select! {
                never = poller::run(&shared) => match never {},
                () = server::serve(listener, shared.clone(), shutdown) => {}
            }
        };
        gatewayworker_daemon::serve_on_thread("admin-page", listener, serve)?;
        Ok(ServedPage { _end: end.drop_guard() })
    }
}
