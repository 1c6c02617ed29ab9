//! The members of a shard's groups, and the clients of its uids, by name.
//!
//! An index and its members point at each other by position, so that joining, leaving and
//! disconnecting cost the same however large a group is. The index keeps one half of a membership;
//! the client table (`table`) keeps the other half, and the two in step.

use std::collections::HashMap;
use std::num::NonZeroU32;

use bytes::Bytes;
use foldhash::fast::RandomState;

/// Sets of clients by name. A set that becomes empty is gone.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_name: HashMap<Bytes, u32, RandomState>,
    sets: Vec<Set>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Set {
    name: Bytes,
    /// When its first member came: the order that PHP's array of sets has.
    created: u64,
    members: Vec<Member>,
}

/// The index's half of a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// The client's slot in the table.
    pub(super) slot: u32,
    /// Where in the client's list of memberships this one stands.
    pub(super) back: u32,
    /// When it joined. PHP's arrays list members in this order.
    pub(super) joined: u64,
}

/// The client's half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) set: u32,
    place: Place,
}

/// Where in its set a member stands. One more is kept, so that `Option<Membership>` takes no more than a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place(NonZeroU32);

impl Place {
    /// The last place of so many.
    fn last(members: usize) -> Self {
        Self(NonZeroU32::new(members as u32).unwrap_or(NonZeroU32::MAX))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl Index {
    /// Adds a member to the set of this name, made if there is none.
    pub(super) fn add(&mut self, name: &Bytes, member: Member) -> Membership {
        let set = self.find(name).unwrap_or_else(|| self.create(name, member.joined));
        let members = &mut self.sets[set as usize].members;
        members.push(member);
        Membership { set, place: Place::last(members.len()) }
    }

    fn create(&mut self, name: &Bytes, created: u64) -> u32 {
        // A copy of its own, not a slice of the buffer that the command came in.
        let name = Bytes::copy_from_slice(name);
        let set = self.free.pop().unwrap_or_else(|| {
            self.sets.push(Set::default());
            self.sets.len() as u32 - 1
        });
        self.sets[set as usize] = Set { name: name.clone(), created, members: Vec::new() };
        self.by_name.insert(name, set);
        set
    }

    /// Takes a member out. The one that moved into its place is returned with
    /// its new membership, which the caller writes down.
    pub(super) fn remove(&mut self, membership: Membership) -> Option<(Member, Membership)> {
        let set = &mut self.sets[membership.set as usize];
        set.members.swap_remove(membership.place.index());
        if set.members.is_empty() {
            self.drop_set(membership.set);
            return None;
        }
        set.members.get(membership.place.index()).map(|moved| (*moved, membership))
    }

    /// Removes a whole set and returns who was in it.
    pub(super) fn remove_set(&mut self, name: &[u8]) -> Vec<Member> {
        let Some(set) = self.find(name) else { return Vec::new() };
        let members = std::mem::take(&mut self.sets[set as usize].members);
        self.drop_set(set);
        members
    }

    fn drop_set(&mut self, set: u32) {
        let gone = std::mem::take(&mut self.sets[set as usize]);
        self.by_name.remove(&gone.name);
        self.free.push(set);
    }

    /// Writes down where in its client's list a membership stands now.
    pub(super) fn set_back(&mut self, membership: Membership, back: u32) {
        self.sets[membership.set as usize].members[membership.place.index()].back = back;
    }

    /// How many sets there are.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The members of a set, in no order; none where there is no such set.
    pub(super) fn members(&self, name: &[u8]) -> &[Member] {
        self.find(name).map_or(&[], |set| &self.sets[set as usize].members)
    }

    pub(super) fn name(&self, membership: Membership) -> &Bytes {
        &self.sets[membership.set as usize].name
    }

    /// When the client joined.
    pub(super) fn joined(&self, membership: Membership) -> u64 {
        self.sets[membership.set as usize].members[membership.place.index()].joined
    }

    /// How many places for sets there are, empty ones among them.
    pub(super) fn places(&self) -> usize {
        self.sets.len()
    }

    /// The set at a place: when it was created, its name, and how many members it has.
    pub(super) fn at(&self, place: usize) -> Option<(u64, &Bytes, usize)> {
        let set = self.sets.get(place).filter(|set| !set.members.is_empty())?;
        Some((set.created, &set.name, set.members.len()))
    }

    /// All sets with when they were created.
    pub(super) fn sets(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        self.sets.iter().filter(|set| !set.members.is_empty()).map(|set| (set.created, &set.name))
    }
}

#[cfg(any(test, feature = "internals"))]
impl Index {
    /// The index's half of a membership.
    pub(super) fn member(&self, membership: Membership) -> Option<&Member> {
        self.sets.get(membership.set as usize)?.members.get(membership.place.index())
    }

    /// How many memberships there are.
    pub(super) fn members_len(&self) -> usize {
        self.sets.iter().map(|set| set.members.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(slot: u32) -> Member {
        Member { slot, back: 0, joined: u64::from(slot) }
    }

    #[test]
    fn removing_says_who_moved_into_the_gap() {
        let mut index = Index::default();
        let name = Bytes::from("room");
        let first = index.add(&name, member(1));
        index.add(&name, member(2));
        let last = index.add(&name, member(3));
        assert_eq!(index.remove(first), Some((member(3), first)));
        assert_eq!(index.remove(Membership { place: Place::last(2), ..last }), None);
        assert_eq!(index.members(b"room"), [member(3)]);
    }

    #[test]
    fn a_set_without_members_is_gone_and_its_place_used_again() {
        let mut index = Index::default();
        let only = index.add(&Bytes::from("a"), member(1));
        index.remove(only);
        assert_eq!(index.sets().count(), 0);
        index.add(&Bytes::from("b"), member(1));
        assert_eq!(index.sets.len(), 1);
        assert_eq!(index.remove_set(b"b"), [member(1)]);
        assert!(index.members(b"b").is_empty());
    }
}
