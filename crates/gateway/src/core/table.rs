//! The connection table of one shard: its clients, their uids and their groups.
//!
//! The table keeps both halves of each membership in step: the client's list, and the index of
//! members by name (`index`). The numbers that order clients and memberships (`seq`, `joined`) are
//! given to it. It tells no worker and closes no connection. `presence` tells of presence rooms what changes here.

mod presence;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use gatewayworker_protocol::interest::Name;

use super::client::{Client, NewClient, PendingAdmission};
use super::index::{Index, Member, Membership};
use super::membership_limits::{MembershipLimit, MembershipLimits};
use super::ports::Ports;
use super::presence::feed::PresenceFeed;

/// The place of a client in the table. Later clients use a slot again, so a kept key is only valid
/// while the connection id agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    slot: u32,
    connection_id: u32,
}

impl Key {
    /// The client's connection id.
    pub fn connection_id(self) -> u32 {
        self.connection_id
    }
}

/// The table keeps the memory for so many clients when they have left.
const KEEP: usize = 1024;

/// The table.
pub struct Table<P: Ports> {
    /// With the connection id beside the client: a list of keys is made without touching
    /// every client for it.
    slots: Vec<Option<(u32, Box<Client<P>>)>>,
    free: Vec<u32>,
    by_id: HashMap<u32, u32, RandomState>,
    uids: Index,
    groups: Index,
    /// Those that are not admitted yet: few at a time.
    pending: HashMap<u32, PendingAdmission, RandomState>,
    limits: MembershipLimits,
    /// Who is told of presence rooms, where the gateway has them.
    presence: Option<Arc<PresenceFeed>>,
}

impl<P: Ports> Table<P> {
    /// A table without clients.
    pub(crate) fn new(limits: MembershipLimits) -> Self {
        let (slots, free, by_id, uids, groups, pending) = Default::default();
        Self { slots, free, by_id, uids, groups, pending, limits, presence: None }
    }

    /// How many clients there are, admitted or not.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// How many clients are not admitted yet.
    pub(crate) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// How many uids have a client.
    pub(crate) fn uids_len(&self) -> usize {
        self.uids.len()
    }

    /// How many groups have a member.
    pub(crate) fn groups_len(&self) -> usize {
        self.groups.len()
    }

    /// How many clients are admitted.
    pub(crate) fn admitted_len(&self) -> usize {
        self.by_id.len() - self.pending.len()
    }

    pub(crate) fn contains(&self, connection_id: u32) -> bool {
        self.by_id.contains_key(&connection_id)
    }

    pub(crate) fn insert(&mut self, new: NewClient<P>) -> Key {
        let connection_id = new.connection_id;
        let client = Box::new(Client::new(new));
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = Some((connection_id, client));
        self.by_id.insert(connection_id, slot);
        Key { slot, connection_id }
    }

    pub(crate) fn key_of(&self, connection_id: u32) -> Option<Key> {
        self.by_id.get(&connection_id).map(|slot| Key { slot: *slot, connection_id })
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Client<P>> {
        let (connection_id, client) = self.slots.get_mut(key.slot as usize)?.as_mut()?;
        (*connection_id == key.connection_id).then_some(client)
    }

    /// The client of a key.
    #[inline]
    pub(crate) fn look(&self, key: Key) -> Option<&Client<P>> {
        let (connection_id, client) = self.slots.get(key.slot as usize)?.as_ref()?;
        (*connection_id == key.connection_id).then_some(client)
    }

    pub(crate) fn client(&self, connection_id: u32) -> Option<&Client<P>> {
        self.at(*self.by_id.get(&connection_id)?)
    }

    pub(crate) fn by_id(&mut self, connection_id: u32) -> Option<&mut Client<P>> {
        self.key_of(connection_id).and_then(|key| self.get(key))
    }

    /// The client of a slot, where the slot is there and not empty.
    pub(crate) fn at(&self, slot: u32) -> Option<&Client<P>> {
        self.slots.get(slot as usize)?.as_ref().map(|(_, client)| &**client)
    }

    /// How many slots there are, empty ones among them.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The client of a slot.
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut Client<P>> {
        self.slots.get_mut(slot as usize)?.as_mut().map(|(_, client)| &mut **client)
    }

    /// Everybody's key, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Key> {
        (0..).zip(&self.slots).filter_map(|(slot, client)| {
            let (connection_id, _) = client.as_ref()?;
            Some(Key { slot, connection_id: *connection_id })
        })
    }

