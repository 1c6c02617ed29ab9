//! The book of a client: that it is this worker's, and what its `on_close` needs if its gateway is lost.
//!
//! `client_state` keeps one for each client of a gateway that acknowledges events, together with the
//! session as it was last seen.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;

use gatewayworker_protocol::Origin;

/// That a client is this worker's, since the epoch in which its gateway said so last.
// Small: there is one for each client. The gateway and the connection are in the client's id.
#[derive(Debug)]
pub(super) struct Book {
    /// The worker's number of the epoch.
    pub(super) epoch: NonZeroU32,
    client_ip: Ipv4Addr,
    client_port: u16,
    gateway_port: u16,
}

impl Book {
    pub(super) fn new(origin: &Origin, epoch: NonZeroU32) -> Self {
        let (client_ip, client_port) = (*origin.client.ip(), origin.client.port());
        Self { epoch, client_ip, client_port, gateway_port: origin.gateway_port }
    }

    /// Returns the origin of an event of the client.
    pub(super) fn origin(&self, gateway: SocketAddrV4, connection_id: u32) -> Origin {
        let client = SocketAddrV4::new(self.client_ip, self.client_port);
        Origin { gateway, client, connection_id, gateway_port: self.gateway_port }
    }
}
