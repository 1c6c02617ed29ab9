//! The writing half of a link between daemons: a bounded outbox in front of a socket.
//!
//! Any thread may [`push`](LinkWriter::push) frames. They wait in one buffer, so that the frames of a
//! turn leave in one write. [`flush`](LinkWriter::flush) writes from the calling thread, without
//! waiting; [`drive`](LinkWriter::drive), a task of the link, writes what the socket did not take.
//! Reading is not done here: gateway, businessworker and client library each read their links.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::sync::Notify;

use crate::link_stream::Through;
use crate::{LinkSink, LinkSocketRef};

/// A buffer that has grown beyond this is freed when it is empty, in bytes.
const KEEP: usize = 64 * 1024;

/// An outbox that has grown to this is written while more is pushed, in bytes, so that the peer can
/// begin to read.
const EARLY: usize = 64 * 1024;

/// The writing half of a link, with an outbox of bounded size.
#[derive(Debug)]
pub struct LinkWriter {
    socket: LinkSink,
    outbox: Mutex<Outbox>,
    limit: usize,
    /// Wakes `drive`: there is something to write that no caller of `flush` will write.
    work: Notify,
    /// Wakes those that wait for room: the outbox has some again, or never will.
    room: Notify,
    /// How many bytes were ever pushed. Changed under the outbox's lock, read without it.
    pushed: AtomicU64,
    /// How many of these the socket has taken.
    written: AtomicU64,
}

#[derive(Debug, Default)]
struct Outbox {
    pending: BytesMut,
    /// The bytes that the socket has taken in all.
    taken: u64,
    /// The socket takes no more now; `drive` waits until it does.
    stuck: bool,
    closed: Option<io::ErrorKind>,
    /// The link ends when `pending` is written.
    finishing: bool,
}

/// Why a frame was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The outbox is over its limit: the peer reads too slowly.
    #[error("the link's outbox is full")]
    Full,
    /// The link is closed.
    #[error("the link is closed")]
    Closed,
}

impl LinkWriter {
    /// A writer to `socket`. An outbox that holds `limit` bytes or more accepts no frame; one frame
    /// may be larger than the limit, as in the original.
    pub fn new(socket: impl Into<LinkSink>, limit: usize) -> Self {
        Self {
            socket: socket.into(),
            outbox: Mutex::default(),
            limit,
            work: Notify::new(),
            room: Notify::new(),
            pushed: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // A panic elsewhere leaves no state half changed.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The socket, to read its addresses.
    pub fn socket(&self) -> LinkSocketRef<'_> {
        self.socket.socket()
    }

    /// Lets `write` append a frame to the outbox.
    ///
    /// # Errors
    /// When the outbox is full or the link closed; `write` is not called then.
    pub fn push(&self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
        self.push_within(self.limit, write)
    }

    /// Lets `write` append a frame even if the outbox is full. It is for frames that cannot wait; the
    /// caller bounds their amount.
    ///
    /// # Errors
    /// When the link is closed.
    pub fn push_over(&self, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
        self.push_within(usize::MAX, write)
    }

    /// Lets `write` append a frame unless the outbox holds `limit` bytes, whatever the link's own
    /// limit is. It is for a peer that accepts larger frames than others.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_within(&self, limit: usize, write: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
        let mut outbox = self.outbox();
        if outbox.closed.is_some() || outbox.finishing {
            return Err(PushError::Closed);
        }
        if outbox.pending.len() >= limit {
            return Err(PushError::Full);
        }
        write(&mut outbox.pending);
        // Not from `written`: over TLS that stands still while sealed bytes wait.
        let pushed = outbox.taken + outbox.pending.len() as u64;
        self.pushed.store(pushed, Ordering::Release);
        if outbox.pending.len() >= EARLY && !outbox.stuck {
            self.write_some(&mut outbox);
        }
        Ok(())
    }

    /// Whether the link accepts no more frames, ever.
    pub fn is_closed(&self) -> bool {
        let outbox = self.outbox();
        outbox.closed.is_some() || outbox.finishing
    }

    /// Whether the link is closed: what is not written by now never will be. A link that is finished
    /// still writes.
    pub fn has_ended(&self) -> bool {
        self.outbox().closed.is_some()
    }

    /// The number of bytes pushed so far. Takes no lock.
    pub fn pushed(&self) -> u64 {
        self.pushed.load(Ordering::Acquire)
    }

    /// The number of bytes that the socket has taken so far. Takes no lock.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// How many bytes make the outbox full.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether the outbox is full.
    pub fn is_full(&self) -> bool {
        self.outbox().pending.len() >= self.limit
    }

