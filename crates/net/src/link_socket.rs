//! The socket under a link: TCP, or a Unix socket where both ends are on one host.
//!
//! [`LinkStream`](crate::LinkStream) puts TLS over it where that is set, and nothing else knows which of
//! the two it is. `unix_links` makes Unix sockets; the daemons' listeners and [`connect`](crate::connect)
//! make TCP. Without Linux there is TCP only.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
#[cfg(target_os = "linux")]
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::task::ready;
use std::task::{Context, Poll};

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, tcp};

#[cfg(target_os = "linux")]
use crate::unix_socket::UnixSocket;

/// The transport of a link, as `status` and logs show it: `tcp` or `unix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, to this host or another.
    Tcp,
    /// A Unix socket, within this host.
    Unix,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
        })
    }
}

/// The peer of a link, as `status` and logs show it: `10.0.0.1:5000`, or `unix:4242` for the process 4242
/// of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkPeer {
    /// Its address.
    Tcp(SocketAddr),
    /// Its process; `None` where that is in another namespace of process ids.
    Unix(Option<i32>),
}

impl fmt::Display for LinkPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(Some(process)) => write!(f, "unix:{process}"),
            Self::Unix(None) => f.write_str("unix"),
        }
    }
}

/// The connected socket of a link.
#[derive(Debug)]
pub enum LinkSocket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    #[cfg(target_os = "linux")]
    Unix(UnixSocket),
}

/// A [`LinkSocket`] that belongs to no runtime, on its way to another thread.
#[derive(Debug)]
pub enum DetachedLinkSocket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A Unix socket.
    #[cfg(target_os = "linux")]
    Unix(std::os::unix::net::UnixStream),
}

/// A borrowed [`LinkSocket`], whole or split: to read its addresses, to set its options.
#[derive(Debug, Clone, Copy)]
pub enum LinkSocketRef<'a> {
    /// TCP.
    Tcp(&'a TcpStream),
    /// A Unix socket.
    #[cfg(target_os = "linux")]
    Unix(&'a UnixSocket),
}

/// The reading half of a [`LinkSocket`].
#[derive(Debug)]
pub(crate) enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    #[cfg(target_os = "linux")]
    Unix(Arc<UnixSocket>),
}

/// The writing half of a [`LinkSocket`]. The peer reads the end when it is dropped.
#[derive(Debug)]
pub(crate) enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    #[cfg(target_os = "linux")]
    Unix(UnixWriteHalf),
}

/// The writing half of a Unix socket. The peer reads the end when it is dropped.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct UnixWriteHalf(Arc<UnixSocket>);

#[cfg(target_os = "linux")]
impl Drop for UnixWriteHalf {
    fn drop(&mut self) {
        // It fails where the connection has ended.
        let _ = SockRef::from(&*self.0).shutdown(std::net::Shutdown::Write);
    }
}

/// Does the same with either socket.
macro_rules! either {
    ($socket:expr, $name:ident => $do:expr) => {
        match $socket {
            Self::Tcp($name) => $do,
            #[cfg(target_os = "linux")]
            Self::Unix($name) => $do,
        }
    };
}

impl LinkSocket {
    /// The socket, borrowed.
    pub fn by_ref(&self) -> LinkSocketRef<'_> {
        match self {
            Self::Tcp(socket) => LinkSocketRef::Tcp(socket),
            #[cfg(target_os = "linux")]
            Self::Unix(socket) => LinkSocketRef::Unix(socket),
        }
    }

    /// Sets what [`tune`](crate::tune) does, where it is TCP.
    pub fn tune(&self) {
        if let Self::Tcp(socket) = self {
            crate::tune(socket);
        }
    }

    /// Takes the socket from its runtime.
    ///
    /// # Errors
    /// When the runtime does not let it go.
    pub fn detach(self) -> io::Result<DetachedLinkSocket> {
        Ok(match self {
            Self::Tcp(socket) => DetachedLinkSocket::Tcp(socket.into_std()?),
            #[cfg(target_os = "linux")]
            Self::Unix(socket) => DetachedLinkSocket::Unix(socket.into_std()),
        })
    }

    pub(crate) fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(socket) => {
                let (reading, writing) = socket.into_split();
                (ReadHalf::Tcp(reading), WriteHalf::Tcp(writing))
            }
            #[cfg(target_os = "linux")]
            Self::Unix(socket) => {
                let socket = Arc::new(socket);
                (ReadHalf::Unix(socket.clone()), WriteHalf::Unix(UnixWriteHalf(socket)))
            }
        }
    }
}

