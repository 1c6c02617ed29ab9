//! Random numbers from a seed: SplitMix64, the same numbers on every platform and in every version.
//!
//! Everything that a simulation draws comes from here. It is not for keys or ids outside of a simulation.

use std::ops::RangeInclusive;

/// A generator of random numbers.
#[derive(Debug, Clone)]
pub struct Rng(u64);

/// The finalizer of SplitMix64: every bit of the result depends on every bit of `x`.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Rng {
    /// Creates a generator; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5851_f42d_4c95_7f2d))
    }

    /// Creates a generator of its own for the part of a simulation that `path` names.
    ///
    /// A part that draws more or fewer numbers changes nothing for other parts. So a script with
    /// a step less still meets much the same network, and can be shrunk.
    pub fn derive(seed: u64, path: &[u64]) -> Self {
        Self(path.iter().fold(mix(!seed), |state, part| mix(state ^ mix(part.wrapping_add(0x9e37)))))
    }

    /// Returns the next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Returns a number in `range`; its start if it is empty.
    pub fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        let width = range.end().saturating_sub(*range.start()).saturating_add(1);
        range.start() + self.below(width)
    }

    /// Returns true in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns an item of `items`; `None` if there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut rng = Rng::new(1);
        let first = [rng.next_u64(), rng.next_u64(), rng.next_u64()];
        assert_eq!(first, [0xe217_e7ac_4d85_e060, 0x62e9_21f3_6838_daca, 0xc737_1e2a_e831_5057]);
    }

    #[test]
    fn numbers_stay_within_their_range_and_reach_both_ends() {
        let mut rng = Rng::new(7);
        let drawn: std::collections::BTreeSet<u64> = (0..1000).map(|_| rng.within(&(3..=6))).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.pick::<u8>(&[]), None);
    }

    #[test]
    fn parts_with_different_paths_draw_different_numbers() {
        let first = |path: &[u64]| Rng::derive(5, path).next_u64();
        assert_ne!(first(&[1, 2]), first(&[2, 1]));
        assert_ne!(first(&[0]), first(&[0, 0]));
        assert_eq!(first(&[1, 2]), first(&[1, 2]));
    }
}
