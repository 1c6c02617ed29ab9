//! How a worker or a client library connects its links to gateways: the one place for all of them.
//!
//! It tries the gateway's Unix socket first, which answers at once where the gateway is on this host,
//! and then TCP. Connections to registers are made by `registers`.

use std::io;
use std::net::SocketAddrV4;

use crate::{LinkStream, LinkTls, unix_links};

/// Connects links to gateways. It is cheap to clone.
#[derive(Debug, Clone)]
pub struct LinkConnector {
    tls: Option<LinkTls>,
    unix_links: bool,
}

impl Default for LinkConnector {
    fn default() -> Self {
        Self { tls: None, unix_links: true }
    }
}

impl LinkConnector {
    /// Speaks TLS with gateways; not by default.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<LinkTls>) -> Self {
        self.tls = tls;
        self
    }

    /// Whether links to gateways of this host go over Unix sockets; they do by default.
    #[must_use]
    pub fn with_unix_links(mut self, unix_links: bool) -> Self {
        self.unix_links = unix_links;
        self
    }

    /// The settings of TLS.
    pub fn tls(&self) -> Option<&LinkTls> {
        self.tls.as_ref()
    }

    /// Connects to the gateway that announces `gateway`, over its Unix socket where there is one to be
    /// trusted, over TCP otherwise. TLS is the same over both.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`LinkStream::connect`].
    pub async fn connect(&self, gateway: SocketAddrV4) -> io::Result<LinkStream> {
        if self.unix_links
            && let Some(socket) = unix_links::connect(gateway).await
        {
            return LinkStream::connected(socket, self.tls()).await;
        }
        LinkStream::connect(gateway, self.tls()).await
    }
}
