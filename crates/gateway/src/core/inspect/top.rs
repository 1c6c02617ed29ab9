//! The first so many of all that a walk has seen, in bounded memory.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The `limit` items of the highest rank. No two items have the same rank.
#[derive(Debug)]
pub(super) struct Top<R, T> {
    limit: usize,
    /// The lowest first, which leaves when a higher one comes.
    items: BinaryHeap<Reverse<Ranked<R, T>>>,
}

#[derive(Debug)]
struct Ranked<R, T> {
    rank: R,
    item: T,
}

impl<R: Ord, T> Ord for Ranked<R, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl<R: Ord, T> PartialOrd for Ranked<R, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Ord, T> PartialEq for Ranked<R, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<R: Ord, T> Eq for Ranked<R, T> {}

impl<R: Ord, T> Top<R, T> {
    /// The top of nothing.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, items: BinaryHeap::new() }
    }

    /// Takes an item with this rank, which `make` makes, if it is among the first.
    pub(super) fn offer(&mut self, rank: R, make: impl FnOnce() -> T) {
        if self.items.len() >= self.limit {
            match self.items.peek() {
                Some(Reverse(lowest)) if lowest.rank < rank => _ = self.items.pop(),
                _ => return,
            }
        }
        self.items.push(Reverse(Ranked { rank, item: make() }));
    }

    /// Returns the items, the highest first.
    pub(super) fn into_sorted(self) -> Vec<T> {
        self.items.into_sorted_vec().into_iter().map(|Reverse(ranked)| ranked.item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_are_kept_and_no_other_is_made() {
        let mut top = Top::new(3);
        let mut made = 0;
        for rank in [5, 1, 9, 7, 2, 3, 8] {
            top.offer(rank, || {
                made += 1;
                rank
            });
        }
        assert_eq!(top.into_sorted(), [9, 8, 7]);
        assert_eq!(made, 5, "2 and 3 came too late");
    }

    #[test]
    fn the_top_of_few_is_all_of_them_and_that_of_none_is_empty() {
        let mut top = Top::new(3);
        top.offer(1, || "one");
        assert_eq!(top.into_sorted(), ["one"]);
        let mut none = Top::new(0);
        none.offer(1, || "one");
        assert!(none.into_sorted().is_empty());
    }
}
