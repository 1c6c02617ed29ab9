//! What both ends of a link between daemons share.
//!
//! - [`LinkWriter`]: a bounded outbox before a socket,
//! - [`LineReader`]: lines of bounded length,
//! - [`Backoff`]: how long to wait before the next try,
//! - [`registers`]: announcing to registers and following what they say,
//! - [`Network`]: what counts as one address,
//! - [`connect`], [`tune`]: sockets as the daemons want them.
//!
//! It knows the wires of `gatewayworker-protocol` and tokio, but neither
//! configuration nor logging set-up: a client library uses it too.

mod backoff;
mod line;
mod link;
mod network;
pub mod registers;

pub use backoff::Backoff;
pub use line::{LineError, LineReader};
pub use link::{LinkWriter, PushError};
pub use network::Network;

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
    let socket = socket_for(address, dual)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// [`listen`], where other processes of the same user that do so too may listen at the
/// same time (SO_REUSEPORT): Linux deals the connections out among them.
///
/// # Errors
/// When the address is in use by one that does not share it, or not this machine's.
pub fn listen_shared(address: SocketAddr, backlog: u32) -> io::Result<tokio::net::TcpListener> {
    let socket = socket_for(address, true)?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Closes a listener that shares its port, and returns who waited to be accepted: they
/// would be cut off. On Linux nobody comes in between either: who does is not answered, and
/// comes again, a second later, to the one that is left.
///
/// # Panics
/// Outside a tokio runtime.
pub fn close_shared(listener: tokio::net::TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    #[cfg(target_os = "linux")]
    {
        // BPF_RET | BPF_K: of each packet, pass on the first 0 bytes.
        const DROP_ALL: u16 = 0x06;
        let _ = SockRef::from(&listener).attach_filter(&[socket2::SockFilter::new(DROP_ALL, 0, 0, 0)]);
    }
    // tokio asks the system only when that has said that somebody waits, which takes a turn.
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let waiting = std::iter::from_fn(|| listener.accept().ok());
    let to_tokio = |(stream, peer): (std::net::TcpStream, _)| {
        stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream))
            .map(|stream| (stream, peer))
            .ok()
    };
    waiting.filter_map(to_tokio).collect()
}

fn socket_for(address: SocketAddr, dual: bool) -> io::Result<tokio::net::TcpSocket> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    // On Windows the option would let two daemons share a port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // Windows has it otherwise than Linux, and Linux as its administrator wants it.
        SockRef::from(&socket).set_only_v6(!dual)?;
    }
    Ok(socket)
}
