//! [`Slots`]: for which clusters a message is.

use gatewayworker_client::ClusterName;

use gatewayworker_protocol::hash::hash;

/// One of [`Slots::COUNT`] slots. A cluster has one, by its name; clusters may share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u8);

impl Slot {
    /// The slot of a cluster.
    pub(crate) fn of(cluster: &ClusterName) -> Self {
        Self((hash(&[b"slot", cluster.as_str().as_bytes()]) % u64::from(Slots::COUNT)) as u8)
    }

    pub(crate) fn number(self) -> usize {
        self.0.into()
    }
}

/// A set of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slots(u32);

impl Slots {
    /// How many slots there are. A subject with so many tokens, and those around them, is within the 32 that a nats-server splits without
    /// allocating.
    pub(crate) const COUNT: u8 = 24;

    pub(crate) const ALL: Self = Self((1 << Self::COUNT) - 1);

    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    pub(crate) fn of(cluster: &ClusterName) -> Self {
        Self(1 << Slot::of(cluster).0)
    }

    #[must_use]
    pub(crate) fn without_all(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    #[must_use]
    pub(crate) fn with(self, slot: Slot) -> Self {
        Self(self.0 | 1 << slot.0)
    }

    #[must_use]
    pub(crate) fn without(self, slot: Slot) -> Self {
        Self(self.0 & !(1 << slot.0))
    }

    #[must_use]
    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn has(self, slot: Slot) -> bool {
        self.0 & (1 << slot.0) != 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Slot> {
        Self::every().filter(move |slot| self.has(*slot))
    }

    /// All slots there are, in their order.
    pub(crate) fn every() -> impl Iterator<Item = Slot> {
        (0..Self::COUNT).map(Slot)
    }
}
