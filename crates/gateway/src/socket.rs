//! The socket of a client, plain or TLS.
//!
//! A shard reads and writes it without waiting, through `&self`: the reading task (`client::reading`)
//! and the flush (`transmit`) share it. During the handshake it has one owner, which uses it as an
//! `AsyncRead` and `AsyncWrite`.

use std::ffi::c_int;
use std::io::{self, ErrorKind, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::{TlsSession, TlsSocket};

/// A client's connection.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    /// Boxed, so that a plain socket stays small.
    Tls(Box<TlsSocket>),
}

/// The outcome of a read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadOutcome {
    /// How many bytes were read; 0 at the end of the connection.
    pub(crate) bytes: usize,
    /// The buffer was filled, so more bytes may be there.
    pub(crate) more: bool,
}

/// A client's connection that no thread's selector watches: on its way from one shard to another.
pub(crate) struct DetachedSocket {
    tcp: std::net::TcpStream,
    tls: Option<TlsSession>,
}

impl DetachedSocket {
    /// Has the connection watched by this thread.
    ///
    /// # Errors
    /// When the system fails.
    pub(crate) fn attach(self) -> io::Result<Socket> {
        let tcp = TcpStream::from_std(self.tcp)?;
        Ok(match self.tls {
            None => Socket::Plain(tcp),
            Some(session) => Socket::Tls(Box::new(TlsSocket::of_parts(tcp, session))),
        })
    }
}

impl Socket {
    /// Takes the connection off this thread, to be given to another one.
    ///
    /// # Errors
    /// When the system fails.
    pub(crate) fn detach(self) -> io::Result<DetachedSocket> {
        let (tcp, tls) = match self {
            Self::Plain(tcp) => (tcp, None),
            Self::Tls(tls) => {
                let (tcp, session) = tls.into_parts();
                (tcp, Some(session))
            }
        };
        Ok(DetachedSocket { tcp: tcp.into_std()?, tls })
    }

    /// Returns the TCP connection, whose readiness is the socket's.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
        }
    }

    /// Waits until [`try_read`](Self::try_read) may return bytes.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(tls) if tls.is_readable() => Poll::Ready(Ok(())),
            _ => self.tcp().poll_read_ready(cx),
        }
    }

    /// Reads without waiting.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there yet.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<ReadOutcome> {
        match self {
            Self::Plain(tcp) => {
                let bytes = receive(tcp, buffer)?;
                Ok(ReadOutcome { bytes, more: bytes == buffer.len() })
            }
            Self::Tls(tls) => tls.try_read(buffer),
        }
    }

    /// Returns whether the peer is known to have ended the connection or its side of it, even if
    /// bytes before that are unread. Does not wait.
    pub(crate) async fn is_half_closed(&self) -> bool {
        tokio::select! {
            biased;
            ready = self.tcp().ready(Interest::READABLE) => ready.is_ok_and(|ready| ready.is_read_closed()),
            () = std::future::ready(()) => false,
        }
    }

    /// Writes the close_notify of TLS, as far as the socket takes it without waiting. Does nothing on
    /// a plain socket.
    pub(crate) fn close_notify(&self) {
        if let Self::Tls(tls) = self {
            tls.close_notify();
        }
    }

    /// Returns how many of the next bytes are in a TLS record already, though they do not count as
    /// written yet.
    pub(crate) fn sealed(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.sealed(),
        }
    }

    /// Waits until the system has taken all that was written.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_drain(cx),
        }
    }
}

/// Returns whether the operation may succeed when it is tried again.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Reads from TCP without waiting.
///
/// # Errors
/// `WouldBlock` where nothing is there yet.
pub(crate) fn receive(tcp: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = None;
    let tried = tcp.try_io(Interest::READABLE, || {
        let bytes = (&*SockRef::from(tcp)).read(buffer)?;
        read = Some(bytes);
        // A short read means an empty socket: saying so to tokio saves the read that would only
        // confirm it. On Unix the selector reports the next bytes.
        if bytes < buffer.len() && cfg!(unix) { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match (read, tried) {
        (Some(bytes), _) => Ok(bytes),
        (None, tried) => Err(tried.err().unwrap_or_else(|| ErrorKind::WouldBlock.into())),
    }
}

/// Writes to TCP without waiting and without asking tokio first, which saves its check. Only a full
/// socket goes through tokio, so that it registers for writability.
pub(crate) fn send(tcp: &TcpStream, bytes: &[u8], flags: c_int) -> io::Result<usize> {
    match SockRef::from(tcp).send_with_flags(bytes, flags) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => tcp.try_write(bytes),
        sent => sent,
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_readable(cx))?;
            match self.try_read(buffer.initialize_unfilled()) {
                Err(error) if is_transient(&error) => {}
                read => return Poll::Ready(read.map(|read| buffer.advance(read.bytes))),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => tls.poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        self.close_notify();
        ready!(self.poll_drain(cx))?;
        Poll::Ready(SockRef::from(self.tcp()).shutdown(std::net::Shutdown::Write))
    }
}
