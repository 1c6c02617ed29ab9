//! [`NameFilter`]: the split block Bloom filter of Apache Parquet, for [`Name`]s.
//!
//! It has no false negative: a name that was inserted is in it. How often it says yes to another name
//! depends on its bits for each inserted name (0.5 % at 12, 0.07 % at 18). Nothing can be taken out.

use bytes::{BufMut, Bytes, BytesMut};

use super::Name;

/// The bytes of a block: a look-up reads one, which is within a cache line.
const BLOCK: usize = 32;

/// From the specification of Parquet: what makes eight bits of one hash.
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A set of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFilter {
    blocks: Vec<[u32; 8]>,
}

impl NameFilter {
    /// The smallest filter, in bytes: some 250 names have hardly a false positive in it.
    pub const MIN_BYTES: usize = 4 * 1024;

    /// The largest filter, in bytes.
    pub const MAX_BYTES: usize = 8 * 1024 * 1024;

    /// An empty filter of about so many bytes, within [`MIN_BYTES`](Self::MIN_BYTES) and
    /// [`MAX_BYTES`](Self::MAX_BYTES).
    pub fn new(bytes: usize) -> Self {
        let blocks = bytes.clamp(Self::MIN_BYTES, Self::MAX_BYTES).div_ceil(BLOCK);
        Self { blocks: vec![[0; 8]; blocks] }
    }

    /// The filter with these bytes; `None` if no filter has so many.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if !Self::is_len(bytes.len()) {
            return None;
        }
        let (words, _) = bytes.as_chunks::<4>();
        let (blocks, _) = words.as_chunks::<8>();
        Some(Self { blocks: blocks.iter().map(|block| block.map(u32::from_le_bytes)).collect() })
    }

    /// The filter as bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.len());
        self.blocks.as_flattened().iter().for_each(|word| bytes.put_u32_le(*word));
        bytes.freeze()
    }

    /// Whether a filter may have so many bytes.
    pub fn is_len(bytes: usize) -> bool {
        bytes.is_multiple_of(BLOCK) && (Self::MIN_BYTES..=Self::MAX_BYTES).contains(&bytes)
    }

    /// How many bytes it has.
    #[expect(clippy::len_without_is_empty, reason = "bytes, which there always are")]
    pub fn len(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    /// Puts a name in.
    pub fn insert(&mut self, name: Name) {
        let place = self.place(name);
        let block = &mut self.blocks[place];
        for (word, bit) in block.iter_mut().zip(bits(name)) {
            *word |= bit;
        }
    }

    /// Whether the name may be in it; false only if it is not.
    pub fn may_have(&self, name: Name) -> bool {
        let block = &self.blocks[self.place(name)];
        // All eight words without a branch between them: the compiler makes vector instructions of it.
        block.iter().zip(bits(name)).fold(0, |missing, (word, bit)| missing | (!word & bit)) == 0
    }

    fn place(&self, name: Name) -> usize {
        (((name.bits() >> 32) * self.blocks.len() as u64) >> 32) as usize
    }
}

/// One bit for each word of a block.
fn bits(name: Name) -> [u32; 8] {
    SALT.map(|salt| 1 << ((name.bits() as u32).wrapping_mul(salt) >> 27))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(number: u64) -> Name {
        Name::uid(&number.to_le_bytes())
    }

    proptest! {
        #[test]
        fn what_was_inserted_is_in_it(numbers in prop::collection::vec(any::<u64>(), 0..500), bytes in 0..20_000_usize) {
            let mut filter = NameFilter::new(bytes);
            numbers.iter().for_each(|number| filter.insert(name(*number)));
            let filter = NameFilter::from_bytes(&filter.to_bytes()).unwrap();
            prop_assert!(numbers.iter().all(|number| filter.may_have(name(*number))));
        }
    }

    /// With 12 bits for a name half a percent of the others is computed, with 18 bits 0.07 %.
    #[test]
    fn false_positives_are_as_rare_as_computed() {
        for (bits, most) in [(12, 700), (18, 120)] {
            let inserted = 20_000;
            let mut filter = NameFilter::new(inserted * bits / 8);
            (0..inserted as u64).for_each(|number| filter.insert(name(number)));
            let others = 1_000_000..1_100_000;
            let false_positives = others.filter(|number| filter.may_have(name(*number))).count();
            assert!(false_positives <= most, "{false_positives} of 100,000 with {bits} bits");
        }
    }

    #[test]
    fn a_small_set_has_hardly_a_false_positive() {
        let mut filter = NameFilter::new(0);
        (0..250).for_each(|number| filter.insert(name(number)));
        assert_eq!((1000..1_001_000).filter(|number| filter.may_have(name(*number))).count(), 0);
    }

    #[test]
    fn a_filter_has_whole_blocks_and_no_more_than_it_may() {
        assert_eq!(NameFilter::new(0).len(), NameFilter::MIN_BYTES);
        assert_eq!(NameFilter::new(usize::MAX).len(), NameFilter::MAX_BYTES);
        assert_eq!(NameFilter::new(5000).len(), 5024);
        for len in [0, 32, 4095, 4097, NameFilter::MAX_BYTES + 32] {
            assert_eq!(NameFilter::from_bytes(&vec![0; len]), None, "{len}");
        }
    }
}
