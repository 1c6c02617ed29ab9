//! A connected Unix socket, which the runtime watches for reading, and for writing only while somebody waits.
//!
//! Whoever watches a Unix socket for writing is woken whenever its peer has read something, and not only, as
//! with TCP, when the socket was full before. tokio's `UnixStream` watches always: each message
//! over a link would wake its sender once more. `link_socket` is the only user.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BufMut;
use nix::libc::{EMFILE, ENFILE, MSG_NOSIGNAL};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use socket2::SockRef;
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, ReadBuf};

/// How much is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// How often a full socket is looked at while no descriptor is left to watch it with.
const WITHOUT_DESCRIPTOR: Duration = Duration::from_millis(10);

thread_local! {
    /// What is read stands here for a moment: memory that is written already, as a read needs it.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// A connected Unix socket.
#[derive(Debug)]
pub struct UnixSocket {
    stream: AsyncFd<UnixStream>,
    /// Watches for writing, while somebody waits.
    writable: Mutex<Option<AsyncFd<OwnedFd>>>,
}

/// The process at the other end of a Unix socket, when it connected or began to listen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// `None` where it is in another namespace of process ids.
    pub(crate) process: Option<i32>,
    pub(crate) user: u32,
}

impl UnixSocket {
    /// Gives a connected socket, which does not block, to the runtime of this thread.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        let stream = watch(stream, Interest::READABLE)?;
        Ok(Self { stream, writable: Mutex::default() })
    }

    /// Takes the socket from its runtime.
    pub(crate) fn into_std(self) -> UnixStream {
        self.stream.into_inner()
    }

    pub(crate) fn peer(&self) -> io::Result<Peer> {
        let peer = getsockopt(&self.stream, PeerCredentials)?;
        // The kernel says 0 for a process that is not seen from here.
        Ok(Peer { process: Some(peer.pid()).filter(|process| *process != 0), user: peer.uid() })
    }

    /// Reads what has come, as far as the runtime knows that something has.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.try_io(Interest::READABLE, |mut stream| stream.read(buffer))
    }

    /// As [`try_read`](Self::try_read), behind what is in the buffer.
    pub(crate) fn try_read_buf(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        SCRATCH.with_borrow_mut(|scratch| {
            let room = scratch.len().min(buffer.remaining_mut());
            let read = self.try_read(&mut scratch[..room])?;
            buffer.put_slice(&scratch[..read]);
            Ok(read)
        })
    }

    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.stream.poll_read_ready(cx))?;
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let room = scratch.len().min(buffer.remaining());
                let read = self.stream.get_ref().read(&mut scratch[..room])?;
                buffer.put_slice(&scratch[..read]);
                // A short read means an empty socket: the read is saved that would only confirm it.
                if 0 < read && read < room {
                    ready.clear_ready();
                }
                Ok(())
            });
            match read.as_ref().map_err(io::Error::kind) {
                Err(io::ErrorKind::WouldBlock) => ready.clear_ready(),
                Err(io::ErrorKind::Interrupted) => {}
                _ => return Poll::Ready(read),
            }
        }
    }

    /// Writes what the socket takes, without asking the runtime.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(&self.stream).send_with_flags(bytes, MSG_NOSIGNAL)
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx).map_ok(drop)
    }

    /// Waits until the socket takes bytes; of several tasks only the last is woken.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slot = self.writable.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            // The kernel watches a descriptor once, and this one is watched for reading.
            match self.stream.as_fd().try_clone_to_owned() {
                Ok(watched) => *slot = Some(watch(watched, Interest::WRITABLE)?),
                Err(error) if is_out_of_descriptors(&error) => {
                    look_later(cx.waker().clone());
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if let Some(watched) = &*slot {
            ready!(watched.poll_write_ready(cx)).map(drop)?;
        }
        *slot = None;
        Poll::Ready(Ok(()))
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await.map(drop)
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_write_ready(cx)).await
    }
}

/// Whether this process, or the system, has no descriptor left.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

/// Has a task look again in a while, as nothing will say when it can go on.
fn look_later(waker: Waker) {
    tokio::spawn(async move {
        tokio::time::sleep(WITHOUT_DESCRIPTOR).await;
        waker.wake();
    });
}

impl AsFd for UnixSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Lets the runtime watch a socket. `T` owns its descriptor.
#[allow(deprecated, reason = "what tokio has instead is unsafe, for types that do not own their descriptor")]
fn watch<T: AsRawFd>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(owner, interest)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{LinkSocket, LinkStream, LinkWriter, PushError};

    fn pair() -> [LinkStream; 2] {
        let (one, other) = UnixStream::pair().unwrap();
        [one, other].map(|stream| {
            stream.set_nonblocking(true).unwrap();
            LinkStream::plain(LinkSocket::Unix(UnixSocket::new(stream).unwrap()))
        })
    }

    #[tokio::test]
    async fn what_does_not_fit_is_written_when_the_peer_reads() {
        let [ours, theirs] = pair();
        let (mut reading, _writing) = theirs.into_split();
        let writer = LinkWriter::new(ours.into_split().1, 1_000_000);
        let mut pushed = 0_usize;
        while writer.push(|out| out.resize(out.len() + 50_000, b'x')).is_ok() {
            pushed += 50_000;
            writer.flush();
        }
        assert_eq!(writer.push(|_| unreachable!()), Err(PushError::Full));
        writer.finish();
        let mut received = Vec::new();
        let (driven, read) = tokio::join!(writer.drive(), reading.read_to_end(&mut received));
        driven.unwrap();
        assert_eq!((read.unwrap(), received.len()), (pushed, pushed));
    }

    #[tokio::test]
    async fn large_writes_and_reads_wait_for_each_other() {
        let [ours, theirs] = pair();
        let (mut reading, _writing) = theirs.into_split();
        let (_reading, mut writing) = ours.into_split();
        let message = vec![b'x'; 3_000_000];
        let mut received = vec![0; message.len()];
        let (written, read) = tokio::join!(writing.write_all(&message), reading.read_exact(&mut received));
        written.unwrap();
        assert_eq!(read.unwrap(), message.len());
    }

    #[tokio::test]
    async fn the_peer_reads_the_end_when_the_writing_half_is_dropped() {
        let [ours, theirs] = pair();
        let (_reading, writing) = ours.into_split();
        let (mut reading, _writing) = theirs.into_split();
        drop(writing);
        assert_eq!(reading.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
