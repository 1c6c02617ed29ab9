//! What waits to be written to one client.
//!
//! The outbox holds shared, ready-made frames; a shard flushes it once a turn.
//! It owns no memory while it is empty, which is how an idle client has it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::c_int;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

use crate::socket::{Socket, send};
use crate::tls::{RECORD, TlsSocket};

/// Frames in one `writev`. Linux takes 1024; more than a few dozen gain nothing.
const SLICES: usize = 64;

/// Several frames that are together no longer than this are copied into one
/// buffer and sent, which costs less than a `writev`.
const GATHER: usize = 8 * 1024;

/// Tells the system that what is sent need not leave yet: the end of the connection follows.
#[cfg(target_os = "linux")]
const END_FOLLOWS: c_int = libc::MSG_MORE;
#[cfg(not(target_os = "linux"))]
const END_FOLLOWS: c_int = 0;

thread_local! {
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A client's outbox.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The next frame, or what is left of it; empty if there is none.
    first: Bytes,
    /// The one behind it: two broadcasts in one turn are common.
    second: Bytes,
    /// Those behind that, and that the first is begun. Boxed: hardly any client has one, and
    /// every client has the place for it.
    rest: Option<Box<Rest>>,
    bytes: usize,
}

/// What hardly any outbox has.
#[derive(Debug, Default)]
struct Rest {
    /// The frames behind the first two.
    frames: VecDeque<Bytes>,
    /// The peer has a part of the first frame.
    is_begun: bool,
}

