//! The addresses that gateways announce, in the order of announcing, and the line that lists them.
//!
//! Plain data, used by `roster` alone: it knows neither peers nor time. A gateway that reconnects
//! may announce its address on two connections for a moment, so the connections of each address are
//! counted. A register that has just started has not heard of all gateways yet, and says so in its
//! lists until `roster` calls [`Addresses::complete`].

use std::collections::BTreeMap;

use bytes::Bytes;
use gatewayworker_protocol::register::Message;

/// The listed addresses.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    listed: BTreeMap<String, Listed>,
    in_order: BTreeMap<u64, String>,
    next_position: u64,
    version: u64,
    is_complete: bool,
    line: Option<Bytes>,
}

#[derive(Debug)]
struct Listed {
    connections: usize,
    /// Its key in `in_order`.
    position: u64,
}

impl Addresses {
    /// Adds a connection that announces `address`. Returns whether that has changed the list.
    pub(crate) fn add(&mut self, address: &str) -> bool {
        if let Some(listed) = self.listed.get_mut(address) {
            listed.connections += 1;
            return false;
        }
        let position = self.next_position;
        self.next_position += 1;
        self.listed.insert(address.to_owned(), Listed { connections: 1, position });
        self.in_order.insert(position, address.to_owned());
        self.change();
        true
    }

    /// Removes a connection that announced `address`. Returns whether that has changed the list.
    pub(crate) fn remove(&mut self, address: &str) -> bool {
        let Some(listed) = self.listed.get_mut(address) else { return false };
        listed.connections -= 1;
        if listed.connections > 0 {
            return false;
        }
        let position = listed.position;
        self.listed.remove(address);
        self.in_order.remove(&position);
        self.change();
        true
    }

    /// The gateways have had time to announce themselves: from now on the lists are said to have all.
    pub(crate) fn complete(&mut self) {
        self.is_complete = true;
        self.change();
    }

    fn change(&mut self) {
        self.version += 1;
        self.line = None;
    }

    /// How many addresses are listed.
    pub(crate) fn len(&self) -> usize {
        self.listed.len()
    }

    /// The version of the list: it grows with each change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The line that lists the addresses, `\n` included. It is encoded once for each version.
    pub(crate) fn line(&mut self) -> Bytes {
        let encode = || {
            let addresses = self.in_order.values().cloned().collect();
            Message::BroadcastAddresses { addresses, complete: self.is_complete }.to_line().into()
        };
        self.line.get_or_insert_with(encode).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(addresses: &mut Addresses) -> Vec<String> {
        match Message::parse(&addresses.line()).unwrap() {
            Message::BroadcastAddresses { addresses, .. } => addresses,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_are_listed_in_the_order_of_announcing() {
        let mut addresses = Addresses::default();
        for address in ["c:1", "a:1", "b:1"] {
            assert!(addresses.add(address));
        }
        assert!(addresses.remove("a:1"));
        assert_eq!(listed(&mut addresses), ["c:1", "b:1"]);
        assert!(addresses.add("a:1"));
        assert_eq!(listed(&mut addresses), ["c:1", "b:1", "a:1"]);
    }

    #[test]
    fn an_address_is_listed_while_at_least_one_connection_announces_it() {
        let mut addresses = Addresses::default();
        assert!(addresses.add("a:1"));
        assert!(!addresses.add("a:1"), "it is listed already");
        assert!(!addresses.remove("a:1"), "the other connection still announces it");
        assert_eq!(listed(&mut addresses), ["a:1"]);
        assert!(addresses.remove("a:1"));
        assert_eq!((listed(&mut addresses).len(), addresses.len()), (0, 0));
    }

    #[test]
    fn the_line_is_encoded_once_for_each_change() {
        let mut addresses = Addresses::default();
        addresses.add("a:1");
        let (version, line) = (addresses.version(), addresses.line());
        addresses.add("a:1");
        assert_eq!((addresses.version(), addresses.line().as_ptr()), (version, line.as_ptr()));
        addresses.add("b:1");
        assert!(addresses.version() > version);
        assert_ne!(addresses.line(), line);
    }

    #[test]
    fn the_list_says_that_it_is_not_complete_until_it_is() {
        let mut addresses = Addresses::default();
        addresses.add("a:1");
        let version = addresses.version();
        for complete in [false, true] {
            let line = Message::BroadcastAddresses { addresses: vec!["a:1".into()], complete }.to_line();
            assert_eq!(addresses.line(), line);
            addresses.complete();
        }
        assert!(addresses.version() > version);
    }
}
