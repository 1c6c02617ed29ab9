//! A TLS connection: a TCP socket, and rustls between it and the client.
//!
//! It reads and writes without waiting, as the shards want it. Ciphertext is read into
//! one buffer of the thread's; what a connection keeps is what is no whole record yet,
//! plaintext that its reader had no place for, and the one record that the socket did
//! not take: mostly nothing.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use tokio::net::TcpStream;

use super::engine::{Engine, Say};
use crate::socket::{ReadOutcome, is_transient, receive, send};

/// The most ciphertext that is read at once, what was left over included. That bounds
/// what a connection keeps; a handshake message may be that long.
const INCOMING: usize = 64 * 1024;

/// The most plaintext in one record, RFC 8446 section 5.1.
pub(crate) const RECORD: usize = 16 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A TLS connection with a client.
pub(crate) struct TlsSocket {
    tcp: TcpStream,
    session: RefCell<Session>,
}

struct Session {
    engine: Engine,
    /// Ciphertext that has come and is no whole record, or handshake message, yet.
    partial: Vec<u8>,
    /// Plaintext that whoever read had no place for.
    unread: Vec<u8>,
    /// So many bytes of the plaintext that is to be written next are among the engine's
    /// outgoing already.
    sealed: usize,
}

impl TlsSocket {
    /// Shakes hands. The caller sets a time limit, and drops the future when it is over.
    ///
    /// # Errors
    /// When the client leaves, or no TLS that both speak comes about.
    pub(crate) async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let engine = Engine::new(config)?;
        let session = Session { engine, partial: Vec::new(), unread: Vec::new(), sealed: 0 };
        let socket = Self { tcp, session: RefCell::new(session) };
        while socket.session.borrow().engine.is_handshaking() {
            socket.tcp.readable().await?;
            let read = socket.try_read(&mut []);
            let _ = poll_fn(|cx| socket.poll_drain(cx)).await;
            match read {
                Ok(_) if socket.session.borrow().engine.is_handshaking() => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Err(error) if !is_transient(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(socket)
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Whether there is something to read, or the end, that the socket knows nothing of.
    pub(crate) fn is_readable(&self) -> bool {
        let session = self.session.borrow();
        !session.unread.is_empty() || session.engine.ended
    }

    /// Reads plaintext into `buffer`, none at the end of the connection.
    ///
    /// # Errors
    /// `WouldBlock` when there is none yet; else the connection is broken, or the client
    /// breaks the protocol, which it is told of.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<ReadOutcome> {
        let session = &mut *self.session.borrow_mut();
        if !session.unread.is_empty() {
            let bytes = buffer.len().min(session.unread.len());
            buffer[..bytes].copy_from_slice(&session.unread[..bytes]);
            session.unread.drain(..bytes);
            if session.unread.is_empty() {
                session.unread = Vec::new();
            }
            return Ok(ReadOutcome { bytes, more: true });
        }
        let read = BUFFER.with_borrow_mut(|incoming| {
            incoming.resize(INCOMING, 0);
            session.read(&self.tcp, incoming, buffer)
        });
        // What it is told: of its mistake, or for the keys it has changed.
        let _ = session.drain(&self.tcp);
        read
    }

    /// Writes the front of `text`, at most a record of it, without waiting. Says how many
    /// bytes of it are with the system, ciphertext and all: where that is `WouldBlock`, the
    /// same bytes have to stand in front when it is tried again.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full; else the connection is broken.
    pub(crate) fn try_write(&self, text: &[u8]) -> io::Result<usize> {
        let session = &mut *self.session.borrow_mut();
        session.drain(&self.tcp)?;
        if session.sealed == 0 {
            let text = &text[..text.len().min(RECORD)];
            session.say(Say::This(text))?;
            session.sealed = text.len();
            session.drain(&self.tcp)?;
        }
        Ok(std::mem::take(&mut session.sealed))
    }

    /// How many bytes are in a record that [`try_write`](Self::try_write) has begun with and the
    /// socket has not taken.
    pub(crate) fn sealed(&self) -> usize {
        self.session.borrow().sealed
    }

    /// Says, once all was written, that nothing more will be.
    pub(crate) fn close_notify(&self) {
        let session = &mut *self.session.borrow_mut();
        let _ = session.say(Say::Goodbye);
        let _ = session.drain(&self.tcp);
    }

    /// Seals the front of `text` once all before it is written, and says how much of it.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, text: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(cx))?;
        let text = &text[..text.len().min(RECORD)];
        let session = &mut *self.session.borrow_mut();
        session.say(Say::This(text))?;
        match session.drain(&self.tcp) {
            Err(error) if !is_transient(&error) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(text.len())),
        }
    }

    /// Writes what is sealed.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.session.borrow_mut().drain(&self.tcp) {
                Err(error) if is_transient(&error) => {}
                done => return Poll::Ready(done),
            }
            ready!(self.tcp.poll_write_ready(cx))?;
        }
    }
}

