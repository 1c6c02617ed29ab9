//! Rooms in the memory of one worker. They end with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gatewayworker::ClientId;

use super::{COUNT_TTL, Counts, Keys, MAX_LISTED, MEMBER_TTL, Member};

/// The time between two removals of expired entries, in seconds.
const SWEEP: i64 = 60;

#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Tables>);

/// All entries, each with the time of its last write.
#[derive(Debug, Default)]
struct Tables {
    members: HashMap<String, BTreeMap<String, (Member, i64)>>,
    said: HashMap<String, (u64, i64)>,
    swept: i64,
}

impl Memory {
    pub(super) fn add(&self, key: &str, id: ClientId, member: Member, now: i64) {
        let mut tables = self.tables();
        tables.sweep(now);
        tables.members.entry(key.to_owned()).or_default().insert(id.to_string(), (member, now));
    }

    pub(super) fn remove(&self, key: &str, id: ClientId) -> bool {
        let mut tables = self.tables();
        let Some(table) = tables.members.get_mut(key) else { return false };
        let removed = table.remove(&id.to_string()).is_some();
        if table.is_empty() {
            tables.members.remove(key);
        }
        removed
    }

    pub(super) fn list(&self, key: &str, now: i64) -> Vec<(String, Member)> {
        let tables = self.tables();
        tables.present(key, now).take(MAX_LISTED).map(|(id, member)| (id.clone(), member.clone())).collect()
    }

    pub(super) fn counts(&self, keys: &Keys, now: i64) -> Counts {
        let tables = self.tables();
        let count = |key| tables.present(key, now).count() as u64;
        let said = tables.said.get(&keys.said).map_or(0, |(said, _)| *said);
        Counts { users: count(&keys.users), walls: count(&keys.walls), said }
    }

    pub(super) fn count_message(&self, keys: &Keys, now: i64) -> u64 {
        let mut tables = self.tables();
        let (said, at) = tables.said.entry(keys.said.clone()).or_default();
        *said += 1;
        *at = now;
        *said
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn present(&self, key: &str, now: i64) -> impl Iterator<Item = (&String, &Member)> {
        let table = self.members.get(key).into_iter().flatten();
        table.filter(move |(_, (_, at))| now - at < MEMBER_TTL).map(|(id, (member, _))| (id, member))
    }

    fn sweep(&mut self, now: i64) {
        if now - self.swept < SWEEP {
            return;
        }
        self.swept = now;
        self.members.retain(|_, table| {
            table.retain(|_, (_, at)| now - *at < MEMBER_TTL);
            !table.is_empty()
        });
        self.said.retain(|_, (_, at)| now - *at < COUNT_TTL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> ClientId {
        ClientId::new("127.0.0.1:2300".parse().unwrap(), n)
    }

    fn member(id: &str) -> Member {
        Member { id: id.into(), nickname: format!("用户{id}") }
    }

    #[test]
    fn a_member_that_is_not_renewed_is_removed() {
        let (memory, keys) = (Memory::default(), Keys::of("room1"));
        memory.add(&keys.users, id(1), member("1"), 0);
        memory.add(&keys.users, id(2), member("2"), 0);
        memory.count_message(&keys, 0);
        memory.add(&keys.users, id(2), member("2"), MEMBER_TTL - 1);
        assert_eq!(memory.counts(&keys, MEMBER_TTL - 1).users, 2);
        assert_eq!(memory.counts(&keys, MEMBER_TTL).users, 1);
        assert_eq!(memory.list(&keys.users, MEMBER_TTL), [(id(2).to_string(), member("2"))]);

        memory.add("another", id(3), member("3"), COUNT_TTL);
        let tables = memory.tables();
        assert_eq!((tables.members.len(), tables.said.len()), (1, 0));
    }
}
