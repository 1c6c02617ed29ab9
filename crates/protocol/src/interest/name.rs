//! [`Name`]: a group or uid as the 64 bits that a [`NameFilter`](super::NameFilter) knows it by.
//!
//! Gateway and subscriber compute it separately, so it is the same on every platform and in every
//! version. It keeps nothing secret: whoever finds two names with equal bits makes a send take a needless way.

use crate::hash::spread;

/// A group or uid, as 64 bits. Two names may be equal by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(u64);

const GROUP: u64 = 0x243f_6a88_85a3_08d3;
const UID: u64 = 0x1319_8a2e_0370_7344;

impl Name {
    /// The name of a group.
    pub fn group(group: &[u8]) -> Self {
        Self(hash(GROUP, group))
    }

    /// The name of a uid.
    pub fn uid(uid: &[u8]) -> Self {
        Self(hash(UID, uid))
    }

    /// The name with these bits, as they come over the wire.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// Eight bytes at a time, and each is mixed into all bits of the hash.
fn hash(kind: u64, name: &[u8]) -> u64 {
    let (words, rest) = name.as_chunks::<8>();
    let hash =
        words.iter().fold(mix(kind ^ name.len() as u64), |hash, word| mix(hash ^ u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(hash ^ u64::from_le_bytes(last))
}

/// [`spread`] behind an odd step, so that 0 does not stay 0.
fn mix(x: u64) -> u64 {
    spread(x.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_have_the_bits_that_other_versions_give_them() {
        assert_eq!(Name::group(b"room").bits(), 0x7f2d_02e1_48c2_18e3);
        assert_eq!(Name::uid(b"room").bits(), 0xb345_86d0_95a3_210c);
        assert_eq!(Name::uid(b"a uid of more bytes").bits(), 0x363a_5245_b61c_25d2);
    }

    #[test]
    fn names_that_differ_a_little_differ() {
        let mut seen = BTreeSet::new();
        for name in [&b""[..], b"\0", b"\0\0", b"a", b"a\0", b"aaaaaaaa", b"aaaaaaaa\0", b"aaaaaaaaa"] {
            assert!(seen.insert(Name::group(name)) && seen.insert(Name::uid(name)), "{name:?}");
        }
        for number in 0..100_000 {
            assert!(seen.insert(Name::uid(number.to_string().as_bytes())), "{number}");
        }
    }
}
