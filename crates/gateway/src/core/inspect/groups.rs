//! The walk over a shard's groups.

use std::cmp::Reverse;

use bytes::Bytes;

use super::top::Top;
use super::{SLICE, Walked};
use crate::core::Shard;
use crate::core::ports::Ports;

/// A look at all groups of one shard, for the largest.
#[derive(Debug)]
pub(crate) struct GroupWalk {
    /// The next set of the shard's table.
    set: usize,
    /// Of the same size, the one that came to be earlier.
    top: Top<(usize, Reverse<u64>), Bytes>,
}

impl GroupWalk {
    /// A walk that keeps the `limit` largest.
    pub(crate) fn new(limit: usize) -> Self {
        Self { set: 0, top: Top::new(limit) }
    }

    /// Looks at the next groups of the shard.
    pub(crate) fn advance<P: Ports>(&mut self, shard: &Shard<P>) -> Walked {
        let table = shard.table();
        let end = table.group_sets().min(self.set + SLICE);
        for set in self.set..end {
            if let Some((created, name, members)) = table.group_set(set) {
                self.top.offer((members, Reverse(created)), || name.clone());
            }
        }
        self.set = end;
        if end < table.group_sets() { Walked::More } else { Walked::All }
    }

    /// Returns the largest.
    pub(crate) fn finish(self) -> Vec<Bytes> {
        self.top.into_sorted()
    }
}
