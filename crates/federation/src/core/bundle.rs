//! [`Bundle`]: several calls of one process in one message of JetStream, and how it is written.
//!
//! `durable_queue.rs` makes bundles; `durable_inbound.rs` takes them apart in another cluster. `envelope.rs` signs them as it does everything.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gatewayworker_client::ClusterName;

use super::envelope::{put_text, take_text};
use super::slots::{Slot, Slots};

/// Calls that are published together, in the order in which they were said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// For slots with a cluster that the sender knows: how many calls the process had bundled for them, these included.
    pub(crate) counters: Vec<(Slot, u32)>,
    /// The calls.
    pub(crate) calls: Vec<BundledCall>,
}

/// A call in a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BundledCall {
    /// The only cluster that it is for; `None` for all in the slots.
    pub(crate) to: Option<ClusterName>,
    /// The slots that it is for.
    pub(crate) slots: Slots,
    /// How long it had waited when the bundle was made, in ms.
    pub(crate) waited_ms: u32,
    /// The call.
    pub(crate) call: Bytes,
}

impl Bundle {
    /// The most bytes that a message with one call has beside the call, the header with its id included.
    pub(crate) const OVERHEAD: usize = 1024;

    /// The slots that any of the calls is for.
    pub(crate) fn slots(&self) -> Slots {
        self.calls.iter().fold(Slots::NONE, |slots, call| slots.union(call.slots))
    }

    /// About how long it is when it is written.
    pub(super) fn capacity(&self) -> usize {
        self.calls.iter().map(BundledCall::len).sum()
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let slots = self.counters.iter().fold(Slots::NONE, |slots, (slot, _)| slots.with(*slot));
        out.put_u32(slots.bits());
        self.counters.iter().for_each(|(_, counter)| out.put_u32(*counter));
        for BundledCall { to, slots, waited_ms, call } in &self.calls {
            put_text(to.as_ref().map_or("", ClusterName::as_str), out);
            out.put_u32(slots.bits());
            out.put_u32(*waited_ms);
            // A call is shorter than a message of NATS may be.
            out.put_u32(call.len() as u32);
            out.extend_from_slice(call);
        }
    }

    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        let slots = Slots::from_bits(bytes.try_get_u32().ok()?);
        let counters =
            slots.iter().map(|slot| Some((slot, bytes.try_get_u32().ok()?))).collect::<Option<_>>()?;
        let mut calls = Vec::new();
        while bytes.has_remaining() {
            let to = match take_text(&mut bytes)?.as_str() {
                "" => None,
                name => Some(name.parse().ok()?),
            };
            let slots = Slots::from_bits(bytes.try_get_u32().ok()?);
            let waited_ms = bytes.try_get_u32().ok()?;
            let len = bytes.try_get_u32().ok()? as usize;
            let call = (len <= bytes.len()).then(|| bytes.split_to(len))?;
            calls.push(BundledCall { to, slots, waited_ms, call });
        }
        Some(Self { counters, calls })
    }
}

impl BundledCall {
    /// The most bytes that it takes in a bundle.
    pub(super) fn len(&self) -> usize {
        Self::len_with(self.call.len())
    }

    /// The most bytes that a call of this length takes in a bundle.
    pub(super) fn len_with(call: usize) -> usize {
        // A cluster's name has 32 bytes at most.
        1 + 32 + 3 * 4 + call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        let bj = "bj-1".parse::<ClusterName>().unwrap();
        let slots = Slots::of(&bj);
        let call = |to, slots, call: &'static [u8]| BundledCall {
            to,
            slots,
            waited_ms: 7,
            call: Bytes::from_static(call),
        };
        Bundle {
            counters: slots.iter().map(|slot| (slot, 9)).collect(),
            calls: vec![
                call(None, Slots::ALL, b"one"),
                call(Some(bj), slots, b""),
                call(None, Slots::ALL, b"three"),
            ],
        }
    }

    #[test]
    fn a_bundle_arrives_as_it_was() {
        let mut out = BytesMut::new();
        bundle().encode(&mut out);
        assert!(out.len() <= 8 + bundle().capacity());
        assert_eq!(Bundle::decode(out.freeze()), Some(bundle()));
        assert_eq!(bundle().slots(), Slots::ALL);
    }

    #[test]
    fn no_part_of_a_call_is_taken_for_a_call_and_no_length_reserves_memory() {
        let mut out = BytesMut::new();
        bundle().encode(&mut out);
        let bytes = out.freeze();
        for len in 0..bytes.len() {
            let calls = Bundle::decode(bytes.slice(..len)).map_or(0, |bundle| bundle.calls.len());
            assert!(calls < 3, "{len}");
        }
        let mut forged = BytesMut::new();
        forged.put_u32(0);
        forged.put_u8(0);
        forged.put_u32(1);
        forged.put_u32(1);
        forged.put_u32(u32::MAX);
        assert_eq!(Bundle::decode(forged.freeze()), None);
    }
}
