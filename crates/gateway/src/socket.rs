//! The socket of a client: TCP, or TLS over it.
//!
//! Shards read and write it without waiting, through `&self`: its reading task and
//! whoever flushes hold it together. While a client is let in it has one owner, who may
//! use it as any stream.

use std::ffi::c_int;
use std::io::{self, ErrorKind, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::TlsSocket;

/// A client's connection.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    /// Boxed: a plain client shall not have the place for it.
    Tls(Box<TlsSocket>),
}

/// What a read has brought.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadOutcome {
    /// So many bytes; none at the end of the connection.
    pub(crate) bytes: usize,
    /// There was no place for more: there may be some.
    pub(crate) more: bool,
}

impl Socket {
    /// The TCP connection below, whose readiness is the socket's.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
        }
    }

    /// Waits until [`try_read`](Self::try_read) may bring something.
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

    /// Whether the peer is known to have ended the connection, or its side of it, though what
    /// it said before may be unread. Asks nobody, and waits for nothing.
    pub(crate) async fn is_half_closed(&self) -> bool {
        tokio::select! {
            biased;
            ready = self.tcp().ready(Interest::READABLE) => ready.is_ok_and(|ready| ready.is_read_closed()),
            () = std::future::ready(()) => false,
        }
    }

    /// Says that nothing more will be written, where the protocol has a word for that, as
    /// far as the socket takes it without waiting.
    pub(crate) fn close_notify(&self) {
        if let Self::Tls(tls) = self {
            tls.close_notify();
        }
    }

    /// How many bytes of what is to be written next are on their way already, though they are
    /// not counted as written.
    pub(crate) fn sealed(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.sealed(),
        }
    }

    /// Waits until all is with the system that was written.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_drain(cx),
        }
    }
}

/// Whether trying again may go better.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Reads what is there, `WouldBlock` if nothing is.
pub(crate) fn receive(tcp: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = None;
    let tried = tcp.try_io(Interest::READABLE, || {
        let bytes = (&*SockRef::from(tcp)).read(buffer)?;
        read = Some(bytes);
        // Less than there was place for: the socket is empty, as the next read would only
        // confirm. Where a selector tells of changes, that is enough.
        if bytes < buffer.len() && cfg!(unix) { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match (read, tried) {
        (Some(bytes), _) => Ok(bytes),
        (None, tried) => Err(tried.err().unwrap_or_else(|| ErrorKind::WouldBlock.into())),
    }
}

/// Writes past tokio, which would look first whether it knows the socket to be full; it
/// is asked where that is so, and then knows.
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
                read => return Poll::Ready(read.map(|fresh| buffer.advance(fresh.bytes))),
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