    /// Every client that is admitted, in no order.
    pub(crate) fn admitted(&self) -> impl Iterator<Item = &Client<P>> {
        self.slots.iter().flatten().map(|(_, client)| &**client).filter(|client| !client.is_pending())
    }

    /// The client waits to be admitted, and is not listed until
    /// [`end_admission`](Self::end_admission). Where it waits already, as its handshake is given to
    /// another worker, what is deferred for it stays.
    pub(crate) fn begin_admission(&mut self, key: Key) {
        self.note_hidden(key.connection_id);
        if let Some(client) = self.get(key)
            && !client.is_pending
        {
            client.is_pending = true;
            self.pending.insert(key.connection_id, PendingAdmission::default());
        }
    }

    /// What waits for a client to be admitted, while that is so.
    pub(super) fn pending(&mut self, key: Key) -> Option<&mut PendingAdmission> {
        self.pending.get_mut(&key.connection_id)
    }

    /// Returns what was deferred for a client that waited to be admitted, and waits no more.
    pub(crate) fn end_admission(&mut self, key: Key) -> Option<Vec<Bytes>> {
        let pending = self.pending.remove(&key.connection_id)?;
        if self.pending.is_empty() {
            // There may have been a crowd.
            self.pending.shrink_to(KEEP);
        }
        self.get(key)?.is_pending = false;
        self.note_shown(key.connection_id);
        Some(pending.into_frames())
    }

