//! The frames that wait to be written to one client.
//!
//! They are ready-made, and shared by all clients that get them. An outbox writes nothing: a
//! [`Transmit`](super::ports::Transmit) does, and [advances](Outbox::advance) it by what the
//! socket took. It owns no memory while it is empty, which is how an idle client has it.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// A client's outbox.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The next frame, or what is left of it; empty if there is none.
    first: Bytes,
    /// The one behind it: two broadcasts in one turn are common.
    second: Bytes,
    /// Those behind that, and that the first is begun. Boxed: hardly any client has one, and
    /// every client has the place for it.
    rest: Option<Box<Rest>>,
}

/// What hardly any outbox has.
#[derive(Debug, Default)]
struct Rest {
    /// The frames behind the first two.
    frames: VecDeque<Bytes>,
    /// Their bytes, and what it costs to hold them.
    bytes: usize,
    /// The peer has a part of the first frame.
    is_begun: bool,
}

/// What a waiting frame costs beside its bytes: many small ones would otherwise
/// hold far more than the limits on outboxes say.
pub const OVERHEAD: usize = size_of::<Bytes>();

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// All is out.
    Empty,
    /// The socket is full; wait until it is writable.
    Blocked,
    /// The connection is gone.
    Broken,
}

/// A frame's bytes, and what it costs to hold them; 0 for none.
#[inline]
fn cost(frame: &Bytes) -> usize {
    if frame.is_empty() { 0 } else { OVERHEAD + frame.len() }
}

impl Outbox {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// One with this frame.
    pub fn of(frame: Bytes) -> Self {
        let mut outbox = Self::default();
        outbox.push(frame);
        outbox
    }

    /// Bytes that wait, and what it costs to hold them.
    #[inline]
    pub fn bytes(&self) -> usize {
        cost(&self.first) + cost(&self.second) + self.rest.as_ref().map_or(0, |rest| rest.bytes)
    }

    /// Appends a frame. Empty ones (a raw message may be) are nothing.
    pub fn push(&mut self, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        if self.first.is_empty() {
            self.first = frame;
        } else if self.second.is_empty() {
            self.second = frame;
        } else {
            let rest = self.rest.get_or_insert_default();
            rest.bytes += cost(&frame);
            rest.frames.push_back(frame);
        }
    }

    /// Puts a frame in the place of the last one, which it begins with.
    ///
    /// # Panics
    /// In a debug build, when no frame waits, more than two do, or the first is begun.
    pub(super) fn extend_last(&mut self, frame: Bytes) {
        debug_assert!(
            !self.is_empty() && self.rest.is_none(),
            "an outbox whose last frame is not to be extended"
        );
        let last = if self.second.is_empty() { &mut self.first } else { &mut self.second };
        debug_assert!(frame.starts_with(last));
        *last = frame;
    }

    /// The frame in front, or what is left of it; empty if there is none.
    pub fn first(&self) -> &Bytes {
        &self.first
    }

    /// The frame at the end, or what is left of it; empty if there is none.
    pub fn last(&self) -> &Bytes {
        let behind = self.rest.as_ref().and_then(|rest| rest.frames.back());
        behind.unwrap_or(if self.second.is_empty() { &self.first } else { &self.second })
    }

    /// The last frame, where there is one that can be [extended](Self::extend_last).
    #[inline]
    pub(super) fn extensible(&self) -> Option<&Bytes> {
        let last = if self.second.is_empty() { &self.first } else { &self.second };
        (self.rest.is_none() && !last.is_empty()).then_some(last)
    }

    /// Whether there is one frame at most.
    pub fn is_single(&self) -> bool {
        self.second.is_empty()
    }

    /// Whether the peer has a part of the frame in front.
    pub fn is_begun(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.is_begun)
    }

    /// The frames, in order.
    pub fn frames(&self) -> impl Iterator<Item = &Bytes> {
        [&self.first, &self.second]
            .into_iter()
            .filter(|frame| !frame.is_empty())
            .chain(self.rest.iter().flat_map(|rest| &rest.frames))
    }

    /// Takes off the front what the socket has taken.
    #[inline]
    pub fn advance(&mut self, written: usize) {
        // The usual case: that was all.
        if written == self.first.len() && self.second.is_empty() && self.rest.is_none() {
            self.first = Bytes::new();
        } else {
            self.advance_some(written);
        }
    }

    fn advance_some(&mut self, mut written: usize) {
        while written >= self.first.len() && written > 0 {
            written -= self.first.len();
            self.first = std::mem::take(&mut self.second);
            if let Some(rest) = &mut self.rest {
                self.second = rest.frames.pop_front().unwrap_or_default();
                rest.bytes -= cost(&self.second);
                rest.is_begun = false;
            }
        }
        if written > 0 {
            self.first.advance(written);
            self.rest.get_or_insert_default().is_begun = true;
        }
        // Looked at first: to drop what is not there is a call for each client of a broadcast.
        if self.second.is_empty() && self.rest.as_ref().is_some_and(|rest| !rest.is_begun) {
            self.rest = None;
        }
    }

    /// Drops the frames of which the socket has taken nothing. What is left are those that the
    /// peer has, or will have, in part: whatever is pushed next begins behind a whole frame.
    /// So many bytes are [committed](super::ports::Transmit::committed).
    pub fn drop_unsent(&mut self, committed: usize) {
        let is_begun = self.is_begun();
        let taken = committed.max(usize::from(is_begun));
        let mut kept = Self::default();
        let mut len = 0;
        for frame in self.frames() {
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
