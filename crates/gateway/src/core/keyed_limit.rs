//! A limit on how many of something each key has: clients of an address, clients of a uid.
//!
//! All shards share one. The table holds only keys that have something, so it is no larger than
//! the number of clients. `listener` counts connections by address, `membership_limits` uids.

use std::borrow::Borrow;
use std::hash::Hash;

use dashmap::DashMap;
use foldhash::fast::RandomState;

/// A number for each key, and the limit that all have.
#[derive(Debug)]
pub(crate) struct KeyedLimit<K: Eq + Hash> {
    max: usize,
    counts: DashMap<K, usize, RandomState>,
}

impl<K: Eq + Hash> KeyedLimit<K> {
    /// At most `max` for each key.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, counts: DashMap::default() }
    }

    /// Counts one more, unless the limit is reached. Returns whether it was counted.
    pub(crate) fn acquire(&self, key: K) -> bool {
        let mut count = self.counts.entry(key).or_insert(0);
        let has_room = *count < self.max;
        *count += usize::from(has_room);
        has_room
    }

    /// Whether one more would be within the limit.
    pub(crate) fn has_room<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.counts.get(key).map_or(0, |count| *count) < self.max
    }

    /// Counts one less.
    pub(crate) fn release<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.counts.remove_if_mut(key, |_, count| {
            *count -= 1;
            *count == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_so_many_and_may_have_others_when_they_are_released() {
        let limit = KeyedLimit::new(2);
        assert!(limit.acquire("a") && limit.acquire("a"));
        assert!(!limit.acquire("a"));
        assert!(limit.acquire("b"));
        limit.release("a");
        assert!(limit.acquire("a"));
        assert!(!limit.acquire("a"));
    }

    #[test]
    fn a_key_without_any_is_forgotten() {
        let limit = KeyedLimit::new(1);
        for n in 0..100_u8 {
            assert!(limit.acquire(n));
            assert_eq!(limit.counts.len(), 1);
            limit.release(&n);
        }
        assert!(limit.counts.is_empty());
    }
}
