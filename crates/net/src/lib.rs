//! Links between daemons: what both ends need.
//!
//! - [`LinkWriter`]: a bounded outbox before a socket,
//! - [`LinkStream`]: the stream of a link: a [`LinkSocket`], TCP or Unix, or TLS ([`LinkTls`]) over it,
//! - [`LinkConnector`]: connects links to gateways; [`UnixLinkListener`]: accepts those of this host,
//! - [`LineReader`]: lines of bounded length,
//! - [`Backoff`]: the wait before the next attempt to connect,
//! - [`registers`]: announcing a gateway to registers and following their lists;
//!   `register_connection`, `connection_lists` and `address_lists` decide for it, [`RegisterLinks`] shows its state, with
//!   `register_view` what the registers bear witness to,
//! - [`AwakeDeadline`]: a deadline for what a peer sends, judged by a process that was awake,
//! - [`HeldFor`]: how long a condition has held, in time that this process was awake,
//! - [`LogLimiter`]: one log line a second for what happens often,
//! - [`AddressPrefix`]: the unit in which client addresses are counted,
//! - [`connect`], [`tune`], [`limit_retransmission_pause`]: sockets as the daemons want them.
//!
//! It depends on `gatewayworker-protocol` and tokio. It has no configuration and sets up no logging,
//! as client libraries use it, too.

#![cfg_attr(
    not(feature = "internals"),
    allow(unreachable_pub, reason = "the decisions about registers are public to the simulator only")
)]

mod address_lists;
mod address_prefix;
mod awake_deadline;
mod backoff;
mod connection_end;
mod connection_lists;
mod held_for;
mod line;
mod link;
mod link_connector;
mod link_socket;
mod link_stream;
mod link_tls;
mod log_limiter;
mod register_connection;
mod register_links;
mod register_view;
pub mod registers;
mod retransmission;
mod unix_links;
#[cfg(target_os = "linux")]
mod unix_socket;

pub use address_prefix::AddressPrefix;
pub use awake_deadline::AwakeDeadline;
pub use backoff::Backoff;
pub use held_for::HeldFor;
pub use line::{LineError, LineReader};
pub use link::{LinkWriter, PushError};
pub use link_connector::LinkConnector;
pub use link_socket::{DetachedLinkSocket, LinkPeer, LinkSocket, LinkSocketRef, Transport};
pub use link_stream::{LinkReader, LinkSink, LinkStream};
pub use link_tls::{LinkTls, LinkTlsConfig, LinkTlsError};
pub use log_limiter::LogLimiter;
pub use register_links::RegisterLinks;
pub use register_view::WitnessLimits;
pub use retransmission::limit_retransmission_pause;
pub use unix_links::UnixLinkListener;
#[cfg(target_os = "linux")]
pub use unix_socket::UnixSocket;

/// The decisions about registers, for the simulator.
///
/// Not an interface: it exists only with the feature `internals`, and may change with any commit.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::address_lists::AddressLists;
    pub use crate::connection_end::ConnectionEnd;
    pub use crate::connection_lists::Listed;
    pub use crate::register_connection::{Effect, RegisterConnection};
    pub use crate::register_links::RegisterTroubles;
    pub use crate::register_view::RegisterView;
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
/// When the address does not resolve, or the peer does not answer in time.
pub async fn connect(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection attempt"))??;
    tune(&stream);
    Ok(stream)
}

/// Turns Nagle's algorithm off, so that small writes leave at once, and keep-alive on, by which the
/// kernel finds out that the host of a silent peer is gone. Errors are ignored: the link works
/// without either.
///
/// On Linux an accepted connection inherits the options of its listener. Setting them there saves
/// four system calls for each connection.
pub fn tune<'a>(socket: impl Into<SockRef<'a>>) {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    let socket = socket.into();
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// Listens on `address`. A daemon may start again at once, although old connections of its
/// predecessor are still in TIME_WAIT. If `dual`, `[::]` accepts IPv4 connections, too, on every
/// system.
///
/// # Errors
/// When the address is in use or not this machine's.
pub fn listen(address: SocketAddr, dual: bool, backlog: u32) -> io::Result<tokio::net::TcpListener> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    // On Windows this option would let two daemons share a port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // The default differs between Windows and Linux, and an administrator may change it.
        SockRef::from(&socket).set_only_v6(!dual)?;
    }
    socket.bind(address)?;
    socket.listen(backlog)
}
