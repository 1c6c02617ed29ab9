//! How a connection ends from our side, so that the peer gets to read all that it was sent.
//!
//! A socket that is closed with unread bytes resets the connection, and a reset takes with
//! it what the peer has not read. And a peer that finds the end of TCP behind a close frame
//! may take it for a broken connection. So the order is: write what is left, wait for the
//! peer's close frame where there was one of ours, end our side, and wait for the end of the
//! peer's (RFC 6455 section 7.1.1). What the peer says meanwhile is read and dropped.
//!
//! Each step has a time limit, all together a limit in bytes; a connection keeps its place
//! among `max_connections` until it has ended.

use std::future::poll_fn;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::time::{Instant, timeout_at};

use crate::core::outbox::{Flushed, Outbox};
use crate::core::ports::Transmit;
use crate::socket::{Socket, is_transient};

/// How long all of it may take with a peer that reads slowly: it finds why it is closed
/// behind all that is on its way, of which the system may have taken megabytes.
const SLOW_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the peer may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the peer may take to end its side.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The most that is read of a peer meanwhile, in bytes.
const MAX_DISCARDED: usize = 32 * 1024 * 1024;

/// Writes what is in `outbox`, of which a close frame is the end if `with_close_frame`, and
/// ends the connection. A peer that is known to be `slow` has more time, as has one that
/// shows it.
pub(crate) async fn end(socket: &Socket, outbox: &mut Outbox, with_close_frame: bool, slow: bool) {
    let mut peer = Peer { socket, tail: Tail::default(), discarded: 0, ended: false };
    let limit = Instant::now() + SLOW_TIMEOUT;
    let is_slow = slow || socket.flush(outbox) == Flushed::Blocked;
    let within = |usual| if is_slow { limit } else { Instant::now() + usual };
    if let Ok(true) = timeout_at(limit, write(outbox, &mut peer)).await {
        if with_close_frame {
            let closing = peer.until(|peer| peer.tail.is_close_frame());
            let _ = timeout_at(within(CLOSE_TIMEOUT), closing).await;
        }
        socket.close_notify();
        let _ = timeout_at(within(END_TIMEOUT), async {
            poll_fn(|cx| socket.poll_drain(cx)).await?;
            SockRef::from(socket.tcp()).shutdown(Shutdown::Write)?;
            peer.until(|_| false).await;
            std::io::Result::Ok(())
        })
        .await;
    }
    // All that has come is read, so the system goes on sending what it has taken.
}

/// Writes all of `outbox`; false where the connection is broken.
async fn write(outbox: &mut Outbox, peer: &mut Peer<'_>) -> bool {
    loop {
        match peer.socket.flush(outbox) {
            Flushed::Empty => return true,
            Flushed::Broken => return false,
            Flushed::Blocked => {}
        }
        tokio::select! {
            writable = peer.socket.tcp().writable() => if writable.is_err() { return false },
            // It may still read, though it has ended its side.
            () = peer.until(|_| false), if !peer.ended => {}
        }
    }
}

/// The other side of a connection that is being closed.
struct Peer<'s> {
    socket: &'s Socket,
    /// The last that it has said.
    tail: Tail,
    /// How many bytes it has said.
    discarded: usize,
    /// It will say no more, or nobody listens any more.
    ended: bool,
}

impl Peer<'_> {
    /// Reads and drops what comes until `done` says so, or nothing more will come.
    ///
    /// Cancel safe.
    async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !self.ended && !done(self) {
            poll_fn(|cx| self.poll_discard(cx)).await;
            // Reading never waits while there is something: others have their turn.
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

    /// Reads once; false where there was nothing.
    fn discard(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.socket.try_read(&mut buffer) {
            Ok(fresh) => {
                self.tail.push(&buffer[..fresh.bytes]);
                self.discarded += fresh.bytes;
                self.ended = fresh.bytes == 0 || self.discarded > MAX_DISCARDED;
            }
            Err(error) if is_transient(&error) => return false,
            Err(_) => self.ended = true,
        }
        true
    }
}

