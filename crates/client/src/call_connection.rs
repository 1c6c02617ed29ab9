//! One connection of a call link: its socket, what was read of it, and the word of its end.
//!
//! `link/mod.rs` makes one for each attempt that succeeds, and reads it. Nothing is decided here.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddrV4;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::BytesMut;
use gatewayworker_net::{LinkReader, LinkStream, LinkWriter};
use tokio::io::AsyncReadExt;
use tokio::task::coop::has_budget_remaining;
use tokio_util::sync::CancellationToken;

/// How much is read at once, in bytes.
const CHUNK: usize = 4096;

/// How much is pushed at most without a question for a sign of life behind it, in bytes: a gateway that
/// lives reads more within `link_timeout_ms`.
const PROBE_EVERY: u64 = 256 * 1024;

/// How often [`CallConnection::read_directly`] reads at most.
const MAX_READS: usize = 256;

/// A connection to a gateway.
#[derive(Debug)]
pub(crate) struct CallConnection {
    pub(crate) gateway: SocketAddrV4,
    pub(crate) writer: LinkWriter,
    received: Mutex<Received>,
    pub(crate) ended: CancellationToken,
    /// How many bytes had been pushed when the gateway was asked last for a sign of life behind them.
    probed: AtomicU64,
}

#[derive(Debug)]
struct Received {
    reader: LinkReader,
    /// The beginning of an answer.
    bytes: BytesMut,
    /// An attempt to read has found nothing since something was read.
    is_read_out: bool,
    listener: Option<Listener>,
}

/// Is told of each read: whether the connection had been read out before, so that the bytes have come
/// since the read before.
struct Listener(Box<dyn Fn(bool) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Received {
    /// Notes an attempt to read: how many bytes it has brought, `None` where there were none.
    fn note_read(&mut self, bytes: Option<usize>) {
        match bytes {
            None => self.is_read_out = true,
            // The end of the stream.
            Some(0) => {}
            Some(1..) => {
                let was_read_out = std::mem::take(&mut self.is_read_out);
                if let Some(Listener(hear)) = &self.listener {
                    hear(was_read_out);
                }
            }
        }
    }
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
    pub(crate) fn new(gateway: SocketAddrV4, stream: LinkStream, outbox: usize) -> Self {
        let (reader, sink) = stream.into_split();
        let writer = LinkWriter::new(sink, outbox);
        let received =
            Mutex::new(Received { reader, bytes: BytesMut::new(), is_read_out: false, listener: None });
        Self { gateway, writer, received, ended: CancellationToken::new(), probed: AtomicU64::new(0) }
    }

    pub(crate) fn end(&self) -> CallLinkEnd {
        CallLinkEnd(self.ended.clone())
    }

    /// Waits until there is something to read, and reads it once. `take` gets all that was received
    /// and not taken yet.
    ///
    /// Cancel safe; one task at a time.
    pub(crate) async fn read<T>(&self, take: impl FnOnce(&mut BytesMut) -> T) -> io::Result<T> {
        // The lock is held only while the socket is read, not while it is waited for.
        let read = poll_fn(|context| {
            let received = &mut *self.received();
            received.bytes.reserve(CHUNK);
            // A task that has used up its budget is told to wait though there may be something to read.
            let has_budget = has_budget_remaining();
            let polled = pin!(received.reader.read_buf(&mut received.bytes)).poll(context);
            match &polled {
                Poll::Pending if has_budget => received.note_read(None),
                Poll::Pending => {}
                Poll::Ready(Ok(bytes)) => received.note_read(Some(*bytes)),
                Poll::Ready(Err(_)) => {}
            }
            polled
        });
        if read.await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the gateway"));
        }
        Ok(take(&mut self.received().bytes))
    }

    /// Reads what has arrived by now, without waiting, from the socket itself: the runtime may not
    /// have heard of it. `None` if there is nothing. The end of the stream is left to
    /// [`read`](Self::read).
    pub(crate) fn read_directly<T>(&self, take: impl FnOnce(&mut BytesMut) -> T) -> Option<T> {
        let received = &mut *self.received();
        let mut has_read = false;
        for _ in 0..MAX_READS {
            let Ok(read) = received.reader.try_read_directly(&mut received.bytes) else { break };
            received.note_read(read);
            let Some(1..) = read else { break };
            has_read = true;
        }
        has_read.then(|| take(&mut received.bytes))
    }

    /// Lets `hear` know of each read from now on: whether the bytes have come since the read before. It is
    /// called by whoever reads, and must neither wait nor use the connection.
    pub(crate) fn listen(&self, hear: impl Fn(bool) + Send + Sync + 'static) {
        self.received().listener = Some(Listener(Box::new(hear)));
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether so much was pushed that the gateway is to be asked for a sign of life behind it.
    pub(crate) fn is_probe_due(&self) -> bool {
        self.writer.pushed().saturating_sub(self.probed.load(Ordering::Relaxed)) >= PROBE_EVERY
    }

    /// Notes that it is asked.
    pub(crate) fn note_probe(&self) {
        self.probed.store(self.writer.pushed(), Ordering::Relaxed);
    }

    /// How many bytes were pushed and not written.
    pub(crate) fn unwritten(&self) -> u64 {
        self.writer.pushed().saturating_sub(self.writer.written())
    }
}
