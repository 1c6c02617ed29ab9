//! Walks over shards without sockets.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::inspect::{ClientQuery, ClientSort};

use super::*;
use crate::core::Shard;
use crate::core::membership_limits::MembershipLimits;
use crate::core::table::Key;
use crate::core::testing::{self, MemoryDirectory, MemoryLink, MemoryPorts};
use crate::core::worker_link::WorkerLink;

struct Site {
    shard: Shard<MemoryPorts>,
    _workers: MemoryDirectory,
    worker: Arc<WorkerLink<MemoryLink>>,
}

impl Site {
    fn new() -> Self {
        let (shard, workers) = testing::shard();
        let worker = workers.join_paired("127.0.0.1:Chat:0", 1);
        Self { shard, _workers: workers, worker }
    }

    fn connect(&mut self, connection_id: u32, now_ms: u64) -> Key {
        let connection = testing::MemoryConnection::new(testing::policy());
        let mut new = testing::new_client(connection_id, &self.worker, connection);
        new.address = format!("10.0.{}.{}:50000", connection_id / 256, connection_id % 256).parse().unwrap();
        self.shard.insert(new, now_ms)
    }

    fn crowd(&mut self, clients: u32) -> Vec<Key> {
        (1..=clients).map(|connection_id| self.connect(connection_id, 0)).collect()
    }

    fn say(&mut self, key: Key, times: u32) {
        (0..times).for_each(|_| self.shard.tell_message(key, false, b"hello").unwrap());
    }

    /// The total and the connection ids that a query finds.
    fn find(&self, query: &ClientQuery, now_ms: u64) -> (u64, Vec<u32>) {
        let (total, found) = self.walk(query, now_ms).finish();
        (total, found.iter().map(|client| client.connection_id).collect())
    }

    fn walk(&self, query: &ClientQuery, now_ms: u64) -> ClientWalk {
        let filter = ClientFilter::new(query, self.shard.settings.address, |port| port.parse().ok()).unwrap();
        let mut walk = ClientWalk::new(filter, query.sort, query.limit as usize);
        while walk.advance(&self.shard, now_ms) == Walked::More {}
        walk
    }
}

fn by(sort: ClientSort, limit: u32) -> ClientQuery {
    ClientQuery { sort, limit, ..ClientQuery::default() }
}

#[test]
fn the_first_clients_of_each_order_are_found_and_all_are_counted() {
    let mut site = Site::new();
    let first = site.connect(1, 0);
    let second = site.connect(2, 5_000);
    let third = site.connect(3, 9_999);
    site.say(first, 1);
    site.say(third, 3);
    site.shard.send_own_frame(second, Bytes::from_static(b"waits"));
    assert_eq!(site.find(&by(ClientSort::Messages, 2), 10_000), (3, vec![3, 1]));
    assert_eq!(site.find(&by(ClientSort::Unfinished, 1), 10_000), (3, vec![3]));
    assert_eq!(site.find(&by(ClientSort::Age, 3), 10_000), (3, vec![1, 2, 3]));
    site.shard.set_now(12_000);
    site.say(second, 1);
    site.shard.end_events(1, &[(3, 1)]);
    assert_eq!(site.find(&by(ClientSort::Oldest, 3), 20_000), (3, vec![1, 2, 3]));
    let (_, found) = site.walk(&by(ClientSort::Oldest, 3), 20_000).finish();
    assert_eq!(found.iter().map(|client| client.oldest_ms).collect::<Vec<_>>(), [10_001, 8_000, 8_000]);
    // Of the same value, the one that connected earlier is first.
    assert_eq!(site.find(&by(ClientSort::Outbox, 3), 10_000), (3, vec![2, 1, 3]));
}

#[test]
fn a_found_client_has_its_numbers() {
    let mut site = Site::new();
    let key = site.connect(7, 2_500);
    site.say(key, 2);
    site.shard.table.bind_uid(7, &"ann".into(), 1).unwrap();
    site.shard.table.join_group(7, &"room".into(), 2).unwrap();
    let (_, found) = site.walk(&ClientQuery::default(), 62_500).finish();
    let expected = FoundClient {
        connection_id: 7,
        uid: Some("ann".into()),
        groups: 1,
        address: "10.0.0.7:50000".parse().unwrap(),
        port: 8289,
        age_ms: 60_500,
        messages: 2,
        outbox_bytes: 0,
        unfinished: 2,
        worker: "127.0.0.1:Chat:0".into(),
        is_pending: false,
        oldest_ms: 60_000,
    };
    assert_eq!(found, [expected]);
}

