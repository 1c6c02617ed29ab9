//! [`Budget`]: how many bytes may wait in the NATS client.
//!
//! The client does not say what it has not written yet. But it drops the bytes of a message when it has written them or copied them into
//! its buffer, which is small, and so the bytes give themselves back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Bytes that wait, and how many may.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

struct Charged {
    bytes: Bytes,
    used: Arc<AtomicUsize>,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.used.load(Ordering::Relaxed) == 0
    }

    /// The same bytes, which are charged as long as they are there; `None` if there is no room for them.
    pub(crate) fn charge(&self, bytes: Bytes) -> Option<Bytes> {
        let used = self.used.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        let charged = Charged { bytes, used: self.used.clone() };
        // A message that is longer than all of the budget may go alone.
        let fits = used <= self.limit || used == charged.bytes.len();
        fits.then(|| Bytes::from_owner(charged))
    }
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes.len(), Ordering::Relaxed);
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
        let first = budget.charge(bytes()).unwrap();
        assert!(!budget.is_empty());
        assert_eq!(first, bytes());
        let part = first.slice(2..3);
        assert!(budget.charge(bytes()).is_none());
        drop(first);
        assert!(budget.charge(bytes()).is_none(), "a part holds all of it");
        drop(part);
        assert!(budget.charge(bytes()).is_some());
        assert!(budget.charge(Bytes::from_static(b"more than there may be")).is_some());
    }
}
