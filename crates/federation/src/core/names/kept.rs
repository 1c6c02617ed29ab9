//! [`KeptCalls`]: calls that were not for all clusters, kept for a moment.
//!
//! What is known of a cluster's names is a little old: a change is on its way for some milliseconds. So a call that left a cluster out is
//! kept, and goes there after all if the cluster says meanwhile that it has one of the names, or if its summary turns out not to be trusted.
//!
//! `shared.rs` asks for what is to be published late whenever something new was heard of a cluster.

use std::collections::VecDeque;
use std::net::SocketAddrV4;

use bytes::Bytes;
use gatewayworker_protocol::interest::Name;

use super::super::slots::{Slot, Slots};
use super::KEPT_MS;

/// So many calls are kept, with so many bytes together. Older ones are dropped for new ones.
const MAX_CALLS: usize = 4_096;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// What was heard of a cluster, as far as it concerns calls that left it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing.
    None,
    /// These of its gateways have more names. By the bits of one, a filter may have others, too, which are never told again.
    More(Vec<SocketAddrV4>),
    /// Other names than before, or it is not known any more which it has.
    Other,
}

/// The calls of the last moment that have left clusters out.
#[derive(Debug, Default)]
pub(crate) struct KeptCalls {
    calls: VecDeque<Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    at_ms: u64,
    names: Box<[Name]>,
    call: Bytes,
    /// The slots with clusters to which it has not gone.
    without: Slots,
}

impl KeptCalls {
    /// Keeps a call that has not gone to these slots.
    pub(crate) fn keep(&mut self, names: &[Name], call: Bytes, without: Slots, now_ms: u64) {
        self.forget(now_ms);
        self.bytes += call.len();
        self.calls.push_back(Kept { at_ms: now_ms, names: names.into(), call, without });
        while self.calls.len() > MAX_CALLS || self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    /// Takes the calls that are to go to a slot after all, in their order. `may_have` says whether the cluster of which the news are may have one of
    /// the names of a call now.
    pub(crate) fn take(
        &mut self,
        slot: Slot,
        news: &News,
        may_have: impl Fn(&[Name]) -> bool,
        now_ms: u64,
    ) -> Vec<Bytes> {
        if *news == News::None {
            return Vec::new();
        }
        self.forget(now_ms);
        let concerned = self.calls.iter_mut().filter(|kept| kept.without.has(slot) && may_have(&kept.names));
        let take = |kept: &mut Kept| {
            kept.without = kept.without.without(slot);
            kept.call.clone()
        };
        concerned.map(take).collect()
    }

    fn forget(&mut self, now_ms: u64) {
        while self.calls.front().is_some_and(|kept| now_ms >= kept.at_ms + KEPT_MS) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(kept) = self.calls.pop_front() {
            self.bytes -= kept.call.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: usize) -> Slot {
        Slots::every().nth(number).unwrap()
    }

    fn name(bits: u64) -> Name {
        Name::from_bits(bits)
    }

    fn any(_: &[Name]) -> bool {
        true
    }

    #[test]
    fn a_call_goes_to_a_slot_after_all_once_and_only_for_its_names() {
        let mut kept = KeptCalls::default();
        let without = Slots::NONE.with(slot(1)).with(slot(2));
        kept.keep(&[name(1), name(2)], "one".into(), without, 0);
        kept.keep(&[name(3)], "two".into(), without, 1);
        kept.keep(&[name(2)], "three".into(), Slots::NONE.with(slot(2)), 2);
        assert!(kept.take(slot(1), &News::None, any, 3).is_empty());
        assert!(kept.take(slot(0), &News::Other, any, 3).is_empty(), "it has gone there");
        let has_2 = |names: &[Name]| names.contains(&name(2));
        assert_eq!(kept.take(slot(2), &News::More(Vec::new()), has_2, 3), ["one", "three"]);
        assert!(kept.take(slot(2), &News::More(Vec::new()), has_2, 3).is_empty());
        assert_eq!(kept.take(slot(1), &News::Other, |names| names == [name(3)], 3), ["two"]);
        assert_eq!(kept.take(slot(1), &News::Other, any, 3), ["one"]);
    }

    #[test]
    fn a_call_is_kept_for_a_moment_and_not_if_there_are_too_many() {
        let mut kept = KeptCalls::default();
        kept.keep(&[name(1)], "old".into(), Slots::ALL, 0);
        assert!(kept.take(slot(1), &News::Other, any, KEPT_MS).is_empty());
        for n in 0..=MAX_CALLS {
            kept.keep(&[name(1)], n.to_string().into(), Slots::ALL, 0);
        }
        assert_eq!(kept.take(slot(1), &News::Other, any, 0)[0], "1");
        kept.keep(&[name(1)], vec![0; MAX_BYTES].into(), Slots::ALL, 0);
        assert_eq!(kept.take(slot(2), &News::Other, any, 0).len(), 1);
        kept.keep(&[name(1)], vec![0; MAX_BYTES + 1].into(), Slots::ALL, 0);
        assert_eq!((kept.calls.len(), kept.bytes), (0, 0));
    }
}
