//! What all requests share, and the address of a request's peer.
//!
//! `server` makes it; `authorization` and `routes` read it.

use std::net::IpAddr;

use gatewayworker_client::Gateway;
use gatewayworker_net::LogLimiter;
use tokio::sync::Semaphore;

use crate::Config;
use crate::auth_failures::AuthFailures;
use crate::stats::HttpStats;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) gateway: Gateway,
    pub(crate) failures: AuthFailures,
    /// One permit for each request that may run.
    pub(crate) request_permits: Semaphore,
    pub(crate) stats: HttpStats,
    /// Limits the log lines about addresses that sent too many wrong tokens.
    pub(crate) locked_out: LogLimiter,
}

/// The address of the peer of a request's connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);
