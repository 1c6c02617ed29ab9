//! Binding the gateway's sockets, before anything is started: an address in use or an open inner
//! port is found here. [`serve`](super::serve) takes them.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use gatewayworker_daemon::{ListenerSource, check_exposure, resolve};
use gatewayworker_net::UnixLinkListener;
use tokio::net::TcpListener;
use tracing::warn;

use crate::config::{Config, ListenUrl, ListenerConfig};
use crate::error::Error;

/// The gateway's bound sockets. Tests bind them themselves, to port 0.
#[derive(Debug)]
pub struct BoundListeners {
    /// The sockets for clients, one for each entry of [`Config::listen`] and in that order.
    pub clients: Vec<TcpListener>,
    /// The socket for links of workers and client libraries.
    pub inner: TcpListener,
}

impl BoundListeners {
    /// Binds the addresses of `config`.
    ///
    /// # Errors
    /// When an address does not resolve or is in use, or when the inner port would be open to
    /// everybody: not on loopback, without a secret key, and not `allow_insecure`.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        Self::bind_with(config, &ListenerSource::default()).await
    }

    /// Binds the addresses of `config`, or takes the sockets that the service manager has passed for them: for clients
    /// by the name `listen`, for links by the name `lan_port`.
    ///
    /// # Errors
    /// As [`BoundListeners::bind`], and when a socket was passed with another address.
    pub(crate) async fn bind_with(config: &Config, listeners: &ListenerSource) -> Result<Self, Error> {
        let inner = match &config.lan_listen {
            Some(address) => resolve("lan_listen", address).await?,
            None => {
                let lan_ip = config.lan_ip.resolve(&config.register_address).await?;
                SocketAddr::from((lan_ip, config.lan_port))
            }
        };
        check_exposure("the gateway's inner port", inner.ip(), &config.secret_key, config.allow_insecure)?;
        let inner = listeners.bind_here("lan_port", inner, true)?;
        let mut addresses = Vec::new();
        for listener in &config.listen {
            addresses.push(resolve("listen", listener.url.address()).await?);
        }
        let clients = addresses.iter().map(|address| {
            // [::] accepts IPv4 too, unless another listener binds the port for IPv4.
            let twin =
                |other: &&SocketAddr| other.is_ipv4() && other.port() == address.port() && other.port() != 0;
            let is_dual_stack = addresses.iter().find(twin).is_none();
            listeners.bind_here("listen", *address, is_dual_stack)
        });
        Ok(Self { clients: clients.collect::<Result<_, _>>()?, inner })
    }

    /// Returns the URLs by which clients reach the gateway, in the order of [`Config::listen`].
    ///
    /// # Errors
    /// When the system does not know its own sockets.
    pub fn urls(&self, config: &Config) -> Result<Vec<ListenUrl>, Error> {
        let listeners = self.clients.iter().zip(&config.listen);
        let url = |(socket, listener): (&TcpListener, &ListenerConfig)| {
            Ok(listener.bound_to(socket.local_addr().map_err(Error::LocalAddress)?))
        };
        listeners.map(url).collect()
    }
}

/// Listens for links of this host beside the inner port. `None` where `unix_links` is off, where the gateway
/// announces another address than it binds, so that something stands between that may be meant to,
/// or where the name is not free.
pub(super) fn listen_for_unix_links(
    inner: &TcpListener,
    announced: SocketAddrV4,
    unix_links: bool,
) -> Option<UnixLinkListener> {
    if !unix_links || !inner.local_addr().is_ok_and(|bound| is_bound_as(bound, announced)) {
        return None;
    }
    match UnixLinkListener::bind(announced) {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
        Err(error) => {
            warn!(
                %error, gateway = %announced,
                "cannot listen on this gateway's Unix socket: links of this host go over TCP"
            );
            None
        }
    }
}

/// Whether connections to `announced` come to a socket that is bound to `bound`.
fn is_bound_as(bound: SocketAddr, announced: SocketAddrV4) -> bool {
    bound.port() == announced.port() && (bound.ip() == *announced.ip() || bound.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_announces_another_address_than_it_binds_has_no_unix_socket() {
        let is_bound = |bound: &str| is_bound_as(bound.parse().unwrap(), "10.0.0.1:2300".parse().unwrap());
        assert!(is_bound("10.0.0.1:2300") && is_bound("0.0.0.0:2300") && is_bound("[::]:2300"));
        assert!(!is_bound("10.0.0.1:2301") && !is_bound("127.0.0.1:2300"));
    }
}
