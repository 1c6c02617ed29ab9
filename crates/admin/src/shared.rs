//! What all requests share. `page` makes it, the `poller` fills it, the answers read it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::Request;
use gatewayworker_client::Gateway;
use gatewayworker_client::inspect::Inspector;
use gatewayworker_daemon::{Counter, Warnings};
use gatewayworker_http::api::TokenGuard;
use tokio::sync::{OnceCell, Semaphore, watch};

use crate::Access;
use crate::monitor::{DaemonLook, Monitor};

/// What all requests share.
pub(crate) struct Shared {
    /// Where the page is served.
    pub(crate) address: SocketAddr,
    /// `gatewayworker start`, `register`, `gateway` or `businessworker`.
    pub(crate) served_by: &'static str,
    pub(crate) access: Access,
    pub(crate) inspector: Inspector,
    /// For calls; connected by the first one.
    pub(crate) gateway: OnceCell<Gateway>,
    pub(crate) monitor: Mutex<Monitor>,
    /// `None` where no token is set: then nobody may do what needs one.
    pub(crate) token: Option<TokenGuard>,
    /// The hosts by whose names the page may be called, beside IP addresses and localhost.
    pub(crate) hosts: Vec<String>,
    /// The supervisor's processes, where the supervisor serves the page.
    pub(crate) daemons: Option<watch::Receiver<Vec<DaemonLook>>>,
    /// The warnings of the log.
    pub(crate) warnings: Option<Warnings>,
    /// One permit for each request with the token that may run.
    pub(crate) request_permits: Semaphore,
    /// Connections over the limit.
    pub(crate) rejected: Counter,
}

impl Shared {
    pub(crate) fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that a register lists a gateway: the key is shown to no other.
    ///
    /// # Errors
    /// When none does, with a sentence.
    pub(crate) fn check_listed(&self, gateway: &str) -> Result<(), String> {
        let is_listed = self.inspector.listed().iter().any(|listed| listed == gateway);
        is_listed.then_some(()).ok_or_else(|| format!("no register lists a gateway at {gateway}"))
    }
}

/// The address of the peer of a request's connection, which `server` adds to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Returns the address of the peer of a request.
pub(crate) fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<Peer>().map(|Peer(peer)| peer.to_canonical())
}
