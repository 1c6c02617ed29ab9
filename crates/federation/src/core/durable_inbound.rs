//! [`DurableInbound`]: which calls of other clusters' bundles are obeyed, and how many were missed or came twice.
//!
//! A process's bundles come in the order of their numbers, and may come again: after a publication whose acknowledgement was lost, or when a
//! worker goes on where another has ended. `durable/receiving.rs` hands them in, and `receiving.rs` in a cluster that is not durable.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_client::ClusterName;

use super::bundle::{Bundle, BundledCall};
use super::envelope::{Content, Envelope};
use super::inbound::{MAX_AGE_MS, Rejection};
use super::slots::Slot;

/// What a bundle has for the own cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AcceptedCalls {
    /// The calls, in their order.
    pub(crate) calls: Vec<Bytes>,
    /// How many more were too old.
    pub(crate) stale: usize,
}

/// What was heard of the bundles of processes of other clusters.
#[derive(Debug)]
pub(crate) struct DurableInbound {
    own: ClusterName,
    slot: Slot,
    processes: BTreeMap<u64, HeardBundles>,
    missed: u64,
    duplicates: u64,
    pruned_at_ms: u64,
}

#[derive(Debug)]
struct HeardBundles {
    at_ms: u64,
    /// The highest number.
    highest: u64,
    /// The counter of the own slot, where the last bundle had one.
    counter: Option<u32>,
}

impl DurableInbound {
    pub(crate) fn new(own: ClusterName) -> Self {
        let slot = Slot::of(&own);
        Self { own, slot, processes: BTreeMap::new(), missed: 0, duplicates: 0, pruned_at_ms: 0 }
    }

    /// How many calls were not there when later ones of their process came: they are lost.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// How many calls came again and were dropped.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Takes a signed bundle. `is_complete` says that this worker gets all that is sent to the cluster, so that a gap is a loss. Calls
    /// that are older than `max_age` are not obeyed.
    ///
    /// # Errors
    /// When the message is to be dropped.
    pub(crate) fn accept(
        &mut self,
        envelope: Envelope,
        is_complete: bool,
        max_age: Duration,
        unix_ms: u64,
    ) -> Result<AcceptedCalls, Rejection> {
        if envelope.cluster == self.own {
            return Err(Rejection::Own);
        }
        let said_ms = envelope.unix_ms;
        let max_age_ms = (max_age.as_millis() as u64).saturating_add(MAX_AGE_MS);
        if said_ms > unix_ms.saturating_add(MAX_AGE_MS) || unix_ms > said_ms.saturating_add(max_age_ms) {
            return Err(Rejection::Time);
        }
        let Envelope { content: Content::Bundle(bundle), process, number, .. } = envelope else {
            return Err(Rejection::Misplaced);
        };
        self.prune(max_age_ms, unix_ms);
        let Bundle { counters, calls } = bundle;
        let all = calls.len() as u32;
        let is_mine = |call: &BundledCall| {
            call.slots.has(self.slot) && call.to.as_ref().is_none_or(|to| *to == self.own)
        };
        let mine: Vec<_> = calls.into_iter().filter(is_mine).collect();
        let counter = counters.iter().find(|(slot, _)| *slot == self.slot).map(|(_, counter)| *counter);
        let heard = HeardBundles { at_ms: unix_ms, highest: number, counter };
        if let Some(before) = self.processes.get(&process) {
            if number <= before.highest {
                self.duplicates += mine.len() as u64;
                return Err(Rejection::Duplicate);
            }
            if let (true, Some(before), Some(counter)) = (is_complete, before.counter, counter) {
                // It may have gone round.
                let since = counter.wrapping_sub(before).cast_signed();
                if since > 0 {
                    self.missed += u64::from(since.cast_unsigned().saturating_sub(all));
                }
            }
        }
        self.processes.insert(process, heard);
        let is_stale = |call: &BundledCall| {
            unix_ms > said_ms.saturating_sub(call.waited_ms.into()).saturating_add(max_age_ms)
        };
        let (stale, fresh): (Vec<_>, Vec<_>) = mine.into_iter().partition(is_stale);
        Ok(AcceptedCalls { calls: fresh.into_iter().map(|call| call.call).collect(), stale: stale.len() })
    }

    /// Forgets how far the counters are, as another worker hears what comes from now on.
    pub(crate) fn stop_counting(&mut self) {
        self.processes.values_mut().for_each(|heard| heard.counter = None);
    }