/// The last bytes of what a peer has said: enough for a close frame.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Header and mask of a client's control frame.
    const HEADER: usize = 6;
    /// The longest control frame, in bytes.
    const MAX: usize = Self::HEADER + 125;

    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(Self::MAX)..]);
        let excess = self.0.len().saturating_sub(Self::MAX);
        self.0.drain(..excess);
    }

    /// Whether the last that was said looks like a client's close frame, which is the last
    /// that a client says. Where a frame begins is not known any more: the client may have
    /// broken the protocol, or be in the middle of a message. Bytes that look like one by
    /// chance let the connection end a little early.
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

    /// Ends a connection with `last`, which the peer finds at the end of what it was sent.
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
            // What it says before is not heard, in however many pieces.
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
    async fn a_peer_that_says_nothing_is_waited_for_so_long() {
        let (elapsed, _peer) = ended_by(close_frame(), (true, false), async |peer| peer).await;
        assert!((CLOSE_TIMEOUT + END_TIMEOUT..SLOW_TIMEOUT).contains(&elapsed), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_close_frame_tcp_ends_at_once_and_is_read_to_its_end() {
        let (elapsed, ()) = ended_by(b"the end\n".to_vec(), (false, false), async |mut peer| {
            peer.write_all(&[b'x'; 100_000]).await.unwrap();
            sleep(END_TIMEOUT / 2).await;
            let mut heard = Vec::new();
            peer.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"the end\n");
        })
        .await;
        assert!(elapsed <= END_TIMEOUT, "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_that_goes_on_speaking_gets_to_read_everything() {
        let last = [vec![b'x'; 20_000_000], close_frame()].concat();
        let expected = last.len();
        let (_, heard) = ended_by(last, (true, false), async |mut peer| {
            let mut heard = 0;
            let mut buffer = vec![0; 1_000_000];
            while heard < expected {
                peer.write_all(b"still here").await.unwrap();
                sleep(SLOW_TIMEOUT / 1000).await;
                heard += peer.read(&mut buffer).await.unwrap();
            }
            heard
        })
        .await;
        assert_eq!(heard, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_has_its_time_though_the_system_has_taken_everything() {
        for with_close_frame in [false, true] {
            let last = [vec![b'x'; 50_000], close_frame()].concat();
            let expected = last.len();
            let (_, heard) = ended_by(last, (with_close_frame, true), async |mut peer| {
                let mut heard = Vec::new();
                for _ in 0..20 {
                    peer.write_all(b"still here").await.expect("no reset");
                    sleep(SLOW_TIMEOUT / 25).await;
                }
                let mut buffer = [0; 10_000];
                while heard.len() < expected {
                    let read = peer.read(&mut buffer).await.expect("no reset");
                    heard.extend_from_slice(&buffer[..read]);
                }
                peer.write_all(CLOSE).await.expect("no reset");
                heard
            })
            .await;
            assert!(heard.ends_with(&close_frame()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_system_has_taken_reaches_a_peer_that_reads_when_all_limits_are_over() {
        let (elapsed, (peer, _)) = ended_by(vec![b'x'; 20_000_000], (true, false), async |mut peer| {
            peer.write_all(&[b'x'; 10_000]).await.unwrap();
            let (reading, writing) = peer.into_split();
            (reading, writing)
        })
        .await;
        assert!(elapsed >= SLOW_TIMEOUT);
        let mut peer = peer;
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).await.expect("no reset");
        assert!(heard.len() > 100_000, "{}", heard.len());
    }

    #[test]
    fn a_close_frame_is_known_at_the_end_of_what_was_said() {
        let ends_with_one = |pieces: &[&[u8]]| {
            let mut tail = Tail::default();
            pieces.iter().for_each(|piece| tail.push(piece));
            assert!(tail.0.len() <= Tail::MAX);
            tail.is_close_frame()
        };
        let longest = [&b"\x88\xfdmask"[..], &[7; 125]].concat();
        let empty = b"\x88\x80mask";
        for said in [
            &[CLOSE][..],
            &[&[1; 5000], CLOSE],
            &[CLOSE, CLOSE],
            &[&CLOSE[..1], &CLOSE[1..7], &CLOSE[7..]],
            &[empty],
            &[&longest],
            &[&longest[..50], &longest[50..]],
        ] {
            assert!(ends_with_one(said), "{said:?}");
        }
        for said in [
            &[][..],
            &[&b""[..]],
            &[&CLOSE[..7]],
            &[CLOSE, b"x"],
            &[b"\x88\x81maskx"],
            &[b"\x88\x02\x03\xe8"],
            &[b"\x89\x80mask"],
        ] {
            assert!(!ends_with_one(said), "{said:?}");
        }
    }
}
