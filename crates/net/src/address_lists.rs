//! The gateways that several registers list: the union of what each said last.
//!
//! Plain data; `registers` gives it each list that comes. A register that is down keeps its last
//! list, so that a cluster goes on without it. (In the original the list that came last replaces the
//! others.)

use std::collections::{BTreeMap, BTreeSet};

use crate::connection_lists::MAX_GATEWAYS;

/// The last list of each register, and their union.
#[derive(Debug, Default)]
pub struct AddressLists {
    by_register: BTreeMap<usize, BTreeSet<String>>,
}

impl AddressLists {
    /// Takes the list of a register, in place of its last one. Returns the union of all lists,
    /// sorted, with each address once.
    pub fn set(&mut self, register: usize, list: Vec<String>) -> Vec<String> {
        self.by_register.insert(register, list.into_iter().collect());
        self.union()
    }

    /// Adds a list to the last one of its register, which may not have all gateways yet. Returns the
    /// union as [`set`](Self::set) does.
    ///
    /// What a register adds before it says what is left is bounded: it keeps [`MAX_GATEWAYS`] and no
    /// more.
    pub fn add(&mut self, register: usize, list: Vec<String>) -> Vec<String> {
        let known = self.by_register.entry(register).or_default();
        for address in list {
            if known.len() < MAX_GATEWAYS {
                known.insert(address);
            }
        }
        self.union()
    }

    fn union(&self) -> Vec<String> {
        let union: BTreeSet<&String> = self.by_register.values().flatten().collect();
        union.into_iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_replaces_the_last_one_of_its_register_and_no_others() {
        let mut lists = AddressLists::default();
        let list = |addresses: &[&str]| addresses.iter().map(|&address| address.to_owned()).collect();
        assert_eq!(lists.set(0, list(&["b:1", "a:1"])), ["a:1", "b:1"]);
        assert_eq!(lists.set(1, list(&["b:1", "c:1"])), ["a:1", "b:1", "c:1"]);
        assert_eq!(lists.set(0, list(&[])), ["b:1", "c:1"]);
    }

    #[test]
    fn additions_keep_what_the_register_listed_before() {
        let mut lists = AddressLists::default();
        let list = |addresses: &[&str]| addresses.iter().map(|&address| address.to_owned()).collect();
        lists.set(0, list(&["a:1", "b:1"]));
        assert_eq!(lists.add(0, list(&["b:1", "c:1"])), ["a:1", "b:1", "c:1"]);
        assert_eq!(lists.set(0, list(&["b:1", "c:1"])), ["b:1", "c:1"]);
    }

    #[test]
    fn additions_are_bounded() {
        let mut lists = AddressLists::default();
        for round in 0..3 {
            lists.add(0, (0..MAX_GATEWAYS).map(|n| format!("{round}:{n}")).collect());
        }
        assert_eq!(lists.add(0, Vec::new()).len(), MAX_GATEWAYS);
    }
}