#[test]
fn a_query_lets_through_the_clients_that_meet_all_of_its_conditions() {
    let mut site = Site::new();
    site.crowd(300);
    for (connection_id, uid, group) in [(1, "ann", "a"), (2, "ann", "b"), (3, "bob", "a")] {
        site.shard.table.bind_uid(connection_id, &uid.into(), 1).unwrap();
        site.shard.table.join_group(connection_id, &group.into(), 2).unwrap();
    }
    let query = |id: &str, uid: &str, group: &str, address: &str, listener: &str| {
        let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        ClientQuery {
            id: set(id),
            uid: set(uid),
            group: set(group),
            address: set(address),
            listener: set(listener),
            ..ClientQuery::default()
        }
    };
    for (query, found) in [
        (query("", "ann", "", "", ""), vec![1, 2]),
        (query("", "", "a", "", ""), vec![1, 3]),
        (query("", "ann", "a", "", ""), vec![1]),
        (query("", "zoe", "", "", ""), vec![]),
        (query("", "", "zoe", "", ""), vec![]),
        (query("7f00000108fc00000002", "", "", "", ""), vec![2]),
        (query("7f00000108fc00000002", "bob", "", "", ""), vec![]),
        (query("7f00000108fc0000ffff", "", "", "", ""), vec![]),
        (query("", "", "", "10.0.0.3", ""), vec![3]),
        (query("", "ann", "", "10.0.0.", "8289"), vec![1, 2]),
        (query("", "ann", "", "", "1"), vec![]),
    ] {
        assert_eq!(site.find(&query, 0), (found.len() as u64, found), "{query:?}");
    }
    assert_eq!(site.find(&query("", "", "", "10.0.1.", ""), 0).0, 45);
}

#[test]
fn a_large_shard_is_walked_in_slices() {
    let mut site = Site::new();
    site.shard.table = crate::core::table::Table::new(MembershipLimits::default());
    site.crowd(2 * SLICE as u32 + 1);
    let mut walk = ClientWalk::new(ClientFilter::default(), ClientSort::Age, 1);
    for seen in [SLICE, 2 * SLICE] {
        assert_eq!(walk.advance(&site.shard, 0), Walked::More);
        assert_eq!(walk.total, seen as u64);
    }
    assert_eq!(walk.advance(&site.shard, 0), Walked::All);
    assert_eq!(walk.finish().0, 2 * SLICE as u64 + 1);
}

#[test]
fn a_group_of_many_is_walked_in_slices_and_one_of_few_at_once() {
    let mut site = Site::new();
    site.crowd(SLICE as u32 + 2);
    for connection_id in 1..=SLICE as u32 + 1 {
        site.shard.table.join_group(connection_id, &"many".into(), 1).unwrap();
    }
    site.shard.table.join_group(SLICE as u32 + 2, &"few".into(), 2).unwrap();
    for (group, first, total) in [("many", Walked::More, SLICE as u64 + 1), ("few", Walked::All, 1)] {
        let filter = ClientFilter { group: Some(group.into()), ..ClientFilter::default() };
        let mut walk = ClientWalk::new(filter, ClientSort::Outbox, 5);
        assert_eq!(walk.advance(&site.shard, 0), first, "{group}");
        while first == Walked::More && walk.advance(&site.shard, 0) == Walked::More {}
        assert_eq!(walk.finish().0, total, "{group}");
    }
}

#[test]
fn clients_that_leave_and_come_during_a_walk_are_seen_once_at_most() {
    let mut site = Site::new();
    let keys = site.crowd(3 * SLICE as u32);
    let mut walk = ClientWalk::new(ClientFilter::default(), ClientSort::Age, 5 * SLICE);
    assert_eq!(walk.advance(&site.shard, 0), Walked::More);
    // A client that was seen leaves, and another one takes its slot; most of those behind leave.
    let gone: Vec<Key> = keys.iter().skip(100).copied().collect();
    gone.iter().for_each(|key| drop(site.shard.table.remove(*key)));
    site.connect(3 * SLICE as u32 + 1, 0);
    while walk.advance(&site.shard, 0) == Walked::More {}
    let (total, found) = walk.finish();
    let mut ids: Vec<u32> = found.iter().map(|client| client.connection_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len() as u64, total);
    assert!((1..=100).all(|id| ids.contains(&id)), "those that stayed were seen");
}

#[test]
fn a_client_in_full_has_its_groups_in_the_order_of_joining() {
    let mut site = Site::new();
    let key = site.connect(1, 1_000);
    for (joined, group) in [(9, "third"), (2, "first"), (5, "second")] {
        site.shard.table.join_group(1, &group.into(), joined).unwrap();
    }
    site.shard.table.get(key).unwrap().session = (*b"a:0:{}").into();
    let full = FullClient::find(&site.shard, 1, 2, 4_000).unwrap();
    assert_eq!(full.groups, ["first", "second"]);
    assert_eq!((full.client.groups, full.silent_ms, full.is_paused), (3, 3_000, false));
    assert_eq!(full.session, "a:0:{}");
    assert!(FullClient::find(&site.shard, 2, 2, 0).is_none());
}

#[test]
fn the_largest_groups_are_found_in_slices() {
    let mut site = Site::new();
    site.crowd(3);
    let mut joined = 0;
    let mut join = |site: &mut Site, connection_id, group: String| {
        joined += 1;
        site.shard.table.join_group(connection_id, &group.into(), joined).unwrap();
    };
    for n in 0..SLICE {
        join(&mut site, 1, format!("small {n}"));
    }
    for (connection_id, group) in [(1, "b"), (2, "b"), (3, "b"), (1, "a"), (2, "a")] {
        join(&mut site, connection_id, group.to_owned());
    }
    let mut walk = GroupWalk::new(3);
    assert_eq!(walk.advance(&site.shard), Walked::More);
    assert_eq!(walk.advance(&site.shard), Walked::All);
    // Of the same size, the one that came to be first.
    assert_eq!(walk.finish(), ["b", "a", "small 0"]);
}