impl Session {
    fn read(&mut self, tcp: &TcpStream, incoming: &mut [u8], buffer: &mut [u8]) -> io::Result<ReadOutcome> {
        let kept = self.partial.len();
        let nothing = Ok(ReadOutcome { bytes: 0, more: false });
        if self.engine.ended {
            return nothing;
        }
        if kept == incoming.len() {
            return Err(io::Error::new(ErrorKind::InvalidData, "a TLS handshake message over the limit"));
        }
        incoming[..kept].copy_from_slice(&self.partial);
        let got = receive(tcp, &mut incoming[kept..])?;
        if got == 0 {
            // Without a close_notify: what it said last may be missing. So it may be when a
            // plain client's host fails; frames show whether they are whole.
            return nothing;
        }
        let incoming = &mut incoming[..kept + got];
        let (mut bytes, unread) = (0, &mut self.unread);
        let hear = |text: &[u8]| {
            let (fits, rest) = text.split_at(text.len().min(buffer.len() - bytes));
            buffer[bytes..bytes + fits.len()].copy_from_slice(fits);
            bytes += fits.len();
            unread.extend_from_slice(rest);
        };
        let taken = self.engine.process(incoming, hear, Say::Nothing)?;
        self.partial = incoming[taken..].to_vec();
        match bytes {
            0 if !self.engine.ended => Err(ErrorKind::WouldBlock.into()),
            bytes => Ok(ReadOutcome { bytes, more: kept + got == INCOMING }),
        }
    }

    fn say(&mut self, what: Say<'_>) -> io::Result<()> {
        // Where a message has come in part, rustls knows its place there.
        let taken =
            self.engine.process(&mut self.partial, |text| self.unread.extend_from_slice(text), what)?;
        self.partial.drain(..taken);
        Ok(())
    }

