//! What all requests share, and the address of a request's peer.
//!
//! `server` makes it; `authorization` and `routes` read it.

use std::net::IpAddr;

use gatewayworker_client::Gateway;
use tokio::sync::Semaphore;

use crate::Config;
use crate::api::TokenGuard;
use crate::stats::HttpStats;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) gateway: Gateway,
    pub(crate) token: TokenGuard,
    /// One permit for each request that may run.
    pub(crate) request_permits: Semaphore,
    pub(crate) stats: HttpStats,
}

/// The address of the peer of a request's connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);
