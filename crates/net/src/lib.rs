//! What both ends of a link between daemons share.
//!
//! - [`LinkWriter`]: a bounded outbox before a socket,
//! - [`LineReader`]: lines of bounded length,
//! - [`Backoff`]: how long to wait before the next try,
//! - [`registers`]: announcing to registers and following what they say; [`RegisterLinks`]: how
//!   that goes,
//! - [`LogLimiter`]: one log line a second for what happens often,
//! - [`Network`]: what counts as one address,
//! - [`connect`], [`tune`]: sockets as the daemons want them.
//!
//! It knows the wires of `gatewayworker-protocol` and tokio, but neither
//! configuration nor logging set-up: a client library uses it too.

#![cfg_attr(
    not(feature = "internals"),
    allow(unreachable_pub, reason = "the decisions about registers are public to the simulator only")
)]

mod address_lists;
mod backoff;
mod line;
mod link;
mod log_limiter;
mod network;
mod register_connection;
mod register_links;
pub mod registers;

pub use backoff::Backoff;
pub use line::{LineError, LineReader};
pub use link::{LinkWriter, PushError};
pub use log_limiter::LogLimiter;
pub use network::Network;
pub use register_links::RegisterLinks;

/// The decisions about registers, for the simulator.
///
/// Not an interface: it exists only with the feature `internals`, and may change with any commit.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::address_lists::AddressLists;
    pub use crate::register_connection::{ConnectionEnd, Effect, RegisterConnection};
    pub use crate::register_links::RegisterTroubles;
}

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, ToSocketAddrs};

/// How long a connection attempt may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a peer daemon within [`CONNECT_TIMEOUT`], tuned as [`tune`] does.
///
/// # Errors
/// When the address does not resolve, nobody answers, or time runs out.
pub async fn connect(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection attempt"))??;
    tune(&stream);
    Ok(stream)
}

/// Sends small writes at once, and lets the kernel find out that a silent peer's
/// host is gone. Failing to set either is no reason not to talk.
///
/// On Linux, what a listener accepts has the options that the listener has: setting
/// them there spares four calls to the system for each connection.
pub fn tune<'a>(socket: impl Into<SockRef<'a>>) {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    let socket = socket.into();
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// Listens on `address`, so that a daemon may start again at once although old
/// connections of its predecessor are still in TIME_WAIT. `[::]` takes IPv4 connections
/// too if it is to be `dual`, on every system.
///
/// # Errors
/// When the address is in use or not this machine's.
pub fn listen(address: SocketAddr, dual: bool, backlog: u32) -> io::Result<tokio::net::TcpListener> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    // On Windows the option would let two daemons share a port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // Windows has it otherwise than Linux, and Linux as its administrator wants it.
        SockRef::from(&socket).set_only_v6(!dual)?;
    }
    socket.bind(address)?;
    socket.listen(backlog)
}