    /// Forgets processes of which anything that could be played again is too old.
    fn prune(&mut self, max_age_ms: u64, unix_ms: u64) {
        if unix_ms < self.pruned_at_ms.saturating_add(MAX_AGE_MS) && self.pruned_at_ms <= unix_ms {
            return;
        }
        self.pruned_at_ms = unix_ms;
        // A message may have been of the future by MAX_AGE_MS when it came.
        let remember_ms = max_age_ms.saturating_add(MAX_AGE_MS);
        self.processes.retain(|_, heard| unix_ms.saturating_sub(heard.at_ms) <= remember_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::slots::Slots;

    const NOW: u64 = 1_700_000_000_000;
    const MAX_AGE: Duration = Duration::from_secs(300);
    const LIMIT_MS: u64 = 300_000 + MAX_AGE_MS;

    fn inbound() -> DurableInbound {
        DurableInbound::new("own".parse().unwrap())
    }

    fn call(text: &'static str) -> BundledCall {
        BundledCall { to: None, slots: Slots::ALL, waited_ms: 0, call: text.into() }
    }

    fn bundle(number: u64, counter: u32, calls: Vec<BundledCall>) -> Envelope {
        let slot = Slot::of(&"own".parse().unwrap());
        Envelope {
            unix_ms: NOW,
            process: 7,
            number,
            cluster: "a".parse().unwrap(),
            content: Content::Bundle(Bundle { counters: vec![(slot, counter)], calls }),
        }
    }

    fn accept(inbound: &mut DurableInbound, envelope: Envelope) -> Result<Vec<Bytes>, Rejection> {
        inbound.accept(envelope, true, MAX_AGE, NOW).map(|accepted| accepted.calls)
    }

    #[test]
    fn a_bundle_is_obeyed_once_and_duplicates_are_counted() {
        let mut inbound = inbound();
        let first = || bundle(1, 2, vec![call("a"), call("b")]);
        assert_eq!(accept(&mut inbound, first()), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(accept(&mut inbound, bundle(5, 3, vec![call("c")])), Ok(vec!["c".into()]));
        assert_eq!(accept(&mut inbound, first()), Err(Rejection::Duplicate));
        assert_eq!((inbound.duplicates(), inbound.missed()), (2, 0));
        let other = Envelope { process: 8, ..first() };
        assert!(accept(&mut inbound, other).is_ok());
    }

    #[test]
    fn calls_that_are_not_there_when_later_ones_come_are_missed() {
        let mut inbound = inbound();
        let mut hear = |number, counter, is_complete| {
            let envelope = bundle(number, counter, vec![call("a"), call("b")]);
            inbound.accept(envelope, is_complete, MAX_AGE, NOW).unwrap();
            inbound.missed()
        };
        assert_eq!(hear(1, u32::MAX - 1, true), 0, "what was before is not known");
        assert_eq!(hear(2, 0, true), 0, "it may go round");
        assert_eq!(hear(3, 5, true), 3);
        assert_eq!(hear(4, 50, false), 3, "another worker may have them");
        assert_eq!(hear(5, 40, true), 3, "what goes back is no gap");
    }

    #[test]
    fn what_another_worker_has_heard_is_not_missed() {
        let mut inbound = inbound();
        accept(&mut inbound, bundle(1, 1, vec![call("a")])).unwrap();
        inbound.stop_counting();
        accept(&mut inbound, bundle(50, 50, vec![call("a")])).unwrap();
        assert_eq!(inbound.missed(), 0);
        assert_eq!(
            accept(&mut inbound, bundle(50, 50, vec![])),
            Err(Rejection::Duplicate),
            "its numbers are known"
        );
        accept(&mut inbound, bundle(51, 52, vec![call("a")])).unwrap();
        assert_eq!(inbound.missed(), 1);
    }

    #[test]
    fn only_calls_for_the_own_cluster_are_obeyed() {
        let mut inbound = inbound();
        let own: ClusterName = "own".parse().unwrap();
        let calls = vec![
            BundledCall { to: Some("b".parse().unwrap()), ..call("for another") },
            BundledCall { to: Some(own.clone()), ..call("for this one") },
            BundledCall { slots: Slots::ALL.without(Slot::of(&own)), ..call("for other slots") },
        ];
        assert_eq!(accept(&mut inbound, bundle(1, 3, calls)), Ok(vec!["for this one".into()]));
        let own = Envelope { cluster: own, ..bundle(2, 4, vec![]) };
        assert_eq!(accept(&mut inbound, own), Err(Rejection::Own));
        let question = Content::Question { reply: "r".into(), within_ms: 1, question: Bytes::new() };
        let question = Envelope { content: question, ..bundle(3, 5, vec![]) };
        assert_eq!(accept(&mut inbound, question), Err(Rejection::Misplaced));
    }

    #[test]
    fn calls_that_are_too_old_are_not_obeyed_though_their_bundle_may_be_new() {
        let mut inbound = inbound();
        let at = |unix_ms, number| Envelope { unix_ms, ..bundle(number, 1, vec![call("a")]) };
        assert_eq!(accept(&mut inbound, at(NOW - LIMIT_MS - 1, 1)), Err(Rejection::Time));
        assert_eq!(accept(&mut inbound, at(NOW + MAX_AGE_MS + 1, 2)), Err(Rejection::Time));
        assert!(accept(&mut inbound, at(NOW - LIMIT_MS, 3)).is_ok());
        let old = BundledCall { waited_ms: LIMIT_MS as u32 + 1, ..call("old") };
        let accepted = inbound.accept(bundle(4, 2, vec![old, call("new")]), true, MAX_AGE, NOW).unwrap();
        assert_eq!(accepted, AcceptedCalls { calls: vec!["new".into()], stale: 1 });
    }

    #[test]
    fn a_process_is_remembered_for_as_long_as_its_bundles_could_be_played_again() {
        let mut inbound = inbound();
        let at = |unix_ms, number| Envelope { unix_ms, ..bundle(number, 1, vec![]) };
        let first = at(NOW + MAX_AGE_MS, 1);
        inbound.accept(first.clone(), true, MAX_AGE, NOW).unwrap();
        let last = NOW + MAX_AGE_MS + LIMIT_MS;
        let again = inbound.accept(first.clone(), true, MAX_AGE, last);
        assert_eq!(again, Err(Rejection::Duplicate));
        let other = Envelope { process: 8, ..at(last + MAX_AGE_MS, 1) };
        inbound.accept(other, true, MAX_AGE, last + MAX_AGE_MS).unwrap();
        assert_eq!(inbound.processes.len(), 1);
        assert_eq!(inbound.accept(first, true, MAX_AGE, last + MAX_AGE_MS), Err(Rejection::Time));
    }
}
