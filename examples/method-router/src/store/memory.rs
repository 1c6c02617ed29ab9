//! Rooms in the memory of one worker. They end with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gatewayworker::ClientId;

use super::{Counts, Keys, MAX_LISTED, Member};

#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    members: HashMap<String, BTreeMap<String, Member>>,
    said: HashMap<String, u64>,
}

impl Memory {
    pub(super) fn add(&self, key: &str, id: ClientId, member: Member) {
        self.tables().members.entry(key.to_owned()).or_default().insert(id.to_string(), member);
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

    pub(super) fn list(&self, key: &str) -> Vec<(String, Member)> {
        let tables = self.tables();
        let members = tables.members.get(key).into_iter().flatten().take(MAX_LISTED);
        members.map(|(id, member)| (id.clone(), member.clone())).collect()
    }

    pub(super) fn counts(&self, keys: &Keys) -> Counts {
        let tables = self.tables();
        let count = |key| tables.members.get(key).map_or(0, |table| table.len() as u64);
        let said = tables.said.get(&keys.said).copied().unwrap_or(0);
        Counts { users: count(&keys.users), walls: count(&keys.walls), said }
    }

    pub(super) fn said(&self, keys: &Keys) -> u64 {
        let mut tables = self.tables();
        let said = tables.said.entry(keys.said.clone()).or_default();
        *said += 1;
        *said
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
