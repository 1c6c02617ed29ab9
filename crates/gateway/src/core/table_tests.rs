//! The table against a model that knows nothing of positions: lists of who is in what. What it tells of presence rooms
//! is compared with the same lists.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use proptest::prelude::*;

use gatewayworker_protocol::Features;

use super::client::Client;
use super::membership_limits::{MembershipLimit, MembershipLimits};
use super::presence::RoomUid;
use super::presence::feed::PresenceFeed;
use super::presence::reporter::Reporter;
use super::table::{Key, Table};
use super::testing::{self, MemoryConnection, MemoryPorts, new_client};

const IDS: u32 = 6;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// The groups that are presence rooms.
const ROOMS: [&str; 2] = ["a", "b"];

#[derive(Debug, Clone)]
enum Step {
    Insert(u32),
    Remove(u32),
    Bind(u32, &'static str),
    Unbind(u32),
    Join(u32, &'static str),
    Leave(u32, &'static str),
    Ungroup(&'static str),
    /// The client waits to be admitted.
    Ask(u32),
    Admit(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 1..=IDS;
    let name = prop::sample::select(&NAMES[..]);
    prop_oneof![
        2 => id.clone().prop_map(Step::Insert),
        1 => id.clone().prop_map(Step::Remove),
        3 => (id.clone(), name.clone()).prop_map(|(id, name)| Step::Bind(id, name)),
        1 => id.clone().prop_map(Step::Unbind),
        6 => (id.clone(), name.clone()).prop_map(|(id, name)| Step::Join(id, name)),
        3 => (id.clone(), name.clone()).prop_map(|(id, name)| Step::Leave(id, name)),
        1 => id.clone().prop_map(Step::Ask),
        2 => id.prop_map(Step::Admit),
        1 => name.prop_map(Step::Ungroup),
    ]
}

/// Who is connected, bound and a member, in the order of joining.
#[derive(Debug, Default)]
struct Model {
    clients: Vec<u32>,
    uids: Vec<(&'static str, u32)>,
    groups: Vec<(&'static str, u32)>,
    /// Those that ever joined a group.
    joiners: Vec<u32>,
    /// Those that are not admitted.
    pending: Vec<u32>,
}

impl Model {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Insert(id) => self.clients.push(id),
            Step::Remove(id) => {
                self.clients.retain(|c| *c != id);
                self.pending.retain(|c| *c != id);
                self.uids.retain(|(_, c)| *c != id);
                self.groups.retain(|(_, c)| *c != id);
                self.joiners.retain(|c| *c != id);
            }
            Step::Bind(id, uid) => {
                self.uids.retain(|(_, c)| *c != id);
                self.uids.push((uid, id));
            }
            Step::Unbind(id) => self.uids.retain(|(_, c)| *c != id),
            Step::Join(id, group) => {
                self.joiners.push(id);
                if !self.groups.contains(&(group, id)) {
                    self.groups.push((group, id));
                }
            }
            Step::Leave(id, group) => self.groups.retain(|member| *member != (group, id)),
            Step::Ungroup(group) => self.groups.retain(|(g, _)| *g != group),
            Step::Ask(id) => self.pending.push(id),
            Step::Admit(id) => self.pending.retain(|c| *c != id),
        }
    }

    /// Whether the step can be taken: of clients that are here, and of new ones.
    fn admits(&self, step: &Step) -> bool {
        match step {
            Step::Insert(id) => !self.clients.contains(id),
            Step::Remove(id)
            | Step::Bind(id, _)
            | Step::Unbind(id)
            | Step::Join(id, _)
            | Step::Leave(id, _)
            | Step::Admit(id) => self.clients.contains(id),
            Step::Ask(id) => self.clients.contains(id) && !self.pending.contains(id),
            Step::Ungroup(_) => true,
        }
    }

    /// How many clients each uid has in presence rooms.
    fn present(&self) -> BTreeMap<RoomUid, usize> {
        let mut present = BTreeMap::new();
        for (room, id) in &self.groups {
            let uid = self.uids.iter().find(|(_, c)| c == id);
            if let Some((uid, _)) = uid.filter(|_| ROOMS.contains(room) && !self.pending.contains(id)) {
                *present.entry(((*room).into(), (*uid).into())).or_default() += 1;
            }
        }
        present
    }

    fn members(list: &[(&'static str, u32)], name: &str) -> Vec<u32> {
        list.iter().filter(|(n, _)| *n == name).map(|(_, id)| *id).collect()
    }
}

fn in_order<'a>(joined: impl Iterator<Item = (u64, &'a Client<MemoryPorts>)>) -> Vec<u32> {
    let mut joined: Vec<_> = joined.map(|(joined, client)| (joined, client.connection_id)).collect();
    joined.sort_unstable();
    joined.into_iter().map(|(_, id)| id).collect()
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}

fn agree(table: &Table<MemoryPorts>, model: &Model) {
    let admitted = model.clients.iter().copied().filter(|id| !model.pending.contains(id));
    assert_eq!(table.admitted_len(), model.clients.len() - model.pending.len());
    assert_eq!(sorted(table.admitted().map(|client| client.connection_id)), sorted(admitted));
    for name in NAMES {
        let members = Model::members(&model.groups, name);
        assert_eq!(in_order(table.group_joined(name.as_bytes())), members, "group {name}");
        let keys: Vec<Key> = members.iter().map(|id| table.key_of(*id).unwrap()).collect();
        let listed: Vec<Key> = table.group(name.as_bytes()).collect();
        assert!(keys.len() == listed.len() && keys.iter().all(|key| listed.contains(key)), "{listed:?}");
        let bound = Model::members(&model.uids, name);
        assert_eq!(in_order(table.uid_joined(name.as_bytes())), bound, "uid {name}");
    }
    let named: Vec<_> =
        sorted(NAMES).into_iter().filter(|n| model.groups.iter().any(|(g, _)| g == n)).collect();
    assert_eq!(sorted(table.groups().map(|(_, name)| name.clone())), named);
    for client in table.admitted() {
        let id = client.connection_id;
        let uid = model.uids.iter().find(|(_, c)| *c == id).map(|(uid, _)| *uid);
        assert_eq!(table.uid_of(client).as_deref(), uid.map(str::as_bytes));
        let groups = table.groups_of(client).map(|groups| sorted(groups).into_iter().map(|(_, name)| name));
        let expected: Vec<_> = model.groups.iter().filter(|(_, c)| *c == id).map(|(g, _)| *g).collect();
        let expected = model.joiners.contains(&id).then_some(expected);
        assert_eq!(
            groups.map(Iterator::collect::<Vec<_>>),
            expected.map(|e| e.into_iter().map(Into::into).collect())
        );
    }
}

proptest! {
    #[test]
    fn whatever_happens_both_halves_of_every_membership_agree(steps in prop::collection::vec(step(), 1..80)) {
            let (_, workers) = testing::shard();
            let worker = workers.join("worker", 1000, Features::default());
            let reporter = Reporter::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300), 2_000, 1);
            let rooms = ROOMS.map(str::to_owned).to_vec();
            let feed = Arc::new(PresenceFeed::new(rooms, Vec::new(), reporter, || ()));
            let table = Table::new(MembershipLimits::default());
            let (mut table, mut model) = (table.with_presence(Some(feed.clone())), Model::default());
            for (step, joined) in steps.into_iter().zip(1..) {
                if !model.admits(&step) {
                    continue;
                }
                match step {
                    Step::Insert(id) => {
                        table.insert(new_client(id, &worker, MemoryConnection::new(testing::policy())));
                    }
                    Step::Remove(id) => {
                        let key = table.key_of(id).unwrap();
                        assert_eq!(table.remove(key).unwrap().connection_id, id);
                        assert!(table.get(key).is_none() && table.remove(key).is_none());
                    }
                    Step::Bind(id, uid) => table.bind_uid(id, &uid.into(), joined).unwrap(),
                    Step::Unbind(id) => table.unbind_uid(id),
                    Step::Join(id, group) => table.join_group(id, &group.into(), joined).unwrap(),
                    Step::Leave(id, group) => table.leave_group(id, group.as_bytes()),
                    Step::Ungroup(group) => table.ungroup(group.as_bytes()),
                    Step::Ask(id) => table.begin_admission(table.key_of(id).unwrap()),
                    Step::Admit(id) => drop(table.end_admission(table.key_of(id).unwrap())),
                }
                model.take(&step);
                agree(&table, &model);
                assert_eq!(feed.reporter().clients(), model.present());
            }
    }
}

#[test]
fn a_key_that_was_kept_is_not_good_for_the_next_client_of_its_slot() {
    let (_, workers) = testing::shard();
    let worker = workers.join("worker", 1000, Features::default());
    let new = |id| new_client(id, &worker, MemoryConnection::new(testing::policy()));
    let mut table = Table::new(MembershipLimits::default());
    let gone = table.insert(new(1));
    table.remove(gone);
    table.insert(new(2));
    assert!(table.get(gone).is_none() && table.remove(gone).is_none());
    assert_eq!(table.admitted_len(), 1);
}

fn three_clients(limits: &MembershipLimits) -> Table<MemoryPorts> {
    let (_, workers) = testing::shard();
    let worker = workers.join("worker", 1000, Features::default());
    let mut table = Table::new(limits.clone());
    for id in 1..=3 {
        table.insert(new_client(id, &worker, MemoryConnection::new(testing::policy())));
    }
    table
}

#[test]
fn a_client_is_in_so_many_groups_and_may_join_others_when_it_has_left_some() {
    let mut table = three_clients(&MembershipLimits::new(2, usize::MAX, usize::MAX));
    let join = |table: &mut Table<_>, group: &'static str| table.join_group(1, &group.into(), 1);
    for group in ["a", "b", "a", "b"] {
        assert_eq!(join(&mut table, group), Ok(()));
    }
    assert_eq!(join(&mut table, "c"), Err(MembershipLimit::GroupsPerClient));
    assert_eq!(table.group(b"c").len(), 0);
    table.leave_group(1, b"a");
    assert_eq!(join(&mut table, "c"), Ok(()));
    assert_eq!(join(&mut table, "d"), Err(MembershipLimit::GroupsPerClient));
    table.ungroup(b"b");
    assert_eq!(join(&mut table, "d"), Ok(()));
    assert_eq!(table.join_group(2, &"a".into(), 1), Ok(()), "another client");
}

#[test]
fn a_client_that_may_join_no_group_is_as_one_that_never_joined() {
    let mut table = three_clients(&MembershipLimits::new(usize::MAX, usize::MAX, 3));
    assert_eq!(table.join_group(1, &"long".into(), 1), Err(MembershipLimit::NameBytes));
    assert_eq!(table.bind_uid(1, &"long".into(), 1), Err(MembershipLimit::NameBytes));
    let client = table.client(1).unwrap();
    assert_eq!((table.groups_of(client), table.uid_of(client)), (None, None));
    assert_eq!(table.join_group(1, &"abc".into(), 1), Ok(()));
    let mut none = three_clients(&MembershipLimits::new(0, usize::MAX, usize::MAX));
    assert_eq!(none.join_group(1, &"abc".into(), 1), Err(MembershipLimit::GroupsPerClient));
    assert_eq!(none.groups_of(none.client(1).unwrap()), None);
}

#[test]
fn a_uid_has_so_many_clients_over_all_shards() {
    let limits = MembershipLimits::new(usize::MAX, 2, usize::MAX);
    let (mut one, mut other) = (three_clients(&limits), three_clients(&limits));
    let bind = |table: &mut Table<_>, id, uid: &'static str| table.bind_uid(id, &uid.into(), 1);
    let full = Err(MembershipLimit::ClientsPerUid);
    assert_eq!([bind(&mut one, 1, "a"), bind(&mut other, 1, "a")], [Ok(()), Ok(())]);
    assert_eq!(bind(&mut one, 2, "a"), full);
    assert_eq!(bind(&mut one, 1, "a"), Ok(()), "it is bound already");
    assert_eq!((bind(&mut one, 2, "b"), bind(&mut one, 2, "a")), (Ok(()), full));
    assert_eq!(one.uid_of(one.client(2).unwrap()).unwrap(), "b", "it is bound as before");
    // Each way to give a place back: another uid, none, the end of the client.
    assert_eq!((bind(&mut one, 1, "b"), bind(&mut one, 3, "a")), (Ok(()), Ok(())));
    assert_eq!(bind(&mut one, 3, "b"), full);
    one.unbind_uid(3);
    assert_eq!((bind(&mut other, 2, "a"), bind(&mut other, 3, "a")), (Ok(()), full));
    let key = other.key_of(1).unwrap();
    other.remove(key);
    assert_eq!(bind(&mut other, 3, "a"), Ok(()));
    one.check().and(other.check()).unwrap();
}