    /// Writes as much as the socket takes, from this thread and without waiting.
    pub fn flush(&self) {
        let mut outbox = self.outbox();
        if !outbox.stuck && outbox.closed.is_none() {
            self.write_some(&mut outbox);
        }
    }

    /// Writes as [`flush`](Self::flush) does, but asks the socket itself whether it takes more, not
    /// the runtime: for a thread outside of the runtime, whose own threads may be held up.
    pub fn flush_directly(&self) {
        let mut outbox = self.outbox();
        if outbox.closed.is_none() {
            self.write_through(&mut outbox, Through::Descriptor);
        }
    }

    /// Lets [`drive`](Self::drive) flush after the tasks that are ready now have run.
    pub fn flush_soon(&self) {
        self.work.notify_one();
    }

    /// Accepts no more frames; `drive` returns when the outbox is written.
    pub fn finish(&self) {
        self.outbox().finishing = true;
        self.work.notify_one();
        self.room.notify_waiters();
    }

    /// Ends the link at once; what waits in the outbox is lost.
    pub fn close(&self, why: io::ErrorKind) {
        self.outbox().closed.get_or_insert(why);
        // Others may still hold the writer, and with it the socket open.
        let _ = SockRef::from(self.socket()).shutdown(Shutdown::Both);
        self.work.notify_one();
        self.room.notify_waiters();
    }

