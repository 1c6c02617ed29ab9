//! The orderly end of a connection that the gateway closes: the peer receives all that it was sent.
//!
//! Closing a socket with unread bytes resets the connection, and the peer loses what it has not
//! read. A peer that finds the end of TCP right behind a close frame may take it for a broken
//! connection. So [`end`] writes the rest of the outbox, waits for the peer's close frame if it
//! sent one, ends the gateway's side, and waits for the end of the peer's side (RFC 6455
//! section 7.1.1). It reads and drops what the peer sends meanwhile.
//!
//! Each step has a time limit, and all steps together read a limited number of bytes. The connection
//! keeps its permit until it has ended. `client` and `shard::ending` call this.

use std::future::poll_fn;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::time::{Instant, timeout_at};

use crate::core::outbox::{Flushed, Outbox};
use crate::core::ports::Transmit;
use crate::socket::{Socket, is_transient};

/// The time limit for a peer that reads slowly: the close frame stands behind all that was sent
/// before, of which the system may hold megabytes.
const SLOW_TIMEOUT: Duration = Duration::from_secs(30);

/// The time limit for the peer's close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The time limit for the end of the peer's side.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The most that is read from a peer meanwhile, in bytes.
const MAX_DISCARDED: usize = 32 * 1024 * 1024;

/// Writes `outbox`, which ends with a close frame if `with_close_frame`, and ends the connection. A
/// peer that is known to be `slow`, or whose socket is full, has more time.
pub(crate) async fn end(socket: &Socket, outbox: &mut Outbox, with_close_frame: bool, slow: bool) {
    let mut peer = Peer { socket, tail: Tail::default(), discarded: 0, ended: false };
    let deadline = Instant::now() + SLOW_TIMEOUT;
    let is_slow = slow || socket.flush(outbox) == Flushed::Blocked;
    let deadline_after = |usual| if is_slow { deadline } else { Instant::now() + usual };
    if let Ok(true) = timeout_at(deadline, write(outbox, &mut peer)).await {
        if with_close_frame {
            let closing = peer.until(|peer| peer.tail.is_close_frame());
            let _ = timeout_at(deadline_after(CLOSE_TIMEOUT), closing).await;
        }
        socket.close_notify();
        let _ = timeout_at(deadline_after(END_TIMEOUT), async {
            poll_fn(|cx| socket.poll_drain(cx)).await?;
            SockRef::from(socket.tcp()).shutdown(Shutdown::Write)?;
            peer.until(|_| false).await;
            std::io::Result::Ok(())
        })
        .await;
    }
    // Nothing is left unread, so dropping the socket does not reset it: the system goes on sending.
}

/// Writes all of `outbox`. Returns false where the connection is broken.
async fn write(outbox: &mut Outbox, peer: &mut Peer<'_>) -> bool {
    loop {
        match peer.socket.flush(outbox) {
            Flushed::Empty => return true,
            Flushed::Broken => return false,
            Flushed::Blocked => {}
        }
        tokio::select! {
            writable = peer.socket.tcp().writable() => if writable.is_err() { return false },
            // A peer that has ended its side may still read.
            () = peer.until(|_| false), if !peer.ended => {}
        }
    }
}

/// The peer of a connection that is being closed.
struct Peer<'s> {
    socket: &'s Socket,
    /// The last bytes that it has sent.
    tail: Tail,
    /// How many bytes were read and dropped.
    discarded: usize,
    /// It has ended its side, or has sent more than is read.
    ended: bool,
}

impl Peer<'_> {
    /// Reads and drops bytes until `done`, or until the peer has ended its side.
    ///
    /// Cancel safe.
    async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !self.ended && !done(self) {
            poll_fn(|cx| self.poll_discard(cx)).await;
            // Reading does not wait while there are bytes: let other tasks run.
            tokio::task::consume_budget().await;
        }
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if ready!(self.socket.poll_readable(cx)).is_err() {
                self.ended = true;
                return Poll::Ready(());
            }
            if self.discard() {
                return Poll::Ready(());
            }
        }
    }

    /// Reads once. Returns false where nothing was there.
    fn discard(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.socket.try_read(&mut buffer) {
            Ok(read) => {
                self.tail.push(&buffer[..read.bytes]);
                self.discarded += read.bytes;
                self.ended = read.bytes == 0 || self.discarded > MAX_DISCARDED;
            }
            Err(error) if is_transient(&error) => return false,
            Err(_) => self.ended = true,
        }
        true
    }
}

