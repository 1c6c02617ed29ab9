//! The stream of a link between daemons: its socket, or TLS over it.
//!
//! A [`LinkStream`] is connected or accepted, and then split. The [`LinkReader`] belongs to the task
//! that reads the link; the [`LinkSink`] to a [`LinkWriter`](crate::LinkWriter), which any thread
//! may flush without waiting. With TLS both share rustls' state, behind a lock that is held
//! while bytes are read, written, sealed and opened, and never across an await.

use std::io::{self, BufRead, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::link_socket::{ReadHalf, WriteHalf};
use crate::{LinkSocket, LinkSocketRef, LinkTls};

/// How long the handshake of TLS may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many bytes are sealed before the socket is tried, and how many are read from it at once.
const CHUNK: usize = 64 * 1024;

/// How many bytes are read at once where the runtime is not asked.
const DIRECT_CHUNK: usize = 4096;

/// The stream of a link.
#[derive(Debug)]
pub struct LinkStream {
    socket: LinkSocket,
    tls: Option<rustls::Connection>,
}

/// The reading half of a link, for [`AsyncReadExt`](tokio::io::AsyncReadExt).
#[derive(Debug)]
pub struct LinkReader {
    socket: ReadHalf,
    tls: Option<Tls>,
}

/// The writing half of a link, for a [`LinkWriter`](crate::LinkWriter) or for
/// [`AsyncWriteExt`](tokio::io::AsyncWriteExt). What is written over TLS is to be flushed.
#[derive(Debug)]
pub struct LinkSink {
    socket: WriteHalf,
    tls: Option<Tls>,
}

#[derive(Debug, Clone)]
struct Tls(Arc<Mutex<rustls::Connection>>);

impl LinkStream {
    /// A link without TLS.
    pub fn plain(socket: impl Into<LinkSocket>) -> Self {
        Self { socket: socket.into(), tls: None }
    }

    /// Connects to a peer daemon as [`connect`](crate::connect) does, over TLS where `tls` is given.
    ///
    /// # Errors
    /// As `connect`, and when the handshake fails or takes over 10 s.
    pub async fn connect(address: impl ToSocketAddrs, tls: Option<&LinkTls>) -> io::Result<Self> {
        Self::connected(crate::connect(address).await?.into(), tls).await
    }

    /// Takes a socket that is connected to a peer daemon, over TLS where `tls` is given.
    ///
    /// # Errors
    /// When the handshake fails or takes over 10 s.
    pub(crate) async fn connected(socket: LinkSocket, tls: Option<&LinkTls>) -> io::Result<Self> {
        let Some(tls) = tls else { return Ok(Self::plain(socket)) };
        Self::shake_hands(socket, tls.connector()?).await
    }

    /// Takes an accepted connection, over TLS where `tls` is given.
    ///
    /// # Errors
    /// When the handshake fails or takes over 10 s.
    pub async fn accept(socket: impl Into<LinkSocket>, tls: Option<&LinkTls>) -> io::Result<Self> {
        let Some(tls) = tls else { return Ok(Self::plain(socket)) };
        Self::shake_hands(socket.into(), tls.acceptor()?).await
    }

    async fn shake_hands(stream: LinkSocket, mut tls: rustls::Connection) -> io::Result<Self> {
        let socket = stream.by_ref();
        let shaking = async {
            loop {
                while tls.wants_write() {
                    socket.writable().await?;
                    match tls.write_tls(&mut TryWrite(socket, Through::Runtime)) {
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
                if !tls.is_handshaking() {
                    return Ok(());
                }
                socket.readable().await?;
                match tls.read_tls(&mut TryRead(socket, Through::Runtime)) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => {
                        if let Err(error) = tls.process_new_packets() {
                            // The alert says why; the peer need not read it.
                            let _ = tls.write_tls(&mut TryWrite(socket, Through::Runtime));
                            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking).await {
            Ok(Ok(())) => Ok(Self { socket: stream, tls: Some(tls) }),
            Ok(Err(error)) => Err(io::Error::new(error.kind(), format!("link_tls: {error}"))),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "link_tls: no handshake within 10 s")),
        }
    }

    /// The socket.
    pub fn socket(&self) -> LinkSocketRef<'_> {
        self.socket.by_ref()
    }

    /// Puts the two halves of a stream together again, as the socket alone.
    ///
    /// # Errors
    /// The halves, where there is more than a TCP socket.
    pub fn into_tcp(reading: LinkReader, writing: LinkSink) -> Result<TcpStream, (LinkReader, LinkSink)> {
        let (LinkReader { socket: read_half, tls }, LinkSink { socket: write_half, tls: sealing }) =
            (reading, writing);
        match (read_half, write_half) {
            (ReadHalf::Tcp(reading), WriteHalf::Tcp(writing)) if tls.is_none() => {
                reading.reunite(writing).map_err(|ReuniteError(reading, writing)| {
                    (
                        LinkReader { socket: ReadHalf::Tcp(reading), tls: None },
                        LinkSink { socket: WriteHalf::Tcp(writing), tls: None },
                    )
                })
            }
            (reading, writing) => {
                Err((LinkReader { socket: reading, tls }, LinkSink { socket: writing, tls: sealing }))
            }
        }
    }

    /// The two halves.
    pub fn into_split(self) -> (LinkReader, LinkSink) {
        let (reading, writing) = self.socket.into_split();
        let tls = self.tls.map(|tls| Tls(Arc::new(Mutex::new(tls))));
        (LinkReader { socket: reading, tls: tls.clone() }, LinkSink { socket: writing, tls })
    }
}

impl Tls {
    fn lock(&self) -> MutexGuard<'_, rustls::Connection> {
        // Whoever panicked has left the connection in a state that rustls defines.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkReader {
    /// Reads into the buffer what has come already. `None` where nothing has; 0 is the end.
    ///
    /// # Errors
    /// When the connection is broken, or what came is no TLS.
    pub fn try_read_buf(&mut self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        self.try_read_through(buffer, Through::Runtime)
    }

    /// As [`try_read_buf`](Self::try_read_buf), and asks the system: the runtime may not have heard of
    /// what has come.
    ///
    /// # Errors
    /// As `try_read_buf`.
    pub fn try_read_directly(&mut self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        self.try_read_through(buffer, Through::Descriptor)
    }

    fn try_read_through(&mut self, buffer: &mut BytesMut, through: Through) -> io::Result<Option<usize>> {
        let mut socket = TryRead(self.socket(), through);
        let Some(tls) = &self.tls else {
            return match read_into(&mut socket, buffer) {
                Ok(read) => Ok(Some(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            };
        };
        tls.read(&mut socket, &mut buffer.limit(CHUNK))
    }

    /// The socket, to read its addresses.
    pub fn socket(&self) -> LinkSocketRef<'_> {
        self.socket.by_ref()
    }
}

impl AsyncRead for LinkReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(tls) = &self.tls else { return Pin::new(&mut self.socket).poll_read(cx, buffer) };
        let socket = self.socket();
        loop {
            // First what is there: the socket may have nothing more.
            if tls.read(&mut TryRead(socket, Through::Runtime), buffer)?.is_some() {
                return Poll::Ready(Ok(()));
            }
            ready!(socket.poll_read_ready(cx))?;
        }
    }
}

impl AsyncWrite for LinkSink {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.tls.is_none() {
            return Pin::new(&mut self.socket).poll_write(cx, bytes);
        }
        loop {
            match self.try_write(bytes, Through::Runtime) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
            ready!(self.socket().poll_write_ready(cx))?;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_flush(Through::Runtime) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                flushed => return Poll::Ready(flushed),
            }
            ready!(self.socket().poll_write_ready(cx))?;
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close_notify();
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Tls {
    /// Takes what is decrypted; `None` where nothing is, 0 where the peer has said that it ends.
    fn read_plaintext(&self, buffer: &mut impl BufMut) -> io::Result<Option<usize>> {
        let mut tls = self.lock();
        let mut taken = 0;
        loop {
            let room = buffer.remaining_mut();
            let mut reader = tls.reader();
            let plaintext = match reader.fill_buf() {
                Ok(plaintext) => plaintext,
                // An end without an alert is noticed by the reader of the socket.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::UnexpectedEof) =>
                {
                    return Ok((taken > 0).then_some(taken));
                }
                Err(error) => return Err(error),
            };
            let bytes = plaintext.len().min(room);
            if bytes == 0 {
                return Ok(Some(taken));
            }
            buffer.put_slice(&plaintext[..bytes]);
            reader.consume(bytes);
            taken += bytes;
        }
    }

    /// Reads, from the socket where nothing is decrypted. `None` where nothing has come; 0 is the end.
    fn read(&self, socket: &mut TryRead<'_>, buffer: &mut impl BufMut) -> io::Result<Option<usize>> {
        if let Some(read) = self.read_plaintext(buffer)? {
            return Ok(Some(read));
        }
        // An end without an alert may be somebody's cut: a link notices by its frames, and ends in any case.
        let ended = self.read_ciphertext(socket)?;
        Ok(self.read_plaintext(buffer)?.or(ended.then_some(0)))
    }

    /// Reads what the socket has, and decrypts it. Returns whether it has ended.
    fn read_ciphertext(&self, socket: &mut TryRead<'_>) -> io::Result<bool> {
        let mut tls = self.lock();
        let mut read = 0;
        while read < CHUNK {
            match tls.read_tls(socket) {
                Ok(0) => return Ok(true),
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Its buffer of plaintext is full: that is to be read first.
                Err(error) if error.kind() == io::ErrorKind::Other => break,
                Err(error) => return Err(error),
            }
            if let Err(error) = tls.process_new_packets() {
                let _ = tls.write_tls(&mut TryWrite(socket.0, Through::Runtime));
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("link_tls: {error}")));
            }
        }
        Ok(false)
    }
}

impl LinkSink {
    /// Writes what the socket takes now of `bytes`, and returns how many are taken. Over TLS they
    /// may be sealed and not written yet: see [`is_written`](Self::is_written).
    ///
    /// # Errors
    /// `WouldBlock` where nothing is taken now; others where the link is broken.
    pub(crate) fn try_write(&self, bytes: &[u8], through: Through) -> io::Result<usize> {
        let mut socket = TryWrite(self.socket(), through);
        let Some(tls) = &self.tls else { return socket.write(bytes) };
        let mut tls = tls.lock();
        flush(&mut tls, &mut socket)?;
        let taken = tls.writer().write(&bytes[..bytes.len().min(CHUNK)])?;
        match flush(&mut tls, &mut socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Whether all bytes that were taken have left for the socket.
    pub(crate) fn is_written(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.lock().wants_write())
    }

    /// Writes sealed bytes that the socket did not take before.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write).
    pub(crate) fn try_flush(&self, through: Through) -> io::Result<()> {
        let mut socket = TryWrite(self.socket(), through);
        self.tls.as_ref().map_or(Ok(()), |tls| flush(&mut tls.lock(), &mut socket))
    }

    /// Says that nothing follows, as far as TLS has a word for that.
    pub(crate) fn close_notify(&self) {
        if let Some(tls) = &self.tls {
            tls.lock().send_close_notify();
        }
    }

    /// The socket.
    pub fn socket(&self) -> LinkSocketRef<'_> {
        self.socket.by_ref()
    }
}

fn flush(tls: &mut rustls::Connection, socket: &mut TryWrite<'_>) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A plain link.
impl From<OwnedWriteHalf> for LinkSink {
    fn from(tcp: OwnedWriteHalf) -> Self {
        Self { socket: WriteHalf::Tcp(tcp), tls: None }
    }
}

/// A plain link.
impl From<OwnedReadHalf> for LinkReader {
    fn from(tcp: OwnedReadHalf) -> Self {
        Self { socket: ReadHalf::Tcp(tcp), tls: None }
    }
}

struct TryRead<'a>(LinkSocketRef<'a>, Through);

impl Read for TryRead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.1 {
            Through::Runtime => self.0.try_read(buffer),
            Through::Descriptor => (&*SockRef::from(self.0)).read(buffer),
        }
    }
}

/// Reads once, into what room there is.
fn read_into(socket: &mut TryRead<'_>, buffer: &mut BytesMut) -> io::Result<usize> {
    if socket.1.is_runtime() {
        return socket.0.try_read_buf(buffer);
    }
    let mut chunk = [0; DIRECT_CHUNK];
    let read = socket.read(&mut chunk)?;
    buffer.extend_from_slice(&chunk[..read]);
    Ok(read)
}

/// Whom a read or a write asks whether the socket is ready.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Through {
    /// The runtime: it saves the system call where the socket was not a moment ago.
    Runtime,
    /// The system. A thread that is not the runtime's has to: the runtime may be held up.
    Descriptor,
}

impl Through {
    fn is_runtime(self) -> bool {
        matches!(self, Self::Runtime)
    }
}

struct TryWrite<'a>(LinkSocketRef<'a>, Through);

impl Write for TryWrite<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.1 {
            Through::Runtime => self.0.try_write(bytes),
            Through::Descriptor => (&*SockRef::from(self.0)).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "link_stream_tests.rs"]
mod tests;
