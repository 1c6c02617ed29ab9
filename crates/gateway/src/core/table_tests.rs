//! The table against a model that knows nothing of positions: lists of who is in what.

use proptest::prelude::*;

use gatewayworker_protocol::Features;

use super::client::Client;
use super::table::{Key, Table};
use super::testing::{self, MemoryConnection, MemoryPorts, new_client};

const IDS: u32 = 6;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone)]
enum Step {
    Insert(u32),
    Remove(u32),
    Bind(u32, &'static str),
    Unbind(u32),
    Join(u32, &'static str),
    Leave(u32, &'static str),
    Ungroup(&'static str),
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
        3 => (id, name.clone()).prop_map(|(id, name)| Step::Leave(id, name)),
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
}

impl Model {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Insert(id) => self.clients.push(id),
            Step::Remove(id) => {
                self.clients.retain(|c| *c != id);
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
            | Step::Leave(id, _) => self.clients.contains(id),
            Step::Ungroup(_) => true,
        }
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
    assert_eq!(table.admitted_len(), model.clients.len());
    assert_eq!(sorted(table.admitted().map(|client| client.connection_id)), sorted(model.clients.clone()));
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
            let (mut table, mut model) = (Table::default(), Model::default());
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
                    Step::Bind(id, uid) => table.bind_uid(id, &uid.into(), joined),
                    Step::Unbind(id) => table.unbind_uid(id),
                    Step::Join(id, group) => table.join_group(id, &group.into(), joined),
                    Step::Leave(id, group) => table.leave_group(id, group.as_bytes()),
                    Step::Ungroup(group) => table.ungroup(group.as_bytes()),
                }
                model.take(&step);
                agree(&table, &model);
            }
    }
}

#[test]
fn a_key_that_was_kept_is_not_good_for_the_next_client_of_its_slot() {
    let (_, workers) = testing::shard();
    let worker = workers.join("worker", 1000, Features::default());
    let new = |id| new_client(id, &worker, MemoryConnection::new(testing::policy()));
    let mut table = Table::default();
    let gone = table.insert(new(1));
    table.remove(gone);
    table.insert(new(2));
    assert!(table.get(gone).is_none() && table.remove(gone).is_none());
    assert_eq!(table.admitted_len(), 1);
}
