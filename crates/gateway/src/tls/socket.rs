//! A TLS connection with a client: a TCP socket, and rustls (`engine`) over it.
//!
//! It reads and writes without waiting, for [`crate::socket::Socket`]. Ciphertext is read into one
//! buffer of the thread. A connection itself holds only an incomplete record, plaintext that its
//! reader had no room for, and the one record that the socket did not take: mostly nothing.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use tokio::net::TcpStream;

use super::engine::{Engine, ToSeal};
use crate::socket::{ReadOutcome, is_transient, receive, send};

#[cfg(test)]
mod tests;

/// The most ciphertext that is read at once, with what was left of the last read, in bytes. It
/// bounds what a connection holds. A handshake message may be that long.
const INCOMING: usize = 64 * 1024;

/// The most plaintext in one record, in bytes: RFC 8446 section 5.1.
pub(crate) const RECORD: usize = 16 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A TLS connection with a client.
pub(crate) struct TlsSocket {
    tcp: TcpStream,
    session: RefCell<Session>,
}

/// The state of a TLS connection without its socket.
pub(crate) struct TlsSession(Session);

struct Session {
    engine: Engine,
    /// Received ciphertext that is not a complete record or handshake message yet.
    partial: Vec<u8>,
    /// Plaintext that the reader had no room for.
    unread: Vec<u8>,
    /// How many bytes of the plaintext that is written next are in the engine's `outgoing` already.
    sealed: usize,
}

impl TlsSocket {
    /// Takes it apart, to be given to another thread.
    pub(crate) fn into_parts(self) -> (TcpStream, TlsSession) {
        (self.tcp, TlsSession(self.session.into_inner()))
    }

    /// Puts it together again.
    pub(crate) fn of_parts(tcp: TcpStream, session: TlsSession) -> Self {
        Self { tcp, session: RefCell::new(session.0) }
    }

    /// Does the handshake. The caller sets a time limit, and drops the future when it is over.
    ///
    /// # Errors
    /// When the client leaves, or the handshake fails.
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

    /// Returns whether plaintext, or the end, can be read without bytes from TCP.
    pub(crate) fn is_readable(&self) -> bool {
        let session = self.session.borrow();
        !session.unread.is_empty() || session.engine.ended
    }

    /// Reads plaintext into `buffer`: 0 bytes at the end of the connection.
    ///
    /// # Errors
    /// `WouldBlock` when there is none yet. Any other error means that the connection is broken, or
    /// that the client broke the protocol; then it was sent an alert.
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
        // An alert, or the answer to a change of keys.
        let _ = session.drain(&self.tcp);
        read
    }

    /// Writes the front of `text`, at most one record of it, without waiting. Returns how many bytes
    /// of it the system has taken, as ciphertext. After `WouldBlock` the next call has to begin with
    /// the same bytes.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full. Any other error means that the connection is broken.
    pub(crate) fn try_write(&self, text: &[u8]) -> io::Result<usize> {
        let session = &mut *self.session.borrow_mut();
        session.drain(&self.tcp)?;
        if session.sealed == 0 {
            let text = &text[..text.len().min(RECORD)];
            session.seal(ToSeal::Plaintext(text))?;
            session.sealed = text.len();
            session.drain(&self.tcp)?;
        }
        Ok(std::mem::take(&mut session.sealed))
    }

    /// Returns how many bytes are in a record that [`try_write`](Self::try_write) has sealed and the
    /// socket has not taken yet.
    pub(crate) fn sealed(&self) -> usize {
        self.session.borrow().sealed
    }

    /// Writes a close_notify, which ends the gateway's side. Everything else has to be written
    /// before.
    pub(crate) fn close_notify(&self) {
        let session = &mut *self.session.borrow_mut();
        let _ = session.seal(ToSeal::CloseNotify);
        let _ = session.drain(&self.tcp);
    }

    /// Seals the front of `text` once everything before it is written. Returns how many bytes of it.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, text: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(cx))?;
        let text = &text[..text.len().min(RECORD)];
        let session = &mut *self.session.borrow_mut();
        session.seal(ToSeal::Plaintext(text))?;
        match session.drain(&self.tcp) {
            Err(error) if !is_transient(&error) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(text.len())),
        }
    }

    /// Writes all sealed records.
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
            // The end without a close_notify: the last bytes may be missing. The same happens when
            // a plain client's host fails; the frames show whether they are complete.
            return nothing;
        }
        let incoming = &mut incoming[..kept + got];
        let (mut bytes, unread) = (0, &mut self.unread);
        let receive_plaintext = |text: &[u8]| {
            let (fits, rest) = text.split_at(text.len().min(buffer.len() - bytes));
            buffer[bytes..bytes + fits.len()].copy_from_slice(fits);
            bytes += fits.len();
            unread.extend_from_slice(rest);
        };
        let consumed = self.engine.process(incoming, receive_plaintext, ToSeal::Nothing)?;
        self.partial = incoming[consumed..].to_vec();
        match bytes {
            0 if !self.engine.ended => Err(ErrorKind::WouldBlock.into()),
            bytes => Ok(ReadOutcome { bytes, more: kept + got == INCOMING }),
        }
    }

    fn seal(&mut self, what: ToSeal<'_>) -> io::Result<()> {
        // rustls needs the bytes of an incomplete message again: it remembers a position in them.
        let consumed =
            self.engine.process(&mut self.partial, |text| self.unread.extend_from_slice(text), what)?;
        self.partial.drain(..consumed);
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
