//! Writing a client's outbox to its socket: the core's port [`Transmit`] over TCP and TLS.
//!
//! It never waits, and makes as few system calls as it can: several small frames are copied into
//! one buffer, many or large ones are written in one `writev`, and TLS seals a record at a time.
//! The core's `flush` and `closing` call it.

use std::cell::RefCell;
use std::ffi::c_int;
use std::io::{self, IoSlice};

use crate::core::outbox::{Flushed, Outbox};
use crate::core::ports::Transmit;
use crate::socket::{Socket, send};
use crate::tls::{RECORD, TlsSocket};

/// Frames in one `writev`. Linux takes 1024; more than a few dozen gain nothing.
const SLICES: usize = 64;

/// Several frames of together no more bytes than this are copied into one buffer, which costs less
/// than a `writev`.
const GATHER: usize = 8 * 1024;

/// The flag that delays a packet, as the end of the connection follows.
#[cfg(target_os = "linux")]
const END_FOLLOWS: c_int = libc::MSG_MORE;
#[cfg(not(target_os = "linux"))]
const END_FOLLOWS: c_int = 0;

thread_local! {
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Transmit for Socket {
    fn flush(&self, outbox: &mut Outbox) -> Flushed {
        flush_with(self, outbox, 0)
    }

    fn committed(&self) -> usize {
        self.sealed()
    }
}

/// Flushes as [`Transmit::flush`] does, a socket that is closed next: the end of the connection
/// leaves in the same packet and wakes the peer only once.
pub(crate) fn flush_last(socket: &Socket, outbox: &mut Outbox) -> Flushed {
    flush_with(socket, outbox, END_FOLLOWS)
}

fn flush_with(socket: &Socket, outbox: &mut Outbox, flags: c_int) -> Flushed {
    while !outbox.is_empty() {
        match write(socket, outbox, flags) {
            Ok(0) => return Flushed::Broken,
            Ok(written) => outbox.advance(written),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Flushed::Blocked,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Flushed::Broken,
        }
    }
    Flushed::Empty
}

fn write(socket: &Socket, outbox: &Outbox, flags: c_int) -> io::Result<usize> {
    let tcp = match socket {
        Socket::Plain(tcp) => tcp,
        // Without `flags`: a close_notify follows before the end of the connection.
        Socket::Tls(tls) => return write_record(tls, outbox),
    };
    if outbox.is_single() {
        return send(tcp, outbox.first(), flags);
    }
    if outbox.bytes() <= GATHER {
        return GATHERED.with_borrow_mut(|gathered| {
            gathered.clear();
            outbox.frames().for_each(|frame| gathered.extend_from_slice(frame));
            send(tcp, gathered, flags)
        });
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    let mut n = 0;
    for (slice, frame) in slices.iter_mut().zip(outbox.frames()) {
        *slice = IoSlice::new(frame);
        n += 1;
    }
    tcp.try_write_vectored(&slices[..n])
}

/// Writes one TLS record. The frames of a record leave the outbox when the socket has taken the whole
/// record, and count as queued until then.
fn write_record(tls: &TlsSocket, outbox: &Outbox) -> io::Result<usize> {
    if outbox.is_single() || outbox.first().len() >= RECORD || tls.sealed() > 0 {
        return tls.try_write(outbox.first());
    }
    GATHERED.with_borrow_mut(|gathered| {
        gathered.clear();
        for frame in outbox.frames() {
            let fits = frame.len().min(RECORD - gathered.len());
            gathered.extend_from_slice(&frame[..fits]);
            if gathered.len() == RECORD {
                break;
            }
        }
        tls.try_write(gathered)
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::core::outbox::OVERHEAD;
    use crate::shard::testing::connection;

    #[tokio::test]
    async fn everything_arrives_in_order_even_if_the_socket_takes_little_at_once() {
        let (ours, mut theirs) = connection().await;
        let ours = Socket::Plain(ours);
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for i in 0..3000_usize {
            let frame = vec![i as u8; i];
            expected.extend_from_slice(&frame);
            outbox.push(frame.into());
        }
        // The first frame is empty, and empty frames are not queued.
        assert_eq!(outbox.bytes(), expected.len() + 2999 * OVERHEAD);

        let reading = tokio::spawn(async move {
            let mut received = Vec::new();
            theirs.read_to_end(&mut received).await.unwrap();
            received
        });
        let mut blocked = 0;
        while ours.flush(&mut outbox) == Flushed::Blocked {
            blocked += 1;
            ours.tcp().writable().await.unwrap();
        }
        drop(ours);
        assert!(blocked > 0, "the socket took everything at once: this tests nothing");
        assert!(outbox.is_empty() && outbox.bytes() == 0);
        assert_eq!(reading.await.unwrap(), expected);
    }

    #[tokio::test]
    async fn unsent_frames_can_be_dropped_and_the_others_arrive_whole() {
        for len in [10, 300_000] {
            let (ours, mut theirs) = connection().await;
            let ours = Socket::Plain(ours);
            let mut outbox = Outbox::default();
            let mut pushed = 0_u8;
            while ours.flush(&mut outbox) == Flushed::Empty {
                for _ in 0..50 {
                    outbox.push(vec![pushed; len].into());
                    pushed = (pushed + 1) % 250;
                }
            }
            outbox.drop_unsent(ours.committed());
            assert!(outbox.frames().count() <= 1);
            assert!(outbox.bytes() <= len + OVERHEAD);
            outbox.push(vec![255; len].into());
            let reading = tokio::spawn(async move {
                let mut received = Vec::new();
                theirs.read_to_end(&mut received).await.unwrap();
                received
            });
            while ours.flush(&mut outbox) == Flushed::Blocked {
                ours.tcp().writable().await.unwrap();
            }
            assert!(outbox.is_empty() && outbox.bytes() == 0);
            drop(ours);
            let received = reading.await.unwrap();
            for frame in received.chunks(len) {
                assert!(frame.len() == len && frame.iter().all(|byte| *byte == frame[0]), "half a frame");
            }
            assert_eq!(received.last(), Some(&255));
        }
    }

    #[tokio::test]
    async fn the_last_frame_arrives_before_the_end() {
        for len in [4, 100_000] {
            let (ours, mut theirs) = connection().await;
            let ours = Socket::Plain(ours);
            let mut outbox = Outbox::default();
            outbox.push(vec![b'x'; len].into());
            assert_eq!(flush_last(&ours, &mut outbox), Flushed::Empty);
            drop(ours);
            let mut received = Vec::new();
            theirs.read_to_end(&mut received).await.unwrap();
            assert_eq!(received.len(), len);
        }
    }

    #[tokio::test]
    async fn small_frames_leave_together() {
        let (ours, mut theirs) = connection().await;
        let ours = Socket::Plain(ours);
        let mut outbox = Outbox::default();
        for frame in ["one ", "two ", "three"] {
            outbox.push(frame.into());
        }
        assert_eq!(ours.flush(&mut outbox), Flushed::Empty);
        let mut received = [0; 64];
        let n = theirs.read(&mut received).await.unwrap();
        assert_eq!(&received[..n], b"one two three");
    }
}
