//! [`Kept`]: the messages of one client that it has not acknowledged, ready to be sent again.
//!
//! Plain data: `resumption` bounds it and sends from it. A frame is a counted reference, shared with all other clients
//! that got the same.

use std::collections::VecDeque;

use bytes::Bytes;

use super::super::outbox::OVERHEAD;

/// Messages to one client, numbered from 1.
#[derive(Debug, Default)]
pub(in crate::core) struct Kept {
    /// The frames behind number `before`.
    frames: VecDeque<Bytes>,
    /// The number of the last message that was acknowledged or forgotten.
    before: u64,
    /// What the frames hold, in bytes.
    bytes: usize,
}

/// Who has had room for so many frames is busy, and soon needs it again: it is given back only when the line is checked.
const BUSY: usize = 32;

/// An acknowledgement of a message that was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) struct NeverSent;

/// What it costs to keep a frame, in bytes.
fn cost(frame: &Bytes) -> usize {
    frame.len() + OVERHEAD
}

impl Kept {
    /// The number of the last message that was sent; 0 before the first.
    pub(in crate::core) fn last(&self) -> u64 {
        self.before + self.frames.len() as u64
    }

    /// What is kept, in bytes, and what it costs to hold it.
    pub(in crate::core) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps the next message.
    pub(in crate::core) fn push(&mut self, frame: Bytes) {
        self.bytes += cost(&frame);
        self.frames.push_back(frame);
    }

    /// Forgets the oldest message: a client that needs it cannot resume. Returns whether there was one.
    pub(in crate::core) fn forget_oldest(&mut self) -> bool {
        let Some(frame) = self.frames.pop_front() else { return false };
        self.before += 1;
        self.bytes -= cost(&frame);
        true
    }

    /// Forgets the messages up to number `to`, which the client has. A lower number than before says nothing.
    ///
    /// # Errors
    /// When no message had that number yet. Nothing has changed then.
    pub(in crate::core) fn acknowledge(&mut self, to: u64) -> Result<(), NeverSent> {
        if to > self.last() {
            return Err(NeverSent);
        }
        if to == self.last() {
            // The usual case: the client has all.
            self.frames.clear();
            (self.before, self.bytes) = (to, 0);
            if self.frames.capacity() < BUSY {
                self.free_room();
            }
        }
        while self.before < to && self.forget_oldest() {}
        Ok(())
    }

    /// Gives the room for frames back where there are none: a client that is idle needs none.
    pub(in crate::core) fn free_room(&mut self) {
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        }
    }

    /// The frames behind number `got`; `None` where some are forgotten, or that number was never sent.
    pub(in crate::core) fn frames_behind(&self, got: u64) -> Option<impl Iterator<Item = &Bytes>> {
        let skipped = got.checked_sub(self.before).filter(|_| got <= self.last())?;
        Some(self.frames.iter().skip(skipped as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(messages: u8) -> Kept {
        let mut kept = Kept::default();
        (1..=messages).for_each(|n| kept.push(Bytes::copy_from_slice(&[n])));
        kept
    }

    fn numbers(kept: &Kept) -> Vec<u8> {
        kept.frames_behind(kept.before).into_iter().flatten().map(|frame| frame[0]).collect()
    }

    #[test]
    fn what_is_acknowledged_is_forgotten_and_nothing_else() {
        let mut kept = kept(5);
        assert_eq!(kept.last(), 5);
        kept.acknowledge(2).unwrap();
        assert_eq!(numbers(&kept), [3, 4, 5]);
        kept.acknowledge(1).unwrap();
        assert_eq!(numbers(&kept), [3, 4, 5], "a late acknowledgement says nothing");
        assert_eq!(kept.acknowledge(6), Err(NeverSent));
        assert_eq!(numbers(&kept), [3, 4, 5]);
        kept.acknowledge(5).unwrap();
        assert_eq!((kept.last(), kept.bytes()), (5, 0));
        assert_eq!(kept.frames.capacity(), 0, "a quiet client holds no memory for messages");
        kept.push(Bytes::from_static(b"six"));
        assert_eq!(kept.last(), 6);
    }

    #[test]
    fn a_busy_client_keeps_its_room_until_it_is_idle() {
        let mut kept = kept(40);
        kept.acknowledge(40).unwrap();
        assert!(kept.frames.capacity() >= 40);
        kept.push(Bytes::from_static(b"one more"));
        kept.free_room();
        assert_eq!(numbers(&kept), b"o");
        kept.acknowledge(41).unwrap();
        kept.free_room();
        assert_eq!((kept.frames.capacity(), kept.bytes()), (0, 0));
    }

    #[test]
    fn what_is_forgotten_is_missed_by_those_that_need_it_alone() {
        let mut kept = kept(3);
        let before = kept.bytes();
        assert!(kept.forget_oldest());
        assert!(kept.bytes() < before);
        assert_eq!(
            [0, 1, 2, 3, 4].map(|got| kept.frames_behind(got).map(Iterator::count)),
            [None, Some(2), Some(1), Some(0), None]
        );
        kept.acknowledge(0).unwrap();
        assert_eq!(numbers(&kept), [2, 3]);
        while kept.forget_oldest() {}
        assert_eq!((kept.last(), kept.bytes()), (3, 0));
    }
}
