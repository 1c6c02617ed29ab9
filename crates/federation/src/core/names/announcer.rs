//! [`Announcer`]: what the announcing worker of a cluster says of its names, and when.
//!
//! The shell (`announcing_names.rs`) calls [`advance`](Announcer::advance) when [`next_deadline`](Announcer::next_deadline) has come, and
//! publishes what it returns, in that order. What is not taken by NATS is a gap for those who hear, and they ask for everything.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use bytes::Bytes;
use gatewayworker_client::federation::NamesChange;
use gatewayworker_protocol::interest::Name;

use super::update::{FilterPart, NamesUpdate, Step};
use super::{ALIVE_MS, MAX_GATEWAYS, MAX_NAMES, MAX_PART};

/// Changes are said at once, and gathered for so long after the last ones, in ms.
const GATHER_MS: u64 = 20;

/// How often it is looked whether all views are trusted, in ms: less than the time between the end of a trust and the end of its lease.
const LOOK_MS: u64 = 100;

/// A snapshot is said so often at most, in ms,
const SNAPSHOT_MS: u64 = 1_000;

/// and so many bytes of snapshots in each millisecond.
const SNAPSHOT_BYTES_PER_MS: usize = 1_024;

/// A longer snapshot is not said: it would leave the sends of this process no room in the NATS client. Others take the cluster to have everything.
const MAX_SNAPSHOT: usize = 8 * 1024 * 1024;

/// After this time it is looked whether it has become shorter, in ms.
const TOO_LONG_MS: u64 = 60_000;

/// What the announcer reads of its own cluster.
pub(crate) trait NamesSource {
    /// What has changed since it was last called.
    fn take(&mut self) -> NamesChange;

    /// The filters of all gateways that have announced one.
    fn filters(&mut self) -> Vec<(SocketAddrV4, Bytes)>;
}

/// What the announcing worker has said.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    is_announcing: bool,
    /// The number of the last change.
    number: u64,
    is_complete: bool,
    /// Nothing that changed before is to be told: a snapshot will have it.
    is_fresh_start: bool,
    /// The gateways of which others may know names.
    gateways: BTreeSet<SocketAddrV4>,
    has_changed: bool,
    is_wanted: bool,
    looked_ms: u64,
    changed_ms: u64,
    said_ms: u64,
    snapshot_at_ms: u64,
}

impl Announcer {
    /// Whether this worker announces. Returns what to say at the end: nobody shall trust what it has said before.
    pub(crate) fn set_announcing(&mut self, is_announcing: bool, now_ms: u64) -> Option<NamesUpdate> {
        if std::mem::replace(&mut self.is_announcing, is_announcing) == is_announcing {
            return None;
        }
        if !is_announcing {
            self.is_complete = false;
            return Some(self.say(Step::Alive));
        }
        // Who has heard it before has a gap.
        self.number += 2;
        self.gateways.clear();
        (self.is_fresh_start, self.has_changed, self.is_wanted) = (true, true, false);
        (self.changed_ms, self.looked_ms) = (now_ms.saturating_sub(GATHER_MS), now_ms);
        None
    }

    /// Notes that a gateway has announced something.
    pub(crate) fn note_change(&mut self) {
        self.has_changed = true;
    }

    /// Notes that somebody asks for everything.
    pub(crate) fn want(&mut self) {
        self.is_wanted = self.is_announcing;
    }

