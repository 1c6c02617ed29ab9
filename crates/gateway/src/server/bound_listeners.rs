//! Binding the gateway's sockets, before anything is started: an address in use or an open inner
//! port is found here. [`serve`](super::serve) takes them.

use std::net::SocketAddr;

use gatewayworker_daemon::{ListenerSource, check_exposure, resolve};
use tokio::net::TcpListener;

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
