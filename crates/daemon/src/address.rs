//! Addresses out of a configuration: from text to a listening socket.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;

/// How many connections may wait to be accepted. Systems take less where their
/// own limit (Linux: `net.core.somaxconn`) is lower.
const BACKLOG: u32 = 4096;

/// The first address that `address`, `ip:port` or `host:port`, stands for; `key`
/// is what the configuration calls it.
///
/// # Errors
/// When it is neither, or the host is unknown.
pub async fn resolve(key: &str, address: &str) -> anyhow::Result<SocketAddr> {
    tokio::net::lookup_host(address)
        .await
        .with_context(|| format!("{key} = \"{address}\": not an address like 127.0.0.1:1236"))?
        .next()
        .ok_or_else(|| anyhow!("{key} = \"{address}\": the host has no address"))
}

/// Listens on `address`, which the configuration calls `key`.
///
/// # Errors
/// When the address is in use, not this machine's, or needs rights.
///
/// # Panics
/// Outside a tokio runtime.
pub fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    bind_as(key, address, true)
}

/// The same, where an IPv6 address that stands for all of them may be told not to take
/// IPv4 connections too: `dual` says whether it does.
///
/// # Errors
/// As [`bind`].
///
/// # Panics
/// Outside a tokio runtime.
pub fn bind_as(key: &str, address: SocketAddr, dual: bool) -> anyhow::Result<TcpListener> {
    gatewayworker_net::listen(address, dual, BACKLOG)
        .map_err(|error| anyhow!("{key}: cannot listen on {address}: {}", explain(&error)))
}

/// Whom a listener shares its port with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// With nobody.
    Nobody,
    /// With the process that will take this one's place, while this one drains.
    Successor,
    /// With the process whose place this one takes.
    Predecessor,
}

/// [`bind`], for a daemon whose successor listens before it has ended. On Windows, where
/// any program could share the port then, none does.
///
/// # Errors
/// As [`bind`]; a port that a stranger has is in use for a first one as for any other.
///
/// # Panics
/// Outside a tokio runtime.
pub fn bind_shared(key: &str, address: SocketAddr, sharing: Sharing) -> anyhow::Result<TcpListener> {
    if sharing != Sharing::Predecessor || cfg!(not(unix)) {
        let alone = bind(key, address)?;
        if sharing == Sharing::Nobody || address.port() == 0 || cfg!(not(unix)) {
            return Ok(alone);
        }
    }
    gatewayworker_net::listen_shared(address, BACKLOG)
        .map_err(|error| anyhow!("{key}: cannot listen on {address}: {}", explain(&error)))
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            "address already in use: another daemon may be running; stop it or choose another port".into()
        }
        ErrorKind::AddrNotAvailable => "not an address of this machine".into(),
        ErrorKind::PermissionDenied => {
            "not permitted: ports below 1024 need rights; choose a higher one".into()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_none_is_named_with_its_key() {
        for wrong in ["", "nonsense", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999"] {
            let error = format!("{:#}", resolve("listen", wrong).await.unwrap_err());
            assert!(error.starts_with(&format!("listen = \"{wrong}\": ")), "{error}");
        }
        assert_eq!(resolve("listen", "127.0.0.1:1236").await.unwrap().to_string(), "127.0.0.1:1236");
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_what_to_do() {
        let first = bind("listen", "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind("listen", address).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("listen: cannot listen on {address}: address already in use: ")),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_a_successor_shares_a_port() {
        let free = bind("listen", "127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap();
        let first = bind_shared("listen", free, Sharing::Successor).unwrap();
        for stranger in [Sharing::Nobody, Sharing::Successor] {
            assert!(bind_shared("listen", free, stranger).is_err());
        }
        let second = bind_shared("listen", free, Sharing::Predecessor).unwrap();
        drop(first);
        let _client = tokio::net::TcpStream::connect(free).await.unwrap();
        second.accept().await.unwrap();
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let error = bind("listen", "192.0.2.1:0".parse().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with("not an address of this machine"), "{error}");
    }
}