    /// Waits until the outbox has room or the link is closed.
    ///
    /// Cancel safe.
    pub async fn wait_for_room(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if !self.is_full() || self.is_closed() {
                return;
            }
            room.await;
        }
    }

    /// Writes what the socket did not take before and what `flush_soon` asked for, until the link is
    /// finished (`Ok`) or fails.
    ///
    /// Cancel safe; one task at a time.
    ///
    /// # Errors
    /// The error that ended the link.
    pub async fn drive(&self) -> io::Result<()> {
        // First what a cancelled call left behind, then what is asked for.
        loop {
            loop {
                {
                    let mut outbox = self.outbox();
                    outbox.stuck = false;
                    if outbox.closed.is_none() {
                        self.write_some(&mut outbox);
                    }
                    if let Some(why) = outbox.closed {
                        return Err(why.into());
                    }
                    if outbox.finishing && outbox.pending.is_empty() && !outbox.stuck {
                        self.socket.close_notify();
                        // A socket that takes no more now closes without it.
                        let _ = self.socket.try_flush(Through::Runtime);
                        return SockRef::from(self.socket()).shutdown(Shutdown::Write);
                    }
                    if !outbox.stuck {
                        break;
                    }
                }
                self.socket().writable().await?;
            }
            self.work.notified().await;
            // Let the tasks that are ready push too: their frames leave in the same write.
            tokio::task::yield_now().await;
        }
    }

    /// Writes once. Returns how many bytes that was, of the outbox or of what TLS has sealed.
    fn write_once(&self, outbox: &mut Outbox, through: Through) -> io::Result<usize> {
        let taken = if outbox.pending.is_empty() {
            self.socket.try_flush(through)?;
            0
        } else {
            self.socket.try_write(&outbox.pending, through)?
        };
        let was_sealed = outbox.pending.is_empty();
        outbox.pending.advance(taken);
        outbox.taken += taken as u64;
        if self.socket.is_written() {
            self.written.store(outbox.taken, Ordering::Release);
        }
        Ok(if was_sealed { 1 } else { taken })
    }

    fn write_some(&self, outbox: &mut Outbox) {
        self.write_through(outbox, Through::Runtime);
    }

    fn write_through(&self, outbox: &mut Outbox, through: Through) {
        let was_full = outbox.pending.len() >= self.limit;
        while !outbox.pending.is_empty() || !self.socket.is_written() {
            match self.write_once(outbox, through) {
                Ok(1..) => continue,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    outbox.stuck = true;
                    self.work.notify_one();
                }
                failed => {
                    outbox.closed = Some(failed.map_or_else(|e| e.kind(), |_| io::ErrorKind::WriteZero));
                    self.work.notify_one();
                }
            }
            break;
        }
        // `capacity` does not count the bytes that were written until they are reclaimed.
        if outbox.pending.is_empty() && outbox.pending.try_reclaim(KEEP + 1) {
            outbox.pending = BytesMut::new();
        }
        if (was_full && outbox.pending.len() < self.limit) || outbox.closed.is_some() {
            self.room.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair(limit: usize) -> (LinkWriter, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        (LinkWriter::new(ours.into_split().1, limit), theirs)
    }

    #[tokio::test]
    async fn frames_arrive_in_the_order_of_pushing() {
        let (writer, mut peer) = pair(1024).await;
        writer.push(|out| out.extend_from_slice(b"one ")).unwrap();
        writer.push(|out| out.extend_from_slice(b"two")).unwrap();
        writer.finish();
        writer.drive().await.unwrap();
        drop(writer);
        let mut received = String::new();
        peer.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "one two");
    }

    #[tokio::test]
    async fn a_full_outbox_accepts_no_frame_until_the_peer_reads() {
        let (writer, mut peer) = pair(100_000).await;
        let mut pushed = 0_usize;
        while writer.push(|out| out.resize(out.len() + 50_000, b'x')).is_ok() {
            pushed += 50_000;
            writer.flush();
        }
        assert_eq!(writer.push(|_| unreachable!()), Err(PushError::Full));
        let read_all = async {
            let mut buffer = vec![0; 65536];
            let mut read = 0;
            while read < pushed {
                read += peer.read(&mut buffer).await.unwrap();
            }
        };
        let ((), ()) = tokio::select! {
            _ = writer.drive() => panic!("the link is not finished"),
            both = async { tokio::join!(writer.wait_for_room(), read_all) } => both,
        };
        assert!(!writer.is_full());
    }

    #[tokio::test]
    async fn counts_the_bytes_that_were_pushed_and_written() {
        let (writer, _peer) = pair(usize::MAX).await;
        assert_eq!((writer.pushed(), writer.written()), (0, 0));
        writer.push(|out| out.extend_from_slice(b"one ")).unwrap();
        writer.push(|out| out.extend_from_slice(b"two")).unwrap();
        assert_eq!((writer.pushed(), writer.written()), (7, 0));
        writer.flush();
        assert_eq!((writer.pushed(), writer.written()), (7, 7));
        while writer.written() == writer.pushed() {
            writer.push(|out| out.resize(out.len() + 50_000, b'x')).unwrap();
            writer.flush();
        }
        let written = writer.written();
        writer.close(io::ErrorKind::ConnectionAborted);
        assert!(writer.has_ended() && writer.written() == written);
    }

    #[tokio::test]
    async fn a_direct_flush_writes_to_a_socket_that_the_runtime_still_takes_for_full() {
        let (writer, peer) = pair(usize::MAX).await;
        while writer.written() == writer.pushed() {
            writer.push(|out| out.resize(out.len() + 50_000, b'x')).unwrap();
            writer.flush();
        }
        // Read without the runtime, so that it learns nothing of the room that there is now.
        let mut peer = peer.into_std().unwrap();
        peer.set_nonblocking(false).unwrap();
        while writer.written() < writer.pushed() {
            let before = writer.written();
            writer.flush();
            assert_eq!(writer.written(), before);
            io::Read::read_exact(&mut peer, &mut vec![0; 50_000]).unwrap();
            writer.flush_directly();
        }
    }

    #[tokio::test]
    async fn a_large_buffer_is_freed_when_it_is_written() {
        let (writer, mut peer) = pair(1 << 20).await;
        // Filled to the brim: written off, nothing of it is left in its capacity.
        writer.push(|out| out.extend_from_slice(&vec![b'x'; 2 * KEEP])).unwrap();
        let mut received = vec![0; 2 * KEEP];
        tokio::select! {
            _ = writer.drive() => panic!("the link is not finished"),
            read = peer.read_exact(&mut received) => { read.unwrap(); }
        }
        writer.push(|out| assert!(out.is_empty() && !out.try_reclaim(KEEP))).unwrap();
    }

    #[tokio::test]
    async fn the_next_drive_writes_what_a_cancelled_one_left() {
        let (writer, mut peer) = pair(1024).await;
        writer.push(|out| out.extend_from_slice(b"late")).unwrap();
        writer.flush_soon();
        let mut driving = Box::pin(writer.drive());
        // Woken, and not yet writing.
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(driving.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
        drop(driving);
        let mut received = [0; 4];
        tokio::select! {
            _ = writer.drive() => panic!("the link is not finished"),
            () = tokio::time::sleep(std::time::Duration::from_secs(10)) => panic!("it is not written"),
            read = peer.read_exact(&mut received) => { read.unwrap(); }
        }
        assert_eq!(&received, b"late");
    }

    #[tokio::test]
    async fn a_closed_link_accepts_no_frame_and_no_caller_waits_for_room() {
        let (writer, _peer) = pair(1).await;
        writer.push(|out| out.resize(10, b'x')).unwrap();
        let (_, ended) = tokio::join!(
            async {
                writer.wait_for_room().await;
            },
            async {
                writer.close(io::ErrorKind::ConnectionAborted);
                writer.drive().await
            }
        );
        assert!(ended.is_err());
        assert_eq!(writer.push(|_| unreachable!()), Err(PushError::Closed));
    }
}
