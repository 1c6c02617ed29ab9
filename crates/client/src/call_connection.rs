//! One connection of a call link: its socket, what was read of it, and the word of its end.
//!
//! `link/mod.rs` makes one for each attempt that succeeds, and reads it. Nothing is decided here.

use std::future::poll_fn;
use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use gatewayworker_net::LinkWriter;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio_util::sync::CancellationToken;

/// How much is read at once, in bytes.
const CHUNK: usize = 4096;

/// How often [`CallConnection::read_directly`] reads at most.
const MAX_READS: usize = 256;

/// A connection to a gateway.
#[derive(Debug)]
pub(crate) struct CallConnection {
    pub(crate) gateway: SocketAddrV4,
    pub(crate) writer: LinkWriter,
    /// The beginning of an answer.
    received: Mutex<BytesMut>,
    pub(crate) ended: CancellationToken,
}

/// The end of a connection, to be waited for by the link that belongs with it.
#[derive(Debug, Clone)]
pub struct CallLinkEnd(CancellationToken);

impl CallLinkEnd {
    /// Waits until the connection has ended.
    ///
    /// Cancel safe.
    pub async fn ended(&self) {
        self.0.cancelled().await;
    }

    /// Whether the connection has ended.
    pub fn has_ended(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl CallConnection {
    pub(crate) fn new(gateway: SocketAddrV4, writer: LinkWriter) -> Self {
        Self { gateway, writer, received: Mutex::default(), ended: CancellationToken::new() }
    }

    pub(crate) fn end(&self) -> CallLinkEnd {
        CallLinkEnd(self.ended.clone())
    }

    /// Waits until there is something to read, and reads it once. `take` gets all that was received
    /// and not taken yet. `reading` is the other half of this connection.
    ///
    /// Cancel safe.
    pub(crate) async fn read<T>(
        &self,
        reading: &mut OwnedReadHalf,
        take: impl FnOnce(&mut BytesMut) -> T,
    ) -> io::Result<T> {
        // The lock is held only while the socket is read, not while it is waited for.
        let read = poll_fn(|context| {
            let mut received = self.received();
            received.reserve(CHUNK);
            pin!(reading.read_buf(&mut *received)).poll(context)
        });
        if read.await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the gateway"));
        }
        Ok(take(&mut self.received()))
    }

    /// Reads what has arrived by now, without waiting, from the socket itself: the runtime may not
    /// have heard of it. `None` if there is nothing. The end of the stream is left to
    /// [`read`](Self::read).
    pub(crate) fn read_directly<T>(&self, take: impl FnOnce(&mut BytesMut) -> T) -> Option<T> {
        let mut received = self.received();
        let mut chunk = [0; CHUNK];
        let mut has_read = false;
        for _ in 0..MAX_READS {
            let Ok(read @ 1..) = (&*SockRef::from(self.writer.socket())).read(&mut chunk) else { break };
            received.extend_from_slice(&chunk[..read]);
            has_read = true;
        }
        has_read.then(|| take(&mut received))
    }

    fn received(&self) -> MutexGuard<'_, BytesMut> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes were pushed and not written.
    pub(crate) fn unwritten(&self) -> u64 {
        self.writer.pushed().saturating_sub(self.writer.written())
    }
}
