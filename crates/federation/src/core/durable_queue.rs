//! [`DurableQueue`]: the calls of a process that JetStream has not acknowledged yet, and when a bundle of them is due.
//!
//! One bundle is under way at a time; what is said meanwhile waits, and goes with the next one (as small segments do in TCP, by Nagle's
//! algorithm). So JetStream stores a process's calls in their order, whatever is lost, late or published again on the way. `durable/sending.rs`
//! publishes what is due and tells the queue what became of it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_client::ClusterName;

use super::bundle::{Bundle, BundledCall};
use super::slots::Slots;

/// So many calls may wait.
const MAX_CALLS: usize = 16 * 1024;

/// So many bytes of calls may wait. One call that is longer may wait alone.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A bundle of several calls is not longer than this.
const MAX_BUNDLE: usize = 256 * 1024;

/// A bundle that is not acknowledged within this time is published again, in ms; then after twice the time, and so on: where JetStream answers
/// slowly, more of the same makes it slower.
const ACKNOWLEDGE_MS: u64 = 2_000;

/// The time is doubled so often at most.
const MAX_DOUBLED: u32 = 3;

/// A bundle that JetStream has refused is published again after this time, in ms; after twice the time if it is refused again, and so on.
const REFUSED_MS: u64 = 100;

/// It is published again after this time at the latest, in ms.
const MAX_REFUSED_MS: u64 = 2_000;

/// A call that waits for its acknowledgement.
#[derive(Debug)]
struct Kept {
    /// When it was said.
    at_ms: u64,
    to: Option<ClusterName>,
    slots: Slots,
    call: Bytes,
}

/// What is to be published.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A new bundle, which gets this number.
    New {
        /// Its number: the first is 1, and each has one more than the bundle before.
        number: u64,
        /// The calls.
        bundle: Bundle,
    },
    /// The last bundle, as it was.
    Again,
}

/// The bundle under way.
#[derive(Debug)]
struct UnderWay {
    /// It has the first so many calls of those that are kept.
    calls: usize,
    /// When its newest call was said.
    at_ms: u64,
    /// When it is published again.
    again_at_ms: u64,
    /// How often it was published on this connection without an answer.
    published: u32,
    /// How often it was refused.
    refused: u32,
}

/// Calls in the order in which they were said, of which the first ones may be under way.
#[derive(Debug)]
pub(crate) struct DurableQueue {
    kept: VecDeque<Kept>,
    /// How long these are together.
    bytes: usize,
    under_way: Option<UnderWay>,
    next_number: u64,
    counters: [u32; Slots::COUNT as usize],
    /// Whether JetStream takes bundles.
    is_open: bool,
}

