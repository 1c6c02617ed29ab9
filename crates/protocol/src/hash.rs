//! A hash that is the same on every platform and in every version, as processes compute it separately and have to agree.
//!
//! It keeps nothing secret, and is no hash for maps of names that clients choose.

/// The state before the first byte of [`fnv`].
pub const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: returns the state behind these bytes.
pub fn fnv(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finalizer of SplitMix64: makes all bits depend on all bits. 0 stays 0.
#[inline]
pub fn spread(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Returns the hash of the parts one behind the other. Where they begin and end does not count.
pub fn hash(parts: &[&[u8]]) -> u64 {
    spread(parts.iter().fold(FNV_START, |state, part| fnv(state, part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_one_that_other_versions_compute() {
        // FNV's own vectors.
        assert_eq!(fnv(FNV_START, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(FNV_START, b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(hash(&[b"foo", b"bar"]), spread(0x8594_4171_f739_67e8));
        assert_eq!((spread(0), spread(1)), (0, 0x5692_161d_100b_05e5));
    }
}
