//! Makes listening sockets out of the addresses in a configuration. Errors name the setting (`key`) and what to do.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// How many connections may wait to be accepted. Systems take less where their
/// own limit (Linux: `net.core.somaxconn`) is lower.
const BACKLOG: u32 = 4096;

/// Why a daemon cannot use an address. The message names the setting, and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The text is neither `ip:port` nor `host:port`, or the host is unknown.
    #[error("{key} = \"{address}\": not an address like 127.0.0.1:1236")]
    Invalid {
        /// The name of the setting.
        key: String,
        /// Its value.
        address: String,
        /// The system's error, where the system was asked.
        source: Option<io::Error>,
    },
    /// The host is known, and has no address.
    #[error("{key} = \"{address}\": the host has no address")]
    NoAddress {
        /// The name of the setting.
        key: String,
        /// Its value.
        address: String,
    },
    /// The address is in use, not this machine's, or needs rights.
    #[error("{key}: cannot listen on {address}: {}", explain(.error))]
    Listen {
        /// The name of the setting.
        key: String,
        /// Where to listen.
        address: SocketAddr,
        /// The system's error. The message has it already, so it is no source.
        error: io::Error,
    },
}

/// Returns the first address that `address`, `ip:port` or `host:port`, stands for. `key` is the name of the setting.
///
/// # Errors
/// When it is neither, or the host is unknown.
pub async fn resolve(key: &str, address: &str) -> Result<SocketAddr, AddressError> {
    match tokio::net::lookup_host(address).await {
        Ok(mut found) => {
            let none = || AddressError::NoAddress { key: key.to_owned(), address: address.to_owned() };
            found.next().ok_or_else(none)
        }
        Err(error) => Err(invalid(key, address, Some(error))),
    }
}

fn invalid(key: &str, address: &str, source: Option<io::Error>) -> AddressError {
    AddressError::Invalid { key: key.to_owned(), address: address.to_owned(), source }
}

/// Checks that `address` is `ip:port` or `host:port`, without looking the host up. `key` is the name of the setting.
///
/// # Errors
/// When it is neither.
pub fn check_address(key: &str, address: &str) -> Result<(), AddressError> {
    let is_one =
        address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if is_one { Ok(()) } else { Err(invalid(key, address, None)) }
}

/// Listens on `address`, the value of the setting `key`. `[::]` takes IPv4 connections too.
///
/// # Errors
/// When the address is in use, not this machine's, or needs rights.
///
/// # Panics
/// Outside a tokio runtime.
pub fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, AddressError> {
    bind_as(key, address, true)
}

/// Listens on `address`, the value of the setting `key`. Where that is `[::]`, `dual` says whether it takes IPv4
/// connections too.
///
/// # Errors
/// As [`bind`].
///
/// # Panics
/// Outside a tokio runtime.
pub fn bind_as(key: &str, address: SocketAddr, dual: bool) -> Result<TcpListener, AddressError> {
    gatewayworker_net::listen(address, dual, BACKLOG).map_err(|error| AddressError::Listen {
        key: key.to_owned(),
        address,
        error,
    })
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
    async fn an_invalid_address_is_named_with_its_key() {
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

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let error = bind("listen", "192.0.2.1:0".parse().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with("not an address of this machine"), "{error}");
    }
}
