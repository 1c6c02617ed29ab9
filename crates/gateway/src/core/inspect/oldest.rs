//! The walk that finds how long events have waited: the oldest event of each worker.

use std::ops::Bound;
use std::sync::Arc;

use super::{SLICE, Walked};
use crate::core::Shard;
use crate::core::event_log::EventLog;
use crate::core::ports::Ports;
use crate::core::worker_link::WorkerLink;

/// A walk over the clients of one shard after the other, and over those that are closed and whose `on_close` is not
/// done. A log has only the time of its first event, so that events cost nothing: this looks at all logs.
#[derive(Debug)]
pub(crate) struct OldestEventWalk<B> {
    /// The next slot of the shard's table.
    slot: usize,
    /// The closed client that was looked at last.
    stub: Option<u32>,
    /// For each worker that has or is to get an event: the time that its oldest one has waited, in ms.
    ages: Vec<(Arc<WorkerLink<B>>, u64)>,
}

impl<B> OldestEventWalk<B> {
    /// A walk that has seen nothing.
    pub(crate) fn new() -> Self {
        Self { slot: 0, stub: None, ages: Vec::new() }
    }

    /// Looks at the next clients of a shard. The call behind [`Walked::All`] begins with another shard.
    pub(crate) fn advance<P: Ports<Buffer = B>>(&mut self, shard: &Shard<P>) -> Walked {
        let table = shard.table();
        let end = table.slots().min(self.slot + SLICE);
        for slot in self.slot..end {
            if let Some(client) = table.at(slot as u32)
                && let Some(log) = &client.log
            {
                self.see(&client.worker, log, shard.now_ms);
            }
        }
        self.slot = end;
        if end < table.slots() {
            return Walked::More;
        }
        let behind = self.stub.map_or(Bound::Unbounded, Bound::Excluded);
        let mut stubs = shard.stubs.by_id.range((behind, Bound::Unbounded));
        for (id, stub) in stubs.by_ref().take(SLICE) {
            self.stub = Some(*id);
            if let Some(log) = &stub.log {
                self.see(&stub.worker, log, shard.now_ms);
            }
        }
        if stubs.next().is_some() {
            return Walked::More;
        }
        (self.slot, self.stub) = (0, None);
        Walked::All
    }

    fn see(&mut self, worker: &Arc<WorkerLink<B>>, log: &EventLog<B>, now_ms: u64) {
        let age_ms = now_ms.saturating_sub(log.oldest_since_ms());
        match self.ages.iter_mut().find(|(known, _)| Arc::ptr_eq(known, worker)) {
            Some((_, oldest_ms)) => *oldest_ms = age_ms.max(*oldest_ms),
            None => self.ages.push((worker.clone(), age_ms)),
        }
    }

    /// Returns the workers that have an event, or are to get one, and how long the oldest one of each has waited until
    /// it is done, in ms. A client whose worker is gone counts for that one, until it has another.
    pub(crate) fn finish(self) -> Vec<(Arc<WorkerLink<B>>, u64)> {
        self.ages
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker_protocol::{CloseReason, Features};

    use super::*;
    use crate::core::testing::{self, MemoryPorts};
    use crate::core::worker_link::Peer;

    /// How long the oldest event of each worker has waited at a time.
    fn ages(shard: &mut Shard<MemoryPorts>, now_ms: u64) -> Vec<(String, u64)> {
        shard.set_now(now_ms);
        let mut walk = OldestEventWalk::new();
        while walk.advance(shard) == Walked::More {}
        let mut ages: Vec<_> =
            walk.finish().into_iter().map(|(worker, age_ms)| (worker.key().to_string(), age_ms)).collect();
        ages.sort();
        ages
    }

    fn peer(epoch: u32) -> Peer {
        Peer { features: Features::ALL, epoch, process: Some(epoch.into()) }
    }

    #[test]
    fn the_oldest_event_is_that_of_the_client_that_waits_longest() {
        let (mut shard, workers) = testing::shard();
        let worker = workers.join("a", 1000, peer(1));
        let (first, _) = testing::client(&mut shard, 1, &worker, testing::policy());
        let (second, _) = testing::client(&mut shard, 2, &worker, testing::policy());
        assert_eq!(ages(&mut shard, 1_000), []);
        shard.tell_connected(first, None, 5_000);
        shard.tell_connected(second, None, 8_000);
        assert_eq!(ages(&mut shard, 10_000), [("a".to_owned(), 5_000)]);
        shard.end_events(1, &[(1, 1)]);
        assert_eq!(ages(&mut shard, 10_000), [("a".to_owned(), 2_000)]);
        shard.tell_message(second, false, b"x").unwrap();
        shard.end_events(1, &[(2, 1)]);
        assert_eq!(
            ages(&mut shard, 11_000),
            [("a".to_owned(), 1_000)],
            "its next event is the first one now"
        );
        shard.end_events(1, &[(2, 1)]);
        assert_eq!(ages(&mut shard, 99_000), []);
        shard.check().unwrap();
    }

    #[test]
    fn each_worker_has_its_own_and_a_closed_client_waits_as_well() {
        let (mut shard, workers) = testing::shard();
        let (one, other) = (workers.join("a", 1000, peer(1)), workers.join("b", 1000, peer(2)));
        let (busy, _) = testing::client(&mut shard, 1, &one, testing::policy());
        let (gone, _) = testing::client(&mut shard, 2, &other, testing::policy());
        shard.tell_connected(busy, None, 1_000);
        shard.tell_connected(gone, None, 2_000);
        shard.end_events(2, &[(2, 1)]);
        shard.set_now(4_000);
        shard.close(gone, CloseReason::ClientLeft, None);
        assert_eq!(ages(&mut shard, 9_000), [("a".to_owned(), 8_000), ("b".to_owned(), 5_000)]);
    }

    #[test]
    fn a_look_at_many_clients_takes_several_calls() {
        let (mut shard, workers) = testing::shard();
        let worker = workers.join("a", 1000, peer(1));
        let ids = 1..=SLICE as u32 + 1;
        let keys: Vec<_> =
            ids.map(|id| testing::client(&mut shard, id, &worker, testing::policy()).0).collect();
        let (last, others) = keys.split_last().unwrap();
        shard.tell_connected(*last, None, 1_000);
        others.iter().for_each(|key| shard.tell_connected(*key, None, 2_000));
        for is_closed in [false, true] {
            if is_closed {
                keys.iter().for_each(|key| shard.close(*key, CloseReason::ClientLeft, None));
            }
            shard.set_now(9_000);
            let mut walk = OldestEventWalk::new();
            let mut calls = 1;
            while walk.advance(&shard) == Walked::More {
                calls += 1;
            }
            assert!(calls > 1, "closed: {is_closed}");
            assert_eq!(walk.finish()[0].1, 8_000);
        }
    }
}
