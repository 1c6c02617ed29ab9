//! What one client is to be sent, and when its turn to be written to comes.
//!
//! A [`SendQueue`] is a client's outbox with two facts about it: whether its socket is full,
//! and on which of the shard's lists the client stands. The bytes that wait for clients whose
//! sockets are full are counted for the whole shard; only this file changes that count.

use bytes::Bytes;

use super::outbox::{Flushed, Outbox};
use super::ports::Transmit;
use super::shared_frames::SharedFrames;

/// When a client is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// First: the client was sent something of its own.
    Urgent,
    /// In a slice: many were sent the same.
    Bulk,
}

/// What may wait for one client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For this client, in bytes.
    pub(super) client: usize,
    /// For all clients of the shard whose sockets are full, in bytes.
    pub(super) shard: usize,
}

/// One client's queue.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    outbox: Outbox,
    /// The list that the client stands on.
    listed: Option<Priority>,
    /// What hardly any queue has, together: so each frame is asked for it once.
    marks: u8,
}

/// The socket is full, and the shell waits until it is writable.
const BLOCKED: u8 = 1;

/// The client is traced: each frame is looked at.
const TRACED: u8 = 2;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    /// It waits; put the client on the list of this priority.
    List(Priority),
    /// It waits, and the client stands on a list already, or its socket is full.
    Waits,
    /// The connection has just failed: its next flush says so.
    Broken,
    /// It does not fit: the client does not read.
    Full,
    /// It waits, and it is the last of the queue, to be looked at; put the client on the list of this priority, if
    /// there is one.
    Traced(Option<Priority>),
}

impl SendQueue {
    /// A queue with this frame, if it is not empty. The client stands on no list: the caller has it flushed.
    pub(super) fn of(frame: Bytes) -> Self {
        Self { outbox: Outbox::of(frame), ..Self::default() }
    }

    /// Appends a frame. `blocked_bytes` are those of the shard.
    pub(super) fn push(
        &mut self,
        frame: Bytes,
        priority: Priority,
        limits: Limits,
        blocked_bytes: &mut usize,
        transmit: &impl Transmit,
    ) -> Queued {
        if !self.fits(&frame, limits, *blocked_bytes) {
            // The client is slow only if its socket is full: perhaps much came in one turn.
            if !self.is_blocked() && transmit.flush(&mut self.outbox) == Flushed::Broken {
                return Queued::Broken;
            }
            if !self.fits(&frame, limits, *blocked_bytes) {
                return Queued::Full;
            }
        }
        let before = self.outbox.bytes();
        self.outbox.push(frame);
        if self.marks != 0 {
            return self.pushed_marked(priority, before, blocked_bytes);
        }
        self.list(priority)
    }

    /// Appends an encoding of a message for many, which may [join](SharedFrames::joined) the last frame.
    pub(super) fn push_shared<'m>(
        &mut self,
        encoding: &'m Bytes,
        frames: &mut SharedFrames<'m>,
        limits: Limits,
        blocked_bytes: &mut usize,
        transmit: &impl Transmit,
    ) -> Queued {
        // A traced frame is looked at by itself; one that is begun has gone in part.
        if self.marks == 0
            && self.fits(encoding, limits, *blocked_bytes)
            && let Some(last) = self.outbox.extensible()
            && let Some(joined) = frames.joined(last, encoding)
        {
            self.outbox.extend_last(joined);
            return self.list(Priority::Bulk);
        }
        self.push(frames.alone(encoding), Priority::Bulk, limits, blocked_bytes, transmit)
    }

    /// Appends frames that are sent again, however many they are.
    pub(super) fn push_all<'f>(&mut self, frames: impl Iterator<Item = &'f Bytes>) {
        frames.for_each(|frame| self.outbox.push(frame.clone()));
    }

    /// Does the rest of a push where the queue has a mark.
    #[inline(never)]
    fn pushed_marked(&mut self, priority: Priority, before: usize, blocked_bytes: &mut usize) -> Queued {
        let pushed = self.outbox.bytes() - before;
        let queued = if self.is_blocked() {
            *blocked_bytes += pushed;
            Queued::Waits
        } else {
            self.list(priority)
        };
        match queued {
            // An empty frame is none.
            _ if !self.is_traced() || pushed == 0 => queued,
            Queued::List(priority) => Queued::Traced(Some(priority)),
            _ => Queued::Traced(None),
        }
    }

    #[inline]
    fn list(&mut self, priority: Priority) -> Queued {
        match (self.listed, priority) {
            // It may stand on the other list already, and then stays there for nothing.
            (None, _) | (Some(Priority::Bulk), Priority::Urgent) => {
                self.listed = Some(priority);
                Queued::List(priority)
            }
            (Some(_), _) => Queued::Waits,
        }
    }

    fn fits(&self, frame: &Bytes, limits: Limits, blocked_bytes: usize) -> bool {
        // A single frame over the limit still goes out, as in the original.
        self.outbox.is_empty()
            || (self.outbox.bytes() + frame.len() <= limits.client
                && !(self.is_blocked() && blocked_bytes + frame.len() > limits.shard))
    }

    /// Writes, as the client's turn has come. `Blocked` is returned once: from then on
    /// [`writable`](Self::writable) writes.
    pub(super) fn flush(&mut self, blocked_bytes: &mut usize, transmit: &impl Transmit) -> Flushed {
        self.listed = None;
        if self.is_blocked() {
            return Flushed::Empty;
        }
        let flushed = transmit.flush(&mut self.outbox);
        if flushed == Flushed::Blocked {
            self.marks |= BLOCKED;
            *blocked_bytes += self.outbox.bytes();
        }
        flushed
    }

    /// Writes, as the socket takes bytes again.
    pub(super) fn writable(&mut self, blocked_bytes: &mut usize, transmit: &impl Transmit) -> Flushed {
        let before = self.outbox.bytes();
        let flushed = transmit.flush(&mut self.outbox);
        if self.is_blocked() {
            *blocked_bytes -= before - self.outbox.bytes();
            if flushed == Flushed::Empty {
                self.marks &= !BLOCKED;
            }
        }
        flushed
    }

    /// Takes the outbox out of the shard's books.
    pub(super) fn close(self, blocked_bytes: &mut usize) -> Outbox {
        if self.is_blocked() {
            *blocked_bytes -= self.outbox.bytes();
        }
        self.outbox
    }

    /// Whether the socket is full.
    #[inline]
    pub(super) fn is_blocked(&self) -> bool {
        self.marks & BLOCKED != 0
    }

    /// Whether the client is traced.
    #[inline]
    pub(super) fn is_traced(&self) -> bool {
        self.marks & TRACED != 0
    }

    /// Marks the client as traced, or not.
    pub(super) fn set_traced(&mut self, is_traced: bool) {
        self.marks = if is_traced { self.marks | TRACED } else { self.marks & !TRACED };
    }

    /// The frame that was pushed last; empty if none waits.
    pub(super) fn last(&self) -> &Bytes {
        self.outbox.last()
    }

    /// The frames that wait, in order.
    pub(super) fn frames(&self) -> impl Iterator<Item = &Bytes> {
        self.outbox.frames()
    }

    /// Whether the client has a part of the first frame.
    pub(super) fn is_begun(&self) -> bool {
        self.outbox.is_begun()
    }

    /// Bytes that wait, and what it costs to hold them.
    pub(super) fn bytes(&self) -> usize {
        self.outbox.bytes()
    }
}