    /// Takes a client out of the table and of all it belongs to.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Box<Client<P>>> {
        self.get(key)?;
        // First the uid: a client that was not admitted was in no presence room, and is in none now.
        self.unbind_uid(key.connection_id);
        self.end_admission(key);
        for membership in self.get(key)?.groups.take().into_iter().flatten() {
            self.unlist(membership);
        }
        self.by_id.remove(&key.connection_id);
        self.free.push(key.slot);
        let client = self.slots[key.slot as usize].take();
        self.shrink();
        client.map(|(_, client)| client)
    }

    /// Gives back the memory of a crowd when three quarters of it have left.
    fn shrink(&mut self) {
        let len = self.by_id.len();
        if self.by_id.capacity() < KEEP || len > self.by_id.capacity() / 4 {
            return;
        }
        self.by_id.shrink_to(2 * len);
        // A client keeps its slot, so only the slots behind the last client are given back.
        let end = self.slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.slots.truncate(end);
        self.slots.shrink_to(2 * len);
        self.free.retain(|slot| (*slot as usize) < end);
        self.free.shrink_to(2 * len);
    }

    /// Binds a client to a uid, in place of the one it was bound to.
    ///
    /// # Errors
    /// When the uid is too long, or has as many clients as it may have. Nothing has changed then.
    pub(crate) fn bind_uid(
        &mut self,
        connection_id: u32,
        uid: &Bytes,
        joined: u64,
    ) -> Result<(), MembershipLimit> {
        let Some(key) = self.key_of(connection_id) else { return Ok(()) };
        self.limits.check_name(uid)?;
        let before = self.get(key).and_then(|client| client.uid);
        let is_bound = before.is_some_and(|membership| self.uids.name(membership) == uid);
        if is_bound {
            self.unlist_uid(connection_id);
        } else {
            self.limits.acquire_uid(uid)?;
            self.unbind_uid(connection_id);
        }
        let membership = self.uids.add(uid, Member { slot: key.slot, back: 0, joined });
        if let Some(client) = self.get(key) {
            client.uid = Some(membership);
        }
        if !is_bound {
            self.note_shown(connection_id);
        }
        Ok(())
    }

    pub(crate) fn unbind_uid(&mut self, connection_id: u32) {
        if let Some(membership) = self.client(connection_id).and_then(|client| client.uid) {
            self.limits.release_uid(self.uids.name(membership));
            self.note_hidden(connection_id);
            self.unlist_uid(connection_id);
        }
    }

    fn unlist_uid(&mut self, connection_id: u32) {
        let Some(membership) = self.by_id(connection_id).and_then(|client| client.uid.take()) else { return };
        if let Some((moved, place)) = self.uids.remove(membership)
            && let Some(client) = self.at_mut(moved.slot)
        {
            client.uid = Some(place);
        }
    }

    /// Puts a client into a group; joining twice is joining once.
    ///
    /// # Errors
    /// When the group's name is too long, or the client is in as many groups as it may be in.
    pub(crate) fn join_group(
        &mut self,
        connection_id: u32,
        group: &Bytes,
        joined: u64,
    ) -> Result<(), MembershipLimit> {
        let Some(key) = self.key_of(connection_id) else { return Ok(()) };
        self.limits.check_name(group)?;
        let max_groups = self.limits.max_groups_per_client;
        let set = self.groups.find(group);
        let Some(client) = self.get(key) else { return Ok(()) };
        let memberships = client.groups.as_deref().unwrap_or_default();
        if memberships.iter().any(|m| Some(m.set) == set) {
            return Ok(());
        }
        if memberships.len() >= max_groups {
            return Err(MembershipLimit::GroupsPerClient);
        }
        let back = memberships.len() as u32;
        let membership = self.groups.add(group, Member { slot: key.slot, back, joined });
        if let Some(client) = self.get(key) {
            client.groups.get_or_insert_default().push(membership);
        }
        self.note_joined(connection_id, group);
        Ok(())
    }

    /// Checks that a client may join all of these groups.
    ///
    /// # Errors
    /// When a name is too long, or the client would be in more groups than it may be in.
    pub(crate) fn check_joins(&self, client: &Client<P>, groups: &[Bytes]) -> Result<(), MembershipLimit> {
        groups.iter().try_for_each(|group| self.limits.check_name(group))?;
        let more = groups.iter().filter(|group| !self.is_member(group, client)).count();
        let has = client.groups.as_deref().unwrap_or_default().len();
        match has + more > self.limits.max_groups_per_client {
            true => Err(MembershipLimit::GroupsPerClient),
            false => Ok(()),
        }
    }

    pub(crate) fn leave_group(&mut self, connection_id: u32, group: &[u8]) {
        let Some(set) = self.groups.find(group) else { return };
        let memberships = self.client(connection_id).and_then(|client| client.groups.as_deref());
        let Some(at) = memberships.and_then(|list| list.iter().position(|m| m.set == set)) else { return };
        self.note_leaves(connection_id, group);
        let Some(memberships) = self.by_id(connection_id).and_then(|client| client.groups.as_mut()) else {
            return;
        };
        let membership = memberships.swap_remove(at);
        let moved = memberships.get(at).copied();
        // First the index's backward pointer of what moved here, then the removal,
        // which may move yet another member within its set.
        if let Some(moved) = moved {
            self.groups.set_back(moved, at as u32);
        }
        self.unlist(membership);
    }

    /// Takes everybody out of a group.
    pub(crate) fn ungroup(&mut self, group: &[u8]) {
        self.note_all_leave(group);
        for member in self.groups.remove_set(group) {
            let Some(client) = self.at_mut(member.slot) else { continue };
            let Some(memberships) = client.groups.as_mut() else { continue };
            memberships.swap_remove(member.back as usize);
            if let Some(moved) = memberships.get(member.back as usize).copied() {
                self.groups.set_back(moved, member.back);
            }
        }
    }

    fn unlist(&mut self, membership: Membership) {
        if let Some((moved, place)) = self.groups.remove(membership)
            && let Some(client) = self.at_mut(moved.slot)
            && let Some(memberships) = client.groups.as_mut()
        {
            memberships[moved.back as usize] = place;
        }
    }

    /// The members of a group, in no order.
    pub(crate) fn group(&self, group: &[u8]) -> impl ExactSizeIterator<Item = Key> {
        self.keys(self.groups.members(group))
    }

    /// The clients of a uid, in no order.
    pub(crate) fn uid(&self, uid: &[u8]) -> impl ExactSizeIterator<Item = Key> {
        self.keys(self.uids.members(uid))
    }

    /// The clients of a uid or of a group, whichever are fewer, in no order; `None` where neither is given.
    pub(crate) fn fewest<'t>(
        &'t self,
        uid: Option<&Bytes>,
        group: Option<&Bytes>,
    ) -> Option<impl ExactSizeIterator<Item = Key> + use<'t, P>> {
        let uid = uid.map(|uid| self.uids.members(uid));
        let group = group.map(|group| self.groups.members(group));
        let fewest = [uid, group].into_iter().flatten().min_by_key(|members| members.len())?;
        Some(self.keys(fewest))
    }

    fn keys(&self, members: &[Member]) -> impl ExactSizeIterator<Item = Key> {
        members.iter().map(|member| Key {
            slot: member.slot,
            connection_id: self.slots[member.slot as usize]
                .as_ref()
                .map_or(0, |(connection_id, _)| *connection_id),
        })
    }

    /// The members of a group with when each joined, in no order.
    pub(crate) fn group_joined(&self, group: &[u8]) -> impl Iterator<Item = (u64, &Client<P>)> {
        self.joined(self.groups.members(group))
    }

    /// The clients of a uid with when each was bound, in no order.
    pub(crate) fn uid_joined(&self, uid: &[u8]) -> impl Iterator<Item = (u64, &Client<P>)> {
        self.joined(self.uids.members(uid))
    }

    fn joined(&self, members: &[Member]) -> impl Iterator<Item = (u64, &Client<P>)> {
        members.iter().filter_map(|m| Some((m.joined, self.at(m.slot)?)))
    }

    pub(crate) fn uid_of(&self, client: &Client<P>) -> Option<Bytes> {
        client.uid.map(|membership| self.uids.name(membership).clone())
    }

    /// Whether the client is bound to this uid.
    pub(crate) fn is_uid_of(&self, uid: &[u8], client: &Client<P>) -> bool {
        client.uid.is_some_and(|membership| self.uids.name(membership) == uid)
    }

    /// Whether the client is a member of this group.
    pub(crate) fn is_member(&self, group: &[u8], client: &Client<P>) -> bool {
        let Some(set) = self.groups.find(group) else { return false };
        client.groups.as_deref().unwrap_or_default().iter().any(|membership| membership.set == set)
    }

    /// How many places for groups there are, empty ones among them.
    pub(crate) fn group_sets(&self) -> usize {
        self.groups.places()
    }

    /// The group at a place: when it came to be, its name, and how many members it has.
    pub(crate) fn group_set(&self, place: usize) -> Option<(u64, &Bytes, usize)> {
        self.groups.at(place)
    }

    /// The names at the places from `from` on, `places` at most, of groups and of uids; and whether these are the last.
    pub(crate) fn names(&self, from: usize, places: usize) -> (Vec<Name>, bool) {
        let end = from + places;
        let groups = (from..end.min(self.groups.places())).filter_map(|place| self.groups.at(place));
        let uids = (from..end.min(self.uids.places())).filter_map(|place| self.uids.at(place));
        let groups = groups.map(|(_, group, _)| Name::group(group));
        let names = groups.chain(uids.map(|(_, uid, _)| Name::uid(uid))).collect();
        (names, self.groups.places().max(self.uids.places()) <= end)
    }

    /// A client's groups with when it joined each, or `None` if it never joined one.
    pub(crate) fn groups_of(&self, client: &Client<P>) -> Option<Vec<(u64, Bytes)>> {
        let memberships = client.groups.as_ref()?;
        Some(memberships.iter().map(|m| (self.groups.joined(*m), self.groups.name(*m).clone())).collect())
    }

    /// The names of a client's groups, in no order.
    pub(crate) fn group_names(&self, client: &Client<P>) -> impl Iterator<Item = &Bytes> {
        client.groups.as_deref().unwrap_or_default().iter().map(|membership| self.groups.name(*membership))
    }

    /// All groups with when each came to be, in no order.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        self.groups.sets()
    }

    /// Every client, admitted or not, in no order.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn clients(&self) -> impl Iterator<Item = &Client<P>> {
        self.slots.iter().flatten().map(|(_, client)| &**client)
    }

    /// Checks that both halves of every membership agree, and the counts.
    ///
    /// # Errors
    /// With what does not agree.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn check(&self) -> Result<(), String> {
        let pending = self.clients().filter(|client| client.is_pending()).count();
        if (self.pending.len(), self.by_id.len()) != (pending, self.clients().count()) {
            return Err(format!("{} clients are counted as pending, {pending} are", self.pending.len()));
        }
        let mut memberships = 0;
        for client in self.clients() {
            let key = self.key_of(client.connection_id);
            for (back, membership) in (0..).zip(client.groups.as_deref().unwrap_or_default()) {
                let member = self.groups.member(*membership);
                if member
                    .is_none_or(|member| (member.back, Some(member.slot)) != (back, key.map(|key| key.slot)))
                {
                    return Err(format!("client {} and its group disagree", client.connection_id));
                }
                memberships += 1;
            }
            if let Some(uid) = client.uid
                && self.uids.member(uid).map(|member| member.slot) != key.map(|key| key.slot)
            {
                return Err(format!("client {} and its uid disagree", client.connection_id));
            }
        }
        let bound = self.clients().filter(|client| client.uid.is_some()).count();
        if self.groups.members_len() != memberships {
            return Err("a group has a member that does not know it".to_owned());
        }
        match self.uids.members_len() == bound {
            true => Ok(()),
            false => Err("a uid has a client that does not know it".to_owned()),
        }
    }
}
