//! The walk over a shard's clients, and one client in full.

use std::cmp::Reverse;
use std::net::SocketAddrV4;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::inspect::ClientSort;

use super::filter::ClientFilter;
use super::top::Top;
use super::{SLICE, Walked};
use crate::core::Shard;
use crate::core::client::Client;
use crate::core::ports::Ports;

/// A client as it was when a walk came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundClient {
    pub(crate) connection_id: u32,
    pub(crate) uid: Option<Bytes>,
    pub(crate) groups: usize,
    /// Unspecified where it came over IPv6.
    pub(crate) address: SocketAddrV4,
    /// The port of its listener.
    pub(crate) port: u16,
    pub(crate) age_ms: u64,
    pub(crate) messages: u32,
    pub(crate) outbox_bytes: usize,
    pub(crate) unfinished: usize,
    pub(crate) worker: Arc<str>,
    pub(crate) is_pending: bool,
    pub(crate) oldest_ms: u64,
}

/// A client in full.
#[derive(Debug)]
pub(crate) struct FullClient {
    pub(crate) client: FoundClient,
    /// Its groups, in the order of joining.
    pub(crate) groups: Vec<Bytes>,
    /// As it is stored.
    pub(crate) session: Bytes,
    pub(crate) silent_ms: u64,
    pub(crate) is_paused: bool,
}

/// The higher value first, and of the same value the one that connected earlier.
type Rank = (u64, Reverse<u64>);

/// A look at all clients of one shard after the other.
#[derive(Debug)]
pub(crate) struct ClientWalk {
    filter: ClientFilter,
    sort: ClientSort,
    /// The next slot of the shard's table.
    slot: usize,
    pub(super) total: u64,
    top: Top<Rank, FoundClient>,
}

impl ClientWalk {
    /// A walk that counts the clients which meet a filter, and keeps `limit` of them.
    pub(crate) fn new(filter: ClientFilter, sort: ClientSort, limit: usize) -> Self {
        Self { filter, sort, slot: 0, total: 0, top: Top::new(limit) }
    }

    /// The only connection that is looked for, if it is one.
    pub(crate) fn connection_id(&self) -> Option<u32> {
        self.filter.connection_id
    }

    /// Looks at the next clients of a shard. The call behind [`Walked::All`] begins with another shard.
    pub(crate) fn advance<P: Ports>(&mut self, shard: &Shard<P>, now_ms: u64) -> Walked {
        let table = shard.table();
        if let Some(connection_id) = self.filter.connection_id {
            let client = table.client(connection_id);
            client.into_iter().for_each(|client| self.see(shard, client, now_ms));
            return Walked::All;
        }
        // Few clients of a uid or a group are found without a look at all the others.
        if let Some(members) = table.fewest(self.filter.uid.as_ref(), self.filter.group.as_ref())
            && self.slot == 0
            && members.len() <= SLICE
        {
            let clients = members.filter_map(|key| table.client(key.connection_id()));
            clients.for_each(|client| self.see(shard, client, now_ms));
            return Walked::All;
        }
        let end = table.slots().min(self.slot + SLICE);
        for slot in self.slot..end {
            if let Some(client) = table.at(slot as u32) {
                self.see(shard, client, now_ms);
            }
        }
        self.slot = end;
        if end < table.slots() {
            return Walked::More;
        }
        self.slot = 0;
        Walked::All
    }

    fn see<P: Ports>(&mut self, shard: &Shard<P>, client: &Client<P>, now_ms: u64) {
        if !self.lets_through(shard, client) {
            return;
        }
        self.total += 1;
        let value = match self.sort {
            ClientSort::Outbox => client.queue.bytes() as u64,
            ClientSort::Age => client.age_ms(now_ms),
            ClientSort::Messages => client.messages.into(),
            ClientSort::Unfinished => client.unfinished() as u64,
            ClientSort::Oldest => client.oldest_ms(now_ms),
        };
        self.top.offer((value, Reverse(client.seq)), || FoundClient::of(shard, client, now_ms));
    }

    fn lets_through<P: Ports>(&self, shard: &Shard<P>, client: &Client<P>) -> bool {
        let ClientFilter { connection_id: _, uid, group, address, port } = &self.filter;
        let table = shard.table();
        port.is_none_or(|port| client.policy().port == port)
            && address.is_none_or(|address| address.matches(client.address))
            && uid.as_ref().is_none_or(|uid| table.is_uid_of(uid, client))
            && group.as_ref().is_none_or(|group| table.is_member(group, client))
    }

    /// Returns how many clients the filter has let through, and the first of them.
    pub(crate) fn finish(self) -> (u64, Vec<FoundClient>) {
        (self.total, self.top.into_sorted())
    }
}

impl FoundClient {
    fn of<P: Ports>(shard: &Shard<P>, client: &Client<P>, now_ms: u64) -> Self {
        Self {
            connection_id: client.connection_id,
            uid: shard.table().uid_of(client),
            groups: client.groups.as_deref().map_or(0, <[_]>::len),
            address: client.address,
            port: client.policy().port,
            age_ms: client.age_ms(now_ms),
            messages: client.messages,
            outbox_bytes: client.queue.bytes(),
            unfinished: client.unfinished(),
            worker: client.worker.key().clone(),
            is_pending: client.is_pending(),
            oldest_ms: client.oldest_ms(now_ms),
        }
    }
}

impl FullClient {
    /// Returns a client with at most `max_groups` of its groups; `None` where the shard has no such client.
    pub(crate) fn find<P: Ports>(
        shard: &Shard<P>,
        connection_id: u32,
        max_groups: usize,
        now_ms: u64,
    ) -> Option<Self> {
        let client = shard.table().client(connection_id)?;
        let mut groups = shard.table().groups_of(client).unwrap_or_default();
        groups.sort_unstable();
        groups.truncate(max_groups);
        Some(Self {
            client: FoundClient::of(shard, client, now_ms),
            groups: groups.into_iter().map(|(_, group)| group).collect(),
            session: Bytes::copy_from_slice(&client.session),
            silent_ms: now_ms.saturating_sub(client.silent_since_ms),
            is_paused: client.is_paused,
        })
    }
}
