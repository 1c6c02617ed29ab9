//! The gateways that registers list: what each said last, and the union of that.
//!
//! Plain data; `registers` gives it each list that comes. A register that is down keeps its last
//! list, so that a cluster goes on without it. (In the original the list that came last replaces the
//! others.)

use std::collections::{BTreeMap, BTreeSet};

use crate::connection_lists::{Listed, MAX_GATEWAYS};

/// The gateways that one register lists.
#[derive(Debug, Default)]
pub(crate) struct RegisterList {
    /// In the last list of this connection.
    now: BTreeSet<String>,
    /// Listed before this connection, and not yet in a list of it. They may be there: the register
    /// may have started again, and not have heard of them yet.
    before: BTreeSet<String>,
}

impl RegisterList {
    /// A new connection begins.
    pub(crate) fn connected(&mut self) {
        let now = std::mem::take(&mut self.now);
        let room = MAX_GATEWAYS.saturating_sub(self.before.len());
        self.before.extend(now.into_iter().take(room));
    }

    /// Takes a list. A gateway that was in the last list of this connection, and is not in this one,
    /// has gone.
    pub(crate) fn take(&mut self, listed: Listed) {
        match listed {
            Listed::All(list) => {
                self.now = list.into_iter().collect();
                self.before.clear();
            }
            Listed::Some(list) => {
                self.now = list.into_iter().collect();
                self.before.retain(|address| !self.now.contains(address));
            }
        }
    }

    /// The gateways that are, or may be, there; each once.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &String> {
        self.now.iter().chain(&self.before)
    }
}

/// The lists of all registers.
#[derive(Debug, Default)]
pub struct AddressLists {
    by_register: BTreeMap<usize, RegisterList>,
}

impl AddressLists {
    /// A new connection to a register begins. What it listed before counts until it says on this
    /// connection what is left.
    pub fn connected(&mut self, register: usize) {
        self.by_register.entry(register).or_default().connected();
    }

    /// Takes the list of a register. Returns the union of all lists, sorted, with each address once.
    pub fn take(&mut self, register: usize, listed: Listed) -> Vec<String> {
        self.by_register.entry(register).or_default().take(listed);
        let union: BTreeSet<&String> = self.by_register.values().flat_map(RegisterList::iter).collect();
        union.into_iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addresses: &[&str]) -> Listed {
        Listed::All(addresses.iter().map(|&address| address.to_owned()).collect())
    }

    fn some(addresses: &[&str]) -> Listed {
        Listed::Some(addresses.iter().map(|&address| address.to_owned()).collect())
    }

    #[test]
    fn a_list_replaces_the_last_one_of_its_register_and_no_others() {
        let mut lists = AddressLists::default();
        assert_eq!(lists.take(0, all(&["b:1", "a:1"])), ["a:1", "b:1"]);
        assert_eq!(lists.take(1, all(&["b:1", "c:1"])), ["a:1", "b:1", "c:1"]);
        assert_eq!(lists.take(0, all(&[])), ["b:1", "c:1"]);
    }

    #[test]
    fn what_a_register_listed_before_a_connection_stays_until_it_lists_all() {
        let mut lists = AddressLists::default();
        lists.take(0, all(&["a:1", "b:1"]));
        lists.connected(0);
        assert_eq!(lists.take(0, some(&["b:1", "c:1"])), ["a:1", "b:1", "c:1"]);
        assert_eq!(lists.take(0, all(&["b:1", "c:1"])), ["b:1", "c:1"]);
    }

    #[test]
    fn a_gateway_that_a_connection_has_listed_goes_with_the_next_list() {
        let mut lists = AddressLists::default();
        lists.take(0, all(&["a:1", "b:1"]));
        lists.connected(0);
        assert_eq!(lists.take(0, some(&["b:1"])), ["a:1", "b:1"]);
        assert_eq!(lists.take(0, some(&[])), ["a:1"]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut lists = AddressLists::default();
        for round in 0..4 {
            lists.take(0, Listed::Some((0..MAX_GATEWAYS).map(|n| format!("{round}:{n}")).collect()));
            lists.connected(0);
        }
        assert_eq!(lists.take(0, some(&[])).len(), MAX_GATEWAYS);
    }
}
