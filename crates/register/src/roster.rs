//! Which connection announces which address, and the list that comes of it.
//!
//! Pure: no sockets, no clock. Who hears the list is not its business.

use std::collections::HashMap;

use bytes::Bytes;
use gatewayworker_protocol::register::Message;
use indexmap::IndexMap;

/// Names one connection while it stands.
pub(crate) type ConnectionId = u64;

/// The gateways that are here.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    announced: HashMap<ConnectionId, String>,
    /// How many connections announce each address (two may, briefly, while a
    /// gateway reconnects), in the order of announcing.
    addresses: IndexMap<String, usize>,
    changes: u64,
    list: Option<List>,
}

/// The list as it stood after a number of changes, encoded for the wire.
#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    /// Grows with each change of the list.
    pub(crate) version: u64,
    /// The whole line, `\n` included; shared by all who are told it.
    pub(crate) line: Bytes,
}

impl Roster {
    /// `connection` announces `address`, in place of what it announced before.
    /// Returns whether the list is another one now.
    pub(crate) fn announce(&mut self, connection: ConnectionId, address: String) -> bool {
        if self.announced.get(&connection) == Some(&address) {
            return false;
        }
        let before = self.changes;
        self.leave(connection);
        let announcing = self.addresses.entry(address.clone()).or_insert(0);
        *announcing += 1;
        if *announcing == 1 {
            self.change();
        }
        self.announced.insert(connection, address);
        self.changes != before
    }

    /// `connection` announces nothing any more. Returns the address that is listed
    /// no longer, if that has changed the list.
    pub(crate) fn leave(&mut self, connection: ConnectionId) -> Option<String> {
        let address = self.announced.remove(&connection)?;
        let announcing = self.addresses.get_mut(&address)?;
        *announcing -= 1;
        if *announcing > 0 {
            return None;
        }
        self.addresses.shift_remove(&address);
        self.change();
        Some(address)
    }

    /// How many gateways are listed.
    pub(crate) fn len(&self) -> usize {
        self.addresses.len()
    }

    fn change(&mut self) {
        self.changes += 1;
        self.list = None;
    }

    /// The list as it stands, encoded once for each change.
    pub(crate) fn list(&mut self) -> List {
        let encode = || {
            let addresses = self.addresses.keys().cloned().collect();
            let line = Message::BroadcastAddresses { addresses }.to_line().into();
            List { version: self.changes, line }
        };
        self.list.get_or_insert_with(encode).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(roster: &mut Roster) -> Vec<String> {
        match Message::parse(&roster.list().line).unwrap() {
            Message::BroadcastAddresses { addresses } => addresses,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_are_listed_in_the_order_of_announcing() {
        let mut roster = Roster::default();
        for (connection, address) in [(3, "c:1"), (1, "a:1"), (2, "b:1")] {
            assert!(roster.announce(connection, address.into()));
        }
        assert!(roster.leave(1).is_some());
        assert_eq!(addresses(&mut roster), ["c:1", "b:1"]);
    }

    #[test]
    fn an_address_is_listed_while_at_least_one_connection_announces_it() {
        let mut roster = Roster::default();
        assert!(roster.announce(1, "a:1".into()));
        assert!(!roster.announce(2, "a:1".into()), "it is listed already");
        assert!(roster.leave(1).is_none(), "the other connection still announces it");
        assert_eq!(addresses(&mut roster), ["a:1"]);
        assert_eq!(roster.leave(2).as_deref(), Some("a:1"));
        assert!(addresses(&mut roster).is_empty());
    }

    #[test]
    fn another_address_on_the_same_connection_takes_the_first_ones_place() {
        let mut roster = Roster::default();
        roster.announce(1, "a:1".into());
        assert!(roster.announce(1, "a:2".into()));
        assert_eq!(addresses(&mut roster), ["a:2"]);
        assert!(roster.leave(1).is_some());
        assert!(addresses(&mut roster).is_empty());
    }

    #[test]
    fn a_repeated_announcement_changes_nothing() {
        let mut roster = Roster::default();
        roster.announce(1, "a:1".into());
        let version = roster.list().version;
        assert!(!roster.announce(1, "a:1".into()));
        assert_eq!(roster.list().version, version);
        assert!(roster.leave(1).is_some(), "it counted once");
    }

    #[test]
    fn who_announces_nothing_changes_nothing_by_leaving() {
        let mut roster = Roster::default();
        assert!(roster.leave(1).is_none());
    }

    #[test]
    fn the_list_is_encoded_once_for_each_change() {
        let mut roster = Roster::default();
        roster.announce(1, "a:1".into());
        let (first, second) = (roster.list(), roster.list());
        assert_eq!(first.line.as_ptr(), second.line.as_ptr());
        roster.announce(2, "b:1".into());
        assert!(roster.list().version > first.version);
    }
}