impl DurableQueue {
    pub(crate) fn new() -> Self {
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            under_way: None,
            next_number: 1,
            counters: [0; Slots::COUNT as usize],
            is_open: false,
        }
    }

    /// How many calls are kept.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// The clusters that calls are kept for, each once; `None` among them for calls to all clusters.
    pub(crate) fn destinations(&self) -> Vec<Option<ClusterName>> {
        let mut to: Vec<_> = self.kept.iter().map(|kept| kept.to.clone()).collect();
        to.sort();
        to.dedup();
        to
    }

    /// Keeps a call until it is acknowledged. Returns whether there was room.
    pub(crate) fn keep(&mut self, to: Option<ClusterName>, slots: Slots, call: Bytes, now_ms: u64) -> bool {
        let bytes = self.bytes + call.len();
        let has_room = self.kept.len() < MAX_CALLS && (bytes <= MAX_BYTES || self.kept.is_empty());
        if has_room {
            self.bytes = bytes;
            self.kept.push_back(Kept { at_ms: now_ms, to, slots, call });
        }
        has_room
    }

    /// Whether a bundle is under way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Notes that JetStream takes bundles from now on.
    pub(crate) fn open(&mut self) {
        self.is_open = true;
    }

    /// Notes that JetStream takes nothing for now.
    pub(crate) fn close(&mut self) {
        self.is_open = false;
    }

    /// Notes that the connection is another one, or none. What is under way may have been lost: it is due when JetStream takes bundles again.
    pub(crate) fn disconnected(&mut self) {
        self.is_open = false;
        if let Some(under_way) = &mut self.under_way {
            (under_way.again_at_ms, under_way.published) = (0, 0);
        }
    }

    /// Gives up calls that are older than `max_age`: other clusters would not obey them any more. Returns how many they were.
    pub(crate) fn give_up(&mut self, max_age: Duration, now_ms: u64) -> usize {
        let max_age_ms = max_age.as_millis() as u64;
        let is_old = |at_ms: u64| now_ms > at_ms.saturating_add(max_age_ms);
        let before = self.kept.len();
        // A bundle is never changed: it is given up as a whole.
        if self.under_way.as_ref().is_some_and(|under_way| !is_old(under_way.at_ms)) {
            return 0;
        }
        let calls = self.under_way.take().map_or(0, |under_way| under_way.calls);
        self.drop_first(calls);
        while self.kept.front().is_some_and(|kept| is_old(kept.at_ms)) {
            self.drop_first(1);
        }
        before - self.kept.len()
    }

    /// What is to be published now, if anything. A message may have `max_len` bytes beside [`Bundle::OVERHEAD`], or as many as one
    /// call needs. `counted` slots get counters.
    pub(crate) fn publish_due(&mut self, max_len: usize, counted: Slots, now_ms: u64) -> Option<Due> {
        if !self.is_open {
            return None;
        }
        if let Some(under_way) = &mut self.under_way {
            if now_ms < under_way.again_at_ms {
                return None;
            }
            under_way.again_at_ms = now_ms + (ACKNOWLEDGE_MS << under_way.published.min(MAX_DOUBLED));
            under_way.published += 1;
            return Some(Due::Again);
        }
        let mut len = 0;
        let fits = |kept: &&Kept| {
            let is_first = len == 0;
            len += BundledCall::len_with(kept.call.len());
            is_first || len <= max_len.min(MAX_BUNDLE)
        };
        let calls: Vec<_> = self
            .kept
            .iter()
            .take_while(fits)
            .map(|kept| BundledCall {
                to: kept.to.clone(),
                slots: kept.slots,
                waited_ms: now_ms.saturating_sub(kept.at_ms).try_into().unwrap_or(u32::MAX),
                call: kept.call.clone(),
            })
            .collect();
        let newest = self.kept.get(calls.len().checked_sub(1)?)?;
        self.under_way = Some(UnderWay {
            calls: calls.len(),
            at_ms: newest.at_ms,
            again_at_ms: now_ms + ACKNOWLEDGE_MS,
            published: 1,
            refused: 0,
        });
        let mut bundle = Bundle { counters: Vec::new(), calls };
        for slot in bundle.slots().iter() {
            let counter = &mut self.counters[slot.number()];
            *counter = counter.wrapping_add(bundle.calls.len() as u32);
            if counted.has(slot) {
                bundle.counters.push((slot, *counter));
            }
        }
        let number = self.next_number;
        self.next_number += 1;
        Some(Due::New { number, bundle })
    }

    /// Notes that JetStream has stored the bundle under way. Returns how many calls it had.
    pub(crate) fn acknowledged(&mut self) -> usize {
        let calls = self.under_way.take().map_or(0, |under_way| under_way.calls);
        self.drop_first(calls);
        calls
    }

    fn drop_first(&mut self, calls: usize) {
        self.bytes -= self.kept.drain(..calls).map(|kept| kept.call.len()).sum::<usize>();
    }

    /// Notes that JetStream has not stored the bundle under way, or that no answer can come.
    pub(crate) fn refused(&mut self, now_ms: u64) {
        if let Some(under_way) = &mut self.under_way {
            let wait_ms = MAX_REFUSED_MS.min(REFUSED_MS << under_way.refused.min(5));
            (under_way.refused, under_way.published) = (under_way.refused + 1, 0);
            under_way.again_at_ms = now_ms + wait_ms;
        }
    }

    /// When [`publish_due`](Self::publish_due) or [`give_up`](Self::give_up) has something to do, unless something happens before; `None` if
    /// not by the time alone.
    pub(crate) fn next_deadline(&self, max_age: Duration) -> Option<u64> {
        let max_age_ms = max_age.as_millis() as u64;
        let oldest_ms = match &self.under_way {
            Some(under_way) => Some(under_way.at_ms),
            None => self.kept.front().map(|kept| kept.at_ms),
        };
        let too_old_at_ms = oldest_ms.map(|at_ms| at_ms.saturating_add(max_age_ms) + 1);
        let again_at_ms = self.under_way.as_ref().filter(|_| self.is_open).map(|bundle| bundle.again_at_ms);
        too_old_at_ms.into_iter().chain(again_at_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(300);
    const MAX_LEN: usize = 1 << 20;

    fn queue() -> DurableQueue {
        let mut queue = DurableQueue::new();
        queue.open();
        queue
    }

    fn keep(queue: &mut DurableQueue, call: &'static str, now_ms: u64) -> bool {
        queue.keep(None, Slots::ALL, call.into(), now_ms)
    }

    fn due(queue: &mut DurableQueue, now_ms: u64) -> Option<Due> {
        queue.publish_due(MAX_LEN, Slots::NONE, now_ms)
    }

    /// The number and the calls of the bundle that is due.
    fn new(queue: &mut DurableQueue, now_ms: u64) -> (u64, Vec<Bytes>) {
        match due(queue, now_ms) {
            Some(Due::New { number, bundle }) => {
                (number, bundle.calls.into_iter().map(|call| call.call).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_said_while_a_bundle_is_under_way_goes_with_the_next_one_in_its_order() {
        let mut queue = queue();
        assert_eq!(due(&mut queue, 0), None);
        keep(&mut queue, "a", 0);
        assert_eq!(new(&mut queue, 0), (1, vec!["a".into()]));
        keep(&mut queue, "b", 1);
        keep(&mut queue, "c", 2);
        assert_eq!(due(&mut queue, 2), None);
        assert_eq!(queue.acknowledged(), 1);
        assert_eq!(new(&mut queue, 3), (2, vec!["b".into(), "c".into()]));
        assert_eq!((queue.acknowledged(), queue.len()), (2, 0));
        assert_eq!(due(&mut queue, 4), None);
    }

    #[test]
    fn a_bundle_is_published_again_until_it_is_acknowledged() {
        let mut queue = queue();
        keep(&mut queue, "a", 0);
        new(&mut queue, 0);
        assert_eq!(queue.next_deadline(MAX_AGE), Some(ACKNOWLEDGE_MS));
        assert_eq!(due(&mut queue, ACKNOWLEDGE_MS - 1), None);
        assert_eq!(due(&mut queue, ACKNOWLEDGE_MS), Some(Due::Again));
        queue.refused(10_000);
        assert_eq!(queue.next_deadline(MAX_AGE), Some(10_000 + REFUSED_MS));
        queue.refused(10_000);
        assert_eq!(queue.next_deadline(MAX_AGE), Some(10_000 + 2 * REFUSED_MS), "not at every moment");
        queue.close();
        queue.open();
        assert_eq!(due(&mut queue, 10_000), None);
        // Without a connection nothing is due; with one again it is at once.
        queue.disconnected();
        assert_eq!(due(&mut queue, 60_000), None);
        assert_eq!(queue.next_deadline(MAX_AGE), Some(300_001), "when it is too old");
        keep(&mut queue, "b", 60_000);
        queue.open();
        assert_eq!(due(&mut queue, 60_001), Some(Due::Again));
        queue.acknowledged();
        assert_eq!(new(&mut queue, 60_002), (2, vec!["b".into()]));
    }

    #[test]
    fn the_longer_no_answer_comes_the_later_a_bundle_is_published_again() {
        let mut queue = queue();
        keep(&mut queue, "a", 0);
        new(&mut queue, 0);
        let again_after = |queue: &mut DurableQueue, before_ms: &mut u64| {
            let at_ms = queue.next_deadline(MAX_AGE).unwrap();
            assert_eq!(due(queue, at_ms), Some(Due::Again));
            at_ms - std::mem::replace(before_ms, at_ms)
        };
        let mut at_ms = 0;
        for seconds in [2, 4, 8, 16, 16] {
            assert_eq!(again_after(&mut queue, &mut at_ms), seconds * 1_000);
        }
        queue.disconnected();
        queue.open();
        assert_eq!(due(&mut queue, at_ms), Some(Due::Again));
        assert_eq!(again_after(&mut queue, &mut at_ms), 2_000, "another connection may be faster");
        queue.refused(at_ms);
        assert_eq!(again_after(&mut queue, &mut at_ms), REFUSED_MS);
        assert_eq!(again_after(&mut queue, &mut at_ms), 2_000, "JetStream has answered");
    }

    #[test]
    fn there_is_a_bound_of_calls_and_one_of_a_bundles_length() {
        let mut queue = queue();
        assert!((0..MAX_CALLS).all(|_| keep(&mut queue, "a", 0)));
        assert!(!keep(&mut queue, "a", 0));
        let one = BundledCall::len_with(1);
        let Some(Due::New { bundle, .. }) = queue.publish_due(10 * one, Slots::NONE, 0) else { panic!() };
        assert_eq!(bundle.calls.len(), 10);
        queue.acknowledged();
        assert!(keep(&mut queue, "a", 0));
        let Some(Due::New { bundle, .. }) = queue.publish_due(1, Slots::NONE, 0) else { panic!() };
        assert_eq!(bundle.calls.len(), 1, "one is published whatever its length is");
        queue.acknowledged();
        let Some(Due::New { bundle, .. }) = due(&mut queue, 0) else { panic!() };
        assert_eq!(bundle.calls.len(), MAX_BUNDLE / one);
    }

    #[test]
    fn there_is_a_bound_of_bytes_within_which_one_long_call_may_wait_alone() {
        let mut queue = queue();
        let call = |len: usize| Bytes::from(vec![0; len]);
        let keep = |queue: &mut DurableQueue, len| queue.keep(None, Slots::ALL, call(len), 0);
        assert!(keep(&mut queue, MAX_BYTES + 1));
        assert!(!keep(&mut queue, 1));
        due(&mut queue, 0);
        queue.acknowledged();
        assert!(keep(&mut queue, MAX_BYTES / 2) && keep(&mut queue, MAX_BYTES / 2));
        assert!(!keep(&mut queue, 1));
        assert_eq!(queue.give_up(MAX_AGE, u64::MAX), 2);
        assert!(keep(&mut queue, MAX_BYTES));
    }

    #[test]
    fn calls_that_are_too_old_are_given_up_and_the_others_are_not() {
        let mut queue = queue();
        let max_age_ms = MAX_AGE.as_millis() as u64;
        keep(&mut queue, "a", 0);
        new(&mut queue, 0);
        keep(&mut queue, "b", 1);
        keep(&mut queue, "c", 500);
        assert_eq!(queue.give_up(MAX_AGE, max_age_ms), 0);
        queue.disconnected();
        assert_eq!(queue.next_deadline(MAX_AGE), Some(max_age_ms + 1));
        queue.open();
        assert_eq!(queue.give_up(MAX_AGE, max_age_ms + 2), 2, "also one that is under way");
        assert_eq!(new(&mut queue, max_age_ms + 2), (2, vec!["c".into()]));
        assert_eq!(queue.acknowledged(), 1);
    }

    #[test]
    fn each_slot_counts_the_calls_of_the_bundles_that_it_gets() {
        let mut queue = queue();
        let [one, other] = ["a", "bj-1"].map(|name| Slots::of(&name.parse().unwrap()));
        assert_ne!(one, other);
        let mut counters = |slots: Slots, count: usize| {
            (0..count).for_each(|_| assert!(queue.keep(None, slots, Bytes::new(), 0)));
            let Some(Due::New { bundle, .. }) = queue.publish_due(MAX_LEN, one, 0) else { panic!() };
            queue.acknowledged();
            bundle.counters.into_iter().map(|(_, counter)| counter).collect::<Vec<u32>>()
        };
        assert_eq!(counters(one, 2), vec![2]);
        assert!(counters(other, 5).is_empty(), "nobody is known there");
        assert_eq!(counters(one.union(other), 1), vec![3]);
    }

    #[test]
    fn it_says_for_which_clusters_calls_are_kept() {
        let mut queue = queue();
        let name: ClusterName = "a".parse().unwrap();
        for to in [Some(&name), None, Some(&name)] {
            queue.keep(to.cloned(), Slots::ALL, Bytes::new(), 0);
        }
        assert_eq!(queue.destinations(), [None, Some(name)]);
    }
}