    fn drain(&mut self, tcp: &TcpStream) -> io::Result<()> {
        let outgoing = &mut self.engine.outgoing;
        while !outgoing.is_empty() {
            match send(tcp, outgoing, 0) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) if written == outgoing.len() => *outgoing = Vec::new(),
                Ok(written) => drop(outgoing.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TlsSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSocket").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustls::{ClientConnection, StreamOwned};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::{JoinHandle, spawn_blocking};

    use super::*;
    use crate::core::outbox::{Flushed, Outbox};
    use crate::core::ports::Transmit;
    use crate::shard::testing::connection;
    use crate::socket::Socket;
    use crate::tls::testing;

    type Client = StreamOwned<ClientConnection, std::net::TcpStream>;

    /// Our end of a connection, and what `client` does with the other.
    async fn with<T: Send + 'static>(
        client: impl FnOnce(Client) -> T + Send + 'static,
    ) -> (io::Result<TlsSocket>, JoinHandle<T>) {
        let (ours, theirs) = connection().await;
        let (certificate, tls) = testing::both();
        let theirs = theirs.into_std().unwrap();
        theirs.set_nonblocking(false).unwrap();
        let client = spawn_blocking(move || client(StreamOwned::new(tls, theirs)));
        (TlsSocket::accept(ours, certificate.current()).await, client)
    }

    #[test]
    fn a_plain_client_pays_nothing_for_tls() {
        assert_eq!(size_of::<Socket>(), size_of::<TcpStream>());
    }

    #[tokio::test]
    async fn what_a_client_says_is_read_however_little_is_asked_for_at_once() {
        let said: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let expected = said.clone();
        let (socket, client) = with(move |mut client| {
            client.write_all(&said).unwrap();
            client.conn.send_close_notify();
            client.flush().unwrap();
            client
        })
        .await;
        let mut socket = Socket::Tls(Box::new(socket.unwrap()));
        let mut heard = Vec::new();
        let mut some = [0; 1000];
        loop {
            match socket.read(&mut some).await.unwrap() {
                0 => break,
                n => heard.extend_from_slice(&some[..n]),
            }
        }
        assert!(heard == expected, "{} of {} bytes", heard.len(), expected.len());
        drop(client.await.unwrap());
        let Socket::Tls(tls) = socket else { unreachable!() };
        let session = tls.session.borrow();
        let kept =
            [session.partial.capacity(), session.unread.capacity(), session.engine.outgoing.capacity()];
        assert_eq!(kept, [0, 0, 0], "a client that is silent holds a buffer");
    }

    #[tokio::test]
    async fn an_outbox_is_written_in_order_and_counts_what_the_socket_has_not_taken() {
        let (full, is_full) = std::sync::mpsc::channel();
        let (socket, client) = with(move |mut client| {
            let mut heard = Vec::new();
            client.flush().unwrap();
            is_full.recv().unwrap();
            client.read_to_end(&mut heard).unwrap();
            heard
        })
        .await;
        let socket = Socket::Tls(Box::new(socket.unwrap()));
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for i in 0..4000_usize {
            let frame = vec![i as u8; i];
            expected.extend_from_slice(&frame);
            outbox.push(frame.into());
        }
        let mut blocked = 0;
        while socket.flush(&mut outbox) == Flushed::Blocked {
            assert!(!outbox.is_empty(), "what the socket has not taken has left the outbox");
            blocked += 1;
            // It reads only from now on, and is gone when it has all.
            let _ = full.send(());
            socket.tcp().writable().await.unwrap();
        }
        assert!(blocked > 0, "the socket took everything at once: this tests nothing");
        assert!(outbox.is_empty() && outbox.bytes() == 0);
        socket.close_notify();
        drop(socket);
        let heard = client.await.unwrap();
        assert!(heard == expected, "{} of {} bytes", heard.len(), expected.len());
    }

    #[tokio::test]
    async fn who_does_not_speak_tls_is_told_so_and_not_let_in() {
        let (ours, theirs) = connection().await;
        let (certificate, _) = testing::both();
        let mut theirs = theirs.into_std().unwrap();
        theirs.set_nonblocking(false).unwrap();
        let client = spawn_blocking(move || {
            theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            let _ = theirs.read_to_end(&mut answer);
            answer
        });
        let error = TlsSocket::accept(ours, certificate.current()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        // A fatal alert.
        assert!(client.await.unwrap().starts_with(&[21, 3]));
    }

    #[tokio::test]
    async fn a_client_that_leaves_within_the_handshake_ends_it() {
        let (ours, theirs) = connection().await;
        let (certificate, _) = testing::both();
        drop(theirs);
        assert!(TlsSocket::accept(ours, certificate.current()).await.is_err());
    }

    #[tokio::test]
    async fn a_handshake_may_come_in_pieces() {
        let (ours, theirs) = connection().await;
        let (certificate, mut tls) = testing::both();
        let mut theirs = theirs.into_std().unwrap();
        theirs.set_nonblocking(false).unwrap();
        let client = spawn_blocking(move || {
            for piece in testing::hello_in_pieces(&mut tls, 7) {
                theirs.write_all(&piece[..6]).unwrap();
                theirs.write_all(&piece[6..]).unwrap();
            }
            let mut client = StreamOwned::new(tls, theirs);
            client.write_all(b"hello").unwrap();
            client
        });
        let socket = TlsSocket::accept(ours, certificate.current()).await.unwrap();
        let mut socket = Socket::Tls(Box::new(socket));
        let mut heard = [0; 5];
        socket.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        drop(client.await.unwrap());
    }

    /// Once a part of a handshake message has come, rustls knows its place in bytes that
    /// are to be lent to it again, and panics without them.
    #[tokio::test]
    async fn something_may_be_said_to_a_client_in_the_middle_of_its_handshake_message() {
        let (ours, mut theirs) = connection().await;
        let (certificate, mut tls) = testing::both();
        let engine = Engine::new(certificate.current()).unwrap();
        let session = Session { engine, partial: Vec::new(), unread: Vec::new(), sealed: 0 };
        let socket = TlsSocket { tcp: ours, session: RefCell::new(session) };
        let pieces = testing::hello_in_pieces(&mut tls, 50);
        theirs.write_all(&pieces[0]).await.unwrap();
        theirs.write_all(&pieces[1]).await.unwrap();
        socket.tcp.readable().await.unwrap();
        assert!(is_transient(&socket.try_read(&mut [0; 100]).unwrap_err()));
        assert!(!socket.session.borrow().partial.is_empty());
        socket.close_notify();
        assert_eq!(socket.try_write(b"hello").unwrap_err().kind(), ErrorKind::NotConnected);
    }

    #[tokio::test]
    async fn a_client_that_stops_in_the_middle_of_a_record_is_still_written_to() {
        let (socket, client) = with(|mut client| {
            client.flush().unwrap();
            let mut heard = [0; 5];
            client.read_exact(&mut heard).unwrap();
            (client, heard)
        })
        .await;
        let socket = socket.unwrap();
        let (mut client, _) = {
            socket.say_now(b"hello").await;
            client.await.unwrap()
        };
        // The front of a record.
        client.sock.write_all(&[23, 3, 3, 0, 100, 1, 2, 3]).unwrap();
        socket.tcp.readable().await.unwrap();
        assert!(is_transient(&socket.try_read(&mut [0; 100]).unwrap_err()));
        assert_eq!(socket.session.borrow().partial.len(), 8);
        let reading = spawn_blocking(move || {
            let mut heard = [0; 5];
            client.read_exact(&mut heard).unwrap();
            heard
        });
        socket.say_now(b"again").await;
        assert_eq!(&reading.await.unwrap(), b"again");
    }

    impl TlsSocket {
        async fn say_now(&self, text: &[u8]) {
            assert_eq!(poll_fn(|cx| self.poll_write(cx, text)).await.unwrap(), text.len());
            poll_fn(|cx| self.poll_drain(cx)).await.unwrap();
        }
    }
}
