//! [`Budget`]: how many bytes may wait in the NATS client, and for how long.
//!
//! The client does not say what it has not written yet. But it drops the bytes of a message when it has written them or copied them into
//! its buffer, which is small, and so the bytes give themselves back. It writes in the order in which it was given them: when so many bytes
//! have come back as were charged up to a message, that message is written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Nothing more is charged once something has waited for so long, in ms: what comes now would come late.
const LONGEST_WAIT_MS: u64 = 1_000;

/// Bytes that wait, and how many may.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    charges: Arc<Mutex<Charges>>,
    /// How many bytes have come back since the beginning.
    freed: Arc<AtomicU64>,
    limit: u64,
}

#[derive(Debug, Default)]
struct Charges {
    /// How many bytes were charged since the beginning.
    charged: u64,
    /// So many bytes were charged at `marked_ms`. When they have come back, a later point is marked: what waits is at most twice as old
    /// as the mark when the wait is found to be too long.
    marked: u64,
    marked_ms: u64,
}

struct Charged {
    bytes: Bytes,
    freed: Arc<AtomicU64>,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { charges: Arc::default(), freed: Arc::default(), limit }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.charges().charged == self.freed.load(Ordering::Relaxed)
    }

    /// The same bytes, which are charged as long as they are there; `None` if there is no room for them, or if what waits has waited for
    /// more than a second (two at most).
    pub(crate) fn charge(&self, bytes: Bytes, now_ms: u64) -> Option<Bytes> {
        let mut charges = self.charges();
        let freed = self.freed.load(Ordering::Relaxed);
        let is_mark_written = freed >= charges.marked;
        if !is_mark_written && now_ms > charges.marked_ms + LONGEST_WAIT_MS {
            return None;
        }
        let (waiting, len) = (charges.charged - freed, bytes.len() as u64);
        // A message that is longer than all of the budget may go alone.
        if waiting > 0 && waiting + len > self.limit {
            return None;
        }
        charges.charged += len;
        if is_mark_written {
            (charges.marked, charges.marked_ms) = (charges.charged, now_ms);
        }
        Some(Bytes::from_owner(Charged { bytes, freed: self.freed.clone() }))
    }

    fn charges(&self) -> MutexGuard<'_, Charges> {
        self.charges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.freed.fetch_add(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_charged_as_long_as_they_are_there() {
        let budget = Budget::new(10);
        let bytes = || Bytes::from_static(b"sixsix");
        assert!(budget.is_empty());
        let first = budget.charge(bytes(), 0).unwrap();
        assert!(!budget.is_empty());
        assert_eq!(first, bytes());
        let part = first.slice(2..3);
        assert!(budget.charge(bytes(), 0).is_none());
        drop(first);
        assert!(budget.charge(bytes(), 0).is_none(), "a part holds all of it");
        drop(part);
        assert!(budget.charge(bytes(), 0).is_some());
        assert!(budget.charge(Bytes::from_static(b"more than there may be"), 0).is_some());
    }

    #[test]
    fn nothing_is_charged_once_something_has_waited_for_more_than_a_second() {
        let budget = Budget::new(1_000);
        let charge = |now_ms| budget.charge(Bytes::from_static(b"x"), now_ms);
        let mut waiting = std::collections::VecDeque::from([charge(5_000).unwrap()]);
        waiting.push_back(charge(5_900).unwrap());
        waiting.push_back(charge(6_000).unwrap());
        assert!(charge(6_001).is_none());
        waiting.pop_front();
        // The next one is as old as it may be, and is found to be so within another second.
        waiting.push_back(charge(6_001).unwrap());
        assert!(charge(7_001).is_some());
        assert!(charge(7_002).is_none());
        waiting.clear();
        assert!(charge(60_000).is_some(), "nothing waits, however long ago that was");
    }
}
