//! The gateways that several registers list: the union of what each said last.
//!
//! Plain data; `registers` gives it each list that comes. A register that is down keeps its last
//! list, so that a cluster goes on without it. (In the original the list that came last replaces the
//! others.)

use std::collections::{BTreeMap, BTreeSet};

/// The last list of each register, and their union.
#[derive(Debug, Default)]
pub struct AddressLists {
    by_register: BTreeMap<usize, Vec<String>>,
}

impl AddressLists {
    /// Takes the list of a register, in place of its last one. Returns the union of all lists,
    /// sorted, with each address once.
    pub fn set(&mut self, register: usize, list: Vec<String>) -> Vec<String> {
        self.by_register.insert(register, list);
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
}