/// The last bytes that a peer has sent, as many as a close frame may have.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Header and mask of a client's control frame, in bytes.
    const HEADER: usize = 6;
    /// The longest control frame, in bytes.
    const MAX: usize = Self::HEADER + 125;

    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(Self::MAX)..]);
        let excess = self.0.len().saturating_sub(Self::MAX);
        self.0.drain(..excess);
    }

    /// Returns whether the last bytes look like a client's close frame, which is the last that a
    /// client sends. The start of a frame is not known any more: the client may have broken the
    /// protocol, or be in the middle of a message. Bytes that look like a close frame by chance let
    /// the connection end a little early.
    fn is_close_frame(&self) -> bool {
        let tail = &self.0;
        (0..=tail.len().saturating_sub(Self::HEADER)).any(|start| {
            let Some([first, second]) = tail.get(start..).and_then(|frame| frame.first_chunk::<2>()) else {
                return false;
            };
            let len = usize::from(second & 0x7f);
            *first == 0x88 && second & 0x80 != 0 && len != 1 && start + Self::HEADER + len == tail.len()
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::core::websocket::encode;
    use crate::shard::testing::connection;

    const CLOSE: &[u8] = b"\x88\x82mask\x6e\x89";

    /// Ends a connection whose outbox holds `last`. Returns how long that took, with the result of
    /// `peer`.
    async fn ended_by<T>(
        last: Vec<u8>,
        (with_close_frame, slow): (bool, bool),
        peer: impl AsyncFnOnce(TcpStream) -> T,
    ) -> (Duration, T) {
        let (ours, theirs) = connection().await;
        let mut outbox = Outbox::default();
        outbox.push(last.into());
        let since = Instant::now();
        let ending = async {
            end(&Socket::Plain(ours), &mut outbox, with_close_frame, slow).await;
            since.elapsed()
        };
        tokio::join!(ending, peer(theirs))
    }

    fn close_frame() -> Vec<u8> {
        encode::close(Some(1000), "").to_vec()
    }

    #[tokio::test(start_paused = true)]
    async fn tcp_does_not_end_before_the_peers_close_frame() {
        let (_, ()) = ended_by(close_frame(), (true, false), async |mut peer| {
            let mut frame = [0; 4];
            peer.read_exact(&mut frame).await.unwrap();
            // Anything that is not a whole close frame does not end the wait.
            for piece in [&b"\x82\xfe\x10\x00half a message"[..], &CLOSE[..3]] {
                peer.write_all(piece).await.unwrap();
                let read = timeout(CLOSE_TIMEOUT / 3, peer.read(&mut [0])).await;
                assert!(read.is_err(), "the end comes before the close frame");
            }
            peer.write_all(&CLOSE[3..]).await.unwrap();
            let read = timeout(Duration::from_millis(1), peer.read(&mut [0])).await;
            assert_eq!(read.expect("the end, at once").unwrap(), 0);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_silent_peer_is_limited() {
        let (elapsed, _peer) = ended_by(close_frame(), (true, false), async |peer| peer).await;
        assert!((CLOSE_TIMEOUT + END_TIMEOUT..SLOW_TIMEOUT).contains(&elapsed), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_close_frame_tcp_ends_at_once_and_the_peer_is_read_to_its_end() {
        let (elapsed, ()) = ended_by(b"the end\n".to_vec(), (false, false), async |mut peer| {
            peer.write_all(&[b'x'; 100_000]).await.unwrap();
            sleep(END_TIMEOUT / 2).await;
            let mut received = Vec::new();
            peer.read_to_end(&mut received).await.unwrap();
            assert_eq!(received, b"the end\n");
        })
        .await;
        assert!(elapsed <= END_TIMEOUT, "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_that_goes_on_sending_receives_everything() {
        let last = [vec![b'x'; 20_000_000], close_frame()].concat();
        let expected = last.len();
        let (_, received) = ended_by(last, (true, false), async |mut peer| {
            let mut received = 0;
            let mut buffer = vec![0; 1_000_000];
            while received < expected {
                peer.write_all(b"still here").await.unwrap();
                sleep(SLOW_TIMEOUT / 1000).await;
                received += peer.read(&mut buffer).await.unwrap();
            }
            received
        })
        .await;
        assert_eq!(received, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_has_more_time_even_if_the_system_has_taken_everything() {
        for with_close_frame in [false, true] {
            let last = [vec![b'x'; 50_000], close_frame()].concat();
            let expected = last.len();
            let (_, received) = ended_by(last, (with_close_frame, true), async |mut peer| {
                let mut received = Vec::new();
                for _ in 0..20 {
                    peer.write_all(b"still here").await.expect("no reset");
                    sleep(SLOW_TIMEOUT / 25).await;
                }
                let mut buffer = [0; 10_000];
                while received.len() < expected {
                    let read = peer.read(&mut buffer).await.expect("no reset");
                    received.extend_from_slice(&buffer[..read]);
                }
                peer.write_all(CLOSE).await.expect("no reset");
                received
            })
            .await;
            assert!(received.ends_with(&close_frame()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_after_all_limits_still_receives_what_the_system_has_taken() {
        let (elapsed, (peer, _)) = ended_by(vec![b'x'; 20_000_000], (true, false), async |mut peer| {
            peer.write_all(&[b'x'; 10_000]).await.unwrap();
            let (reading, writing) = peer.into_split();
            (reading, writing)
        })
        .await;
        assert!(elapsed >= SLOW_TIMEOUT);
        let mut peer = peer;
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.expect("no reset");
        assert!(received.len() > 100_000, "{}", received.len());
    }

    #[test]
    fn a_close_frame_is_recognized_at_the_end_of_the_bytes() {
        let ends_with_one = |pieces: &[&[u8]]| {
            let mut tail = Tail::default();
            pieces.iter().for_each(|piece| tail.push(piece));
            assert!(tail.0.len() <= Tail::MAX);
            tail.is_close_frame()
        };
        let longest = [&b"\x88\xfdmask"[..], &[7; 125]].concat();
        let empty = b"\x88\x80mask";
        for pieces in [
            &[CLOSE][..],
            &[&[1; 5000], CLOSE],
            &[CLOSE, CLOSE],
            &[&CLOSE[..1], &CLOSE[1..7], &CLOSE[7..]],
            &[empty],
            &[&longest],
            &[&longest[..50], &longest[50..]],
        ] {
            assert!(ends_with_one(pieces), "{pieces:?}");
        }
        for pieces in [
            &[][..],
            &[&b""[..]],
            &[&CLOSE[..7]],
            &[CLOSE, b"x"],
            &[b"\x88\x81maskx"],
            &[b"\x88\x02\x03\xe8"],
            &[b"\x89\x80mask"],
        ] {
            assert!(!ends_with_one(pieces), "{pieces:?}");
        }
    }
}
