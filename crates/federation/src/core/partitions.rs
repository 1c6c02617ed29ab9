//! [`Partition`]: one of sixteen parts of all that is sent. All that one process sends is in one of them.

use std::fmt;

use gatewayworker_protocol::hash::hash;

/// A part of all that is sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Partition(u8);

impl Partition {
    /// How many there are.
    pub(crate) const COUNT: u8 = 16;

    /// Its owner announces the cluster.
    pub(crate) const FIRST: Self = Self(0);

    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// The partition of a process.
    pub(crate) fn of(process: u64) -> Self {
        Self((hash(&[b"partition", &process.to_be_bytes()]) % u64::from(Self::COUNT)) as u8)
    }

    /// Its number.
    pub(crate) fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A set of partitions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Partitions(u16);

impl Partitions {
    pub(crate) fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> u16 {
        self.0
    }

    pub(crate) fn has(self, partition: Partition) -> bool {
        self.0 & (1 << partition.0) != 0
    }

    pub(crate) fn insert(&mut self, partition: Partition) {
        self.0 |= 1 << partition.0;
    }

    pub(crate) fn remove(&mut self, partition: Partition) {
        self.0 &= !(1 << partition.0);
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Partition> {
        Partition::all().filter(move |partition| self.has(*partition))
    }
}

impl fmt::Debug for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
