//! What the table tells of presence rooms: which uids come to them and go, on this shard.
//!
//! A client counts in a room while it is admitted, bound to a uid and a member. The table's methods call these behind what
//! makes it so, and before what ends it. Where the gateway has no presence, each of them is one look at `None`.

use std::sync::Arc;

use bytes::Bytes;

use super::Table;
use crate::core::client::Client;
use crate::core::index::Membership;
use crate::core::ports::Ports;
use crate::core::presence::feed::PresenceFeed;

impl<P: Ports> Table<P> {
    /// Tells `feed` of presence rooms from now on. The table has no clients yet.
    pub(crate) fn with_presence(mut self, feed: Option<Arc<PresenceFeed>>) -> Self {
        self.presence = feed;
        self
    }

    /// What others see of a client in presence rooms, as JSON; `None` where there is no presence.
    pub(crate) fn presence_of(&self, client: &Client<P>) -> Option<Arc<str>> {
        self.presence.as_ref().map(|feed| feed.data_of(&client.session))
    }

    /// Notes that a client, which stays what it is, has another session.
    pub(crate) fn session_changed(&self, connection_id: u32) {
        let Some(feed) = self.presence.as_ref().filter(|feed| feed.shows_sessions()) else { return };
        let Some((client, uid)) = self.shown(connection_id) else { return };
        let mut data = None;
        for room in self.rooms_of(feed, client) {
            let data = data.get_or_insert_with(|| feed.data_of(&client.session));
            feed.update(room, uid, data.clone());
        }
    }

    /// Notes that a client is in a group that it was not in.
    pub(super) fn note_joined(&self, connection_id: u32, group: &[u8]) {
        let Some(feed) = self.presence.as_ref().filter(|feed| feed.is_room(group)) else { return };
        if let Some((client, uid)) = self.shown(connection_id) {
            feed.enter(group, uid, feed.data_of(&client.session));
        }
    }

    /// Notes that a client is about to leave a group.
    pub(super) fn note_leaves(&self, connection_id: u32, group: &[u8]) {
        let Some(feed) = self.presence.as_ref().filter(|feed| feed.is_room(group)) else { return };
        if let Some((_, uid)) = self.shown(connection_id) {
            feed.exit(group, uid);
        }
    }

    /// Notes that all members are about to leave a group.
    pub(super) fn note_all_leave(&self, group: &[u8]) {
        if self.presence.as_ref().is_some_and(|feed| feed.is_room(group)) {
            for key in self.group(group) {
                self.note_leaves(key.connection_id(), group);
            }
        }
    }

    /// Notes that a client is shown in its groups from now on: it has a uid, or is admitted.
    pub(super) fn note_shown(&self, connection_id: u32) {
        let Some(feed) = &self.presence else { return };
        let Some((client, uid)) = self.shown(connection_id) else { return };
        let data = feed.data_of(&client.session);
        self.rooms_of(feed, client).for_each(|room| feed.enter(room, uid, data.clone()));
    }

    /// Notes that a client is about not to be shown any more in the groups in which it is.
    pub(super) fn note_hidden(&self, connection_id: u32) {
        let Some(feed) = &self.presence else { return };
        if let Some((client, uid)) = self.shown(connection_id) {
            self.rooms_of(feed, client).for_each(|room| feed.exit(room, uid));
        }
    }

    /// The client with its uid, where it is admitted and has one.
    fn shown(&self, connection_id: u32) -> Option<(&Client<P>, &Bytes)> {
        let client = self.client(connection_id).filter(|client| !client.is_pending())?;
        Some((client, self.uids.name(client.uid?)))
    }

    /// The presence rooms among a client's groups.
    fn rooms_of<'t>(
        &'t self,
        feed: &'t PresenceFeed,
        client: &'t Client<P>,
    ) -> impl Iterator<Item = &'t Bytes> {
        let memberships: &[Membership] = client.groups.as_deref().map_or(&[], |groups| groups);
        memberships.iter().map(|one| self.groups.name(*one)).filter(|group| feed.is_room(group))
    }
}
