//! Binding the gateway's listeners, before anything is started.

use std::net::SocketAddr;

use gatewayworker_daemon::{bind, bind_as, check_exposure, resolve};
use tokio::net::TcpListener;

use crate::config::{Config, ListenUrl};

/// The gateway's listeners, bound: tests bind them to port 0.
#[derive(Debug)]
pub struct BoundListeners {
    /// For clients, one for each in the configuration's `listen`.
    pub clients: Vec<TcpListener>,
    /// For workers and client libraries.
    pub inner: TcpListener,
}

impl BoundListeners {
    /// Binds what `config` says.
    ///
    /// # Errors
    /// When an address does not resolve, is in use, or would let anybody in.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let inner = match &config.lan_listen {
            Some(address) => resolve("lan_listen", address).await?,
            None => SocketAddr::from((config.lan_ip, config.lan_port)),
        };
        check_exposure("the gateway's inner port", inner.ip(), &config.secret_key, config.allow_insecure)?;
        let inner = bind("lan_port", inner)?;
        let mut addresses = Vec::new();
        for listener in &config.listen {
            addresses.push(resolve("listen", listener.url.address()).await?);
        }
        let clients = addresses.iter().map(|address| {
            // [::] takes IPv4 too, unless that has a listener of its own.
            let twin =
                |other: &&SocketAddr| other.is_ipv4() && other.port() == address.port() && other.port() != 0;
            let alone = addresses.iter().find(twin).is_none();
            bind_as("listen", *address, alone)
        });
        Ok(Self { clients: clients.collect::<Result<_, _>>()?, inner })
    }

    /// The clients' addresses, as people write them.
    ///
    /// # Errors
    /// When the system does not know its own sockets.
    pub fn urls(&self, config: &Config) -> anyhow::Result<Vec<ListenUrl>> {
        let listeners = self.clients.iter().zip(&config.listen);
        listeners.map(|(socket, listener)| Ok(listener.bound_to(socket.local_addr()?))).collect()
    }
}