    /// When [`advance`](Self::advance) is due next.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let look_ms = self.looked_ms + LOOK_MS;
        let change_ms = self.has_changed.then_some(self.changed_ms + GATHER_MS);
        let snapshot_ms = (self.is_wanted && self.is_complete).then_some(self.snapshot_at_ms);
        let due_ms = [Some(look_ms), change_ms, snapshot_ms].into_iter().flatten().min();
        due_ms.filter(|_| self.is_announcing)
    }

    /// Returns what to say now, in messages with at most so many bytes of names.
    pub(crate) fn advance(
        &mut self,
        source: &mut impl NamesSource,
        max_len: usize,
        now_ms: u64,
    ) -> Vec<NamesUpdate> {
        let mut updates = Vec::new();
        if self.next_deadline().is_none_or(|due_ms| now_ms < due_ms) {
            return updates;
        }
        (self.looked_ms, self.has_changed) = (now_ms, false);
        let mut change = source.take();
        let gateways = BTreeSet::from_iter(change.gateways.iter().copied());
        let is_complete = change.is_complete && gateways.len() <= MAX_GATEWAYS;
        let has_turned = std::mem::replace(&mut self.is_complete, is_complete) != is_complete;
        if std::mem::take(&mut self.is_fresh_start) {
            (change.names, change.filters) = (Vec::new(), Vec::new());
        }
        let gone: Vec<_> = self.gateways.difference(&gateways).copied().collect();
        self.gateways = gateways;
        change.names.retain(|(gateway, _)| self.gateways.contains(gateway));
        if !gone.is_empty() {
            updates.push(self.change(Step::Gone(gone)));
        }
        for (gateway, filter) in change.filters {
            for part in parts(gateway, &filter, max_len) {
                updates.push(self.change(Step::Part(part)));
            }
        }
        for names in messages(change.names, max_len) {
            updates.push(self.change(Step::Names(names)));
        }
        if !updates.is_empty() {
            self.changed_ms = now_ms;
        }
        if self.is_wanted && now_ms >= self.snapshot_at_ms {
            self.say_snapshot(source, max_len, now_ms, &mut updates);
        }
        if updates.is_empty() && (has_turned || now_ms >= self.said_ms + ALIVE_MS) {
            updates.push(self.say(Step::Alive));
        }
        if !updates.is_empty() {
            self.said_ms = now_ms;
        }
        updates
    }

    fn say_snapshot(
        &mut self,
        source: &mut impl NamesSource,
        max_len: usize,
        now_ms: u64,
        updates: &mut Vec<NamesUpdate>,
    ) {
        if !self.is_complete {
            return;
        }
        let mut filters = source.filters();
        filters.retain(|(gateway, _)| self.gateways.contains(gateway));
        if filters.len() != self.gateways.len() {
            // A link was lost just now.
            return;
        }
        self.is_wanted = false;
        let bytes: usize = filters.iter().map(|(_, filter)| filter.len()).sum();
        if bytes > MAX_SNAPSHOT {
            self.snapshot_at_ms = now_ms + TOO_LONG_MS;
            return;
        }
        let gateways = filters.len() as u16;
        for (gateway, filter) in filters {
            for part in parts(gateway, &filter, max_len) {
                updates.push(self.say(Step::Snapshot { gateways, part }));
            }
        }
        self.snapshot_at_ms = now_ms + SNAPSHOT_MS.max((bytes / SNAPSHOT_BYTES_PER_MS) as u64);
    }

    fn change(&mut self, step: Step) -> NamesUpdate {
        self.number += 1;
        self.say(step)
    }

    fn say(&self, step: Step) -> NamesUpdate {
        NamesUpdate { number: self.number, is_complete: self.is_complete, step }
    }
}

/// The parts of a filter.
fn parts(gateway: SocketAddrV4, filter: &Bytes, max_len: usize) -> impl Iterator<Item = FilterPart> + '_ {
    let size = max_len.clamp(1, MAX_PART);
    (0..filter.len()).step_by(size).map(move |offset| FilterPart {
        gateway,
        len: filter.len() as u32,
        offset: offset as u32,
        bits: filter.slice(offset..filter.len().min(offset + size)),
    })
}

/// Names in as few messages as they fit into.
fn messages(names: Vec<(SocketAddrV4, Vec<Name>)>, max_len: usize) -> Vec<Vec<(SocketAddrV4, Vec<Name>)>> {
    // A name is 8 bytes, and its gateway with their count as much.
    let room = (max_len / 16).clamp(1, MAX_NAMES);
    let mut messages = Vec::new();
    let (mut message, mut count) = (Vec::new(), 0);
    for (gateway, names) in names {
        for names in names.chunks(room) {
            if count + names.len() > room {
                messages.push(std::mem::take(&mut message));
                count = 0;
            }
            count += names.len();
            message.push((gateway, names.to_vec()));
        }
    }
    if !message.is_empty() {
        messages.push(message);
    }
    messages
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const GATEWAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 1);

    /// A gateway with a filter of some length.
    struct OneGateway {
        len: usize,
    }

    impl NamesSource for OneGateway {
        fn take(&mut self) -> NamesChange {
            NamesChange::new(vec![GATEWAY], true)
        }

        fn filters(&mut self) -> Vec<(SocketAddrV4, Bytes)> {
            vec![(GATEWAY, vec![0; self.len].into())]
        }
    }

    #[test]
    fn a_snapshot_that_would_leave_sends_no_room_is_not_said() {
        let mut announcer = Announcer::default();
        announcer.set_announcing(true, 100_000);
        let mut source = OneGateway { len: 16 << 20 };
        let mut snapshots = |source: &mut OneGateway, now_ms| {
            announcer.want();
            let updates = announcer.advance(source, MAX_PART, now_ms);
            updates.iter().filter(|update| matches!(update.step, Step::Snapshot { .. })).count()
        };
        assert_eq!(snapshots(&mut source, 100_100), 0);
        source.len = 4096;
        assert_eq!(snapshots(&mut source, 159_000), 0, "it is not looked for all the time");
        assert_eq!(snapshots(&mut source, 160_200), 1);
    }
}
