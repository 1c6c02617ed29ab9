//! The groups of one client: its half of each membership, in no order.
//!
//! The client table (`table`) changes it, in step with the index of groups (`index`). It takes 16 bytes in a client and
//! 8 for each group, and has no room to spare: most clients are in few groups and stay there.

use std::ops::{Deref, DerefMut};

use super::index::Membership;

/// A client's memberships.
#[derive(Debug, Default)]
pub(super) struct Memberships(Box<[Membership]>);

impl Memberships {
    /// Adds one at the end.
    pub(super) fn push(&mut self, membership: Membership) {
        let mut all = std::mem::take(&mut self.0).into_vec();
        all.reserve_exact(1);
        all.push(membership);
        self.0 = all.into_boxed_slice();
    }

    /// Takes one out. The last one moves into its place.
    pub(super) fn swap_remove(&mut self, at: usize) -> Membership {
        let mut all = std::mem::take(&mut self.0).into_vec();
        let removed = all.swap_remove(at);
        self.0 = all.into_boxed_slice();
        removed
    }
}

impl Deref for Memberships {
    type Target = [Membership];

    fn deref(&self) -> &[Membership] {
        &self.0
    }
}

impl DerefMut for Memberships {
    fn deref_mut(&mut self) -> &mut [Membership] {
        &mut self.0
    }
}

impl IntoIterator for Memberships {
    type Item = Membership;
    type IntoIter = std::vec::IntoIter<Membership>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}