/// What a waiting frame costs beside its bytes: many small ones would otherwise
/// hold far more than the limits on outboxes say.
const OVERHEAD: usize = size_of::<Bytes>();

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All is out.
    Empty,
    /// The socket is full; wait until it is writable.
    Blocked,
    /// The connection is gone.
    Broken,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// One with this frame.
    pub(crate) fn of(frame: Bytes) -> Self {
        let mut outbox = Self::default();
        outbox.push(frame);
        outbox
    }

    /// Bytes that wait, and what it costs to hold them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a frame. Empty ones (a raw message may be) are nothing.
    pub(crate) fn push(&mut self, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        self.bytes += OVERHEAD + frame.len();
        if self.first.is_empty() {
            self.first = frame;
        } else if self.second.is_empty() {
            self.second = frame;
        } else {
            self.rest.get_or_insert_default().frames.push_back(frame);
        }
    }

    /// Writes as much as `socket` takes without waiting.
    pub(crate) fn flush(&mut self, socket: &Socket) -> Flushed {
        self.flush_with(socket, 0)
    }

    /// As [`flush`](Self::flush), for a socket that is closed next if all is out: the end
    /// of the connection leaves in the same packet, and wakes the peer but once.
    pub(crate) fn flush_last(&mut self, socket: &Socket) -> Flushed {
        self.flush_with(socket, END_FOLLOWS)
    }

    fn flush_with(&mut self, socket: &Socket, flags: c_int) -> Flushed {
        while !self.is_empty() {
            match self.write(socket, flags) {
                Ok(0) => return Flushed::Broken,
                Ok(written) => self.advance(written),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Flushed::Blocked,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flushed::Broken,
            }
        }
        Flushed::Empty
    }

    /// The frames, in order.
    fn frames(&self) -> impl Iterator<Item = &Bytes> {
        [&self.first, &self.second].into_iter().chain(self.rest.iter().flat_map(|rest| &rest.frames))
    }

    fn write(&self, socket: &Socket, flags: c_int) -> io::Result<usize> {
        let tcp = match socket {
            Socket::Plain(tcp) => tcp,
            // Before the end of the connection there is TLS's own.
            Socket::Tls(tls) => return self.write_tls(tls),
        };
        if self.second.is_empty() {
            return send(tcp, &self.first, flags);
        }
        if self.bytes <= GATHER {
            return GATHERED.with_borrow_mut(|gathered| {
                gathered.clear();
                self.frames().for_each(|frame| gathered.extend_from_slice(frame));
                send(tcp, gathered, flags)
            });
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut n = 0;
        for (slice, frame) in slices.iter_mut().zip(self.frames()) {
            *slice = IoSlice::new(frame);
            n += 1;
        }
        tcp.try_write_vectored(&slices[..n])
    }

    /// A record's worth. What is in a record leaves the outbox when all of that is
    /// written, so that it counts until then; the same frames stand in front meanwhile.
    fn write_tls(&self, tls: &TlsSocket) -> io::Result<usize> {
        if self.second.is_empty() || self.first.len() >= RECORD || tls.sealed() > 0 {
            return tls.try_write(&self.first);
        }
        GATHERED.with_borrow_mut(|gathered| {
            gathered.clear();
            for frame in self.frames() {
                let fits = frame.len().min(RECORD - gathered.len());
                gathered.extend_from_slice(&frame[..fits]);
                if gathered.len() == RECORD {
                    break;
                }
            }
            tls.try_write(gathered)
        })
    }

    /// Takes off the front what the socket has taken.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while written >= self.first.len() && written > 0 {
            written -= self.first.len();
            self.bytes -= OVERHEAD;
            self.first = std::mem::take(&mut self.second);
            self.second = self.rest.as_mut().and_then(|rest| rest.frames.pop_front()).unwrap_or_default();
            if let Some(rest) = &mut self.rest {
                rest.is_begun = false;
            }
        }
        if written > 0 {
            self.first.advance(written);
            self.rest.get_or_insert_default().is_begun = true;
        }
        if self.second.is_empty() && !self.rest.as_ref().is_some_and(|rest| rest.is_begun) {
            self.rest = None;
        }
    }

    /// Drops the frames of which `socket` has taken nothing. What is left are those that the
    /// peer has, or will have, in part: whatever is pushed next begins behind a whole frame.
    pub(crate) fn drop_unsent(&mut self, socket: &Socket) {
        let is_begun = self.rest.as_ref().is_some_and(|rest| rest.is_begun);
        let taken = socket.sealed().max(usize::from(is_begun));
        let mut kept = Self::default();
        let mut len = 0;
        for frame in self.frames().take_while(|frame| !frame.is_empty()) {
            if len >= taken {
                break;
            }
            len += frame.len();
            kept.push(frame.clone());
        }
        if is_begun {
            kept.rest.get_or_insert_default().is_begun = true;
        }
        *self = kept;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::shard::testing::connection;

    #[tokio::test]
    async fn everything_arrives_in_order_however_little_the_socket_takes_at_once() {
        let (ours, mut theirs) = connection().await;
        let ours = Socket::Plain(ours);
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for i in 0..3000_usize {
            let frame = vec![i as u8; i];
            expected.extend_from_slice(&frame);
            outbox.push(frame.into());
        }
        // The first is empty, and so is nothing.
        assert_eq!(outbox.bytes(), expected.len() + 2999 * OVERHEAD);

        let reading = tokio::spawn(async move {
            let mut received = Vec::new();
            theirs.read_to_end(&mut received).await.unwrap();
            received
        });
        let mut blocked = 0;
        while outbox.flush(&ours) == Flushed::Blocked {
            blocked += 1;
            ours.tcp().writable().await.unwrap();
        }
        drop(ours);
        assert!(blocked > 0, "the socket took everything at once: this tests nothing");
        assert!(outbox.is_empty() && outbox.bytes() == 0 && outbox.rest.is_none());
        assert_eq!(reading.await.unwrap(), expected);
    }

    #[tokio::test]
    async fn frames_that_have_not_begun_to_leave_can_be_dropped_and_the_others_arrive_whole() {
        for len in [10, 300_000] {
            let (ours, mut theirs) = connection().await;
            let ours = Socket::Plain(ours);
            let mut outbox = Outbox::default();
            let mut pushed = 0_u8;
            while outbox.flush(&ours) == Flushed::Empty {
                for _ in 0..50 {
                    outbox.push(vec![pushed; len].into());
                    pushed = (pushed + 1) % 250;
                }
            }
            outbox.drop_unsent(&ours);
            assert!(outbox.frames().filter(|frame| !frame.is_empty()).count() <= 1);
            assert!(outbox.bytes() <= len + OVERHEAD);
            outbox.push(vec![255; len].into());
            let reading = tokio::spawn(async move {
                let mut received = Vec::new();
                theirs.read_to_end(&mut received).await.unwrap();
                received
            });
            while outbox.flush(&ours) == Flushed::Blocked {
                ours.tcp().writable().await.unwrap();
            }
            assert!(outbox.is_empty() && outbox.bytes() == 0 && outbox.rest.is_none());
            drop(ours);
            let received = reading.await.unwrap();
            for frame in received.chunks(len) {
                assert!(frame.len() == len && frame.iter().all(|byte| *byte == frame[0]), "half a frame");
            }
            assert_eq!(received.last(), Some(&255));
        }
    }

    #[tokio::test]
    async fn the_last_words_arrive_before_the_end() {
        for len in [4, 100_000] {
            let (ours, mut theirs) = connection().await;
            let ours = Socket::Plain(ours);
            let mut outbox = Outbox::default();
            outbox.push(vec![b'x'; len].into());
            assert_eq!(outbox.flush_last(&ours), Flushed::Empty);
            drop(ours);
            let mut received = Vec::new();
            theirs.read_to_end(&mut received).await.unwrap();
            assert_eq!(received.len(), len);
        }
    }

    #[tokio::test]
    async fn a_few_small_frames_leave_together() {
        let (ours, mut theirs) = connection().await;
        let ours = Socket::Plain(ours);
        let mut outbox = Outbox::default();
        for frame in ["one ", "two ", "three"] {
            outbox.push(frame.into());
        }
        assert_eq!(outbox.flush(&ours), Flushed::Empty);
        let mut received = [0; 64];
        let n = theirs.read(&mut received).await.unwrap();
        assert_eq!(&received[..n], b"one two three");
    }
}