impl From<TcpStream> for LinkSocket {
    fn from(socket: TcpStream) -> Self {
        Self::Tcp(socket)
    }
}

impl DetachedLinkSocket {
    /// Gives the socket to the runtime of this thread.
    ///
    /// # Errors
    /// When the runtime cannot take it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn attach(self) -> io::Result<LinkSocket> {
        Ok(match self {
            Self::Tcp(socket) => LinkSocket::Tcp(TcpStream::from_std(socket)?),
            #[cfg(target_os = "linux")]
            Self::Unix(socket) => LinkSocket::Unix(UnixSocket::new(socket)?),
        })
    }
}

impl LinkSocketRef<'_> {
    /// Its transport.
    pub fn transport(self) -> Transport {
        match self {
            Self::Tcp(_) => Transport::Tcp,
            #[cfg(target_os = "linux")]
            Self::Unix(_) => Transport::Unix,
        }
    }

    /// The process or address at the other end.
    ///
    /// # Errors
    /// When the system does not know it, for example as the connection has ended.
    pub fn peer(self) -> io::Result<LinkPeer> {
        match self {
            Self::Tcp(socket) => socket.peer_addr().map(LinkPeer::Tcp),
            #[cfg(target_os = "linux")]
            Self::Unix(socket) => Ok(LinkPeer::Unix(socket.peer()?.process)),
        }
    }

    /// The address of this end; `None` where it has none: a Unix socket, or a connection that has ended.
    pub fn local_addr(self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            #[cfg(target_os = "linux")]
            Self::Unix(_) => None,
        }
    }

    /// Waits until the socket takes bytes, as far as the runtime knows.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the runtime ends.
    pub async fn writable(self) -> io::Result<()> {
        either!(self, socket => socket.writable().await)
    }

    /// Waits until the socket has bytes, as far as the runtime knows.
    pub(crate) async fn readable(self) -> io::Result<()> {
        either!(self, socket => socket.readable().await)
    }

    /// Reads what has come, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` where nothing has; others where the connection is broken.
    pub fn try_read(self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, socket => socket.try_read(buffer))
    }

    pub(crate) fn try_read_buf(self, buffer: &mut BytesMut) -> io::Result<usize> {
        either!(self, socket => socket.try_read_buf(buffer))
    }

    pub(crate) fn try_write(self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, socket => socket.try_write(bytes))
    }

    pub(crate) fn poll_read_ready(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => socket.poll_read_ready(cx))
    }

    pub(crate) fn poll_write_ready(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => socket.poll_write_ready(cx))
    }
}

impl<'a> From<LinkSocketRef<'a>> for SockRef<'a> {
    fn from(socket: LinkSocketRef<'a>) -> Self {
        match socket {
            LinkSocketRef::Tcp(socket) => SockRef::from(socket),
            #[cfg(target_os = "linux")]
            LinkSocketRef::Unix(socket) => SockRef::from(socket),
        }
    }
}

impl ReadHalf {
    pub(crate) fn by_ref(&self) -> LinkSocketRef<'_> {
        match self {
            Self::Tcp(half) => LinkSocketRef::Tcp(half.as_ref()),
            #[cfg(target_os = "linux")]
            Self::Unix(half) => LinkSocketRef::Unix(half),
        }
    }
}

impl WriteHalf {
    pub(crate) fn by_ref(&self) -> LinkSocketRef<'_> {
        match self {
            Self::Tcp(half) => LinkSocketRef::Tcp(half.as_ref()),
            #[cfg(target_os = "linux")]
            Self::Unix(half) => LinkSocketRef::Unix(&half.0),
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_read(cx, buffer),
            #[cfg(target_os = "linux")]
            Self::Unix(half) => half.poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_write(cx, bytes),
            #[cfg(target_os = "linux")]
            Self::Unix(half) => loop {
                match half.0.try_write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    written => return Poll::Ready(written),
                }
                ready!(half.0.poll_write_ready(cx))?;
            },
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing waits outside of the socket.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(self.by_ref()).shutdown(std::net::Shutdown::Write))
    }
}
