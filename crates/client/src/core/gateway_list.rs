//! The gateways that have a link, and whether a register lists each of them.
//!
//! The rule: each listed gateway has one link. A gateway that is no longer listed keeps its
//! link for as long as it is connected, since a register that has just restarted lists no
//! gateway for a moment. `crate::gateway_list` is the tokio shell, in which a link is a task.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

/// The links by the addresses of their gateways. `L` is the shell's link.
#[derive(Debug)]
pub struct GatewayList<L> {
    links: BTreeMap<SocketAddrV4, Entry<L>>,
}

#[derive(Debug)]
struct Entry<L> {
    link: L,
    is_listed: bool,
}

impl<L> Default for GatewayList<L> {
    fn default() -> Self {
        Self { links: BTreeMap::new() }
    }
}

impl<L> GatewayList<L> {
    /// Adds a listed gateway. `start` makes its link, unless it has one already.
    pub fn add(&mut self, gateway: SocketAddrV4, start: impl FnOnce() -> L) {
        self.links.entry(gateway).or_insert_with(|| Entry { link: start(), is_listed: true });
    }

    /// Takes the gateways that are listed now. Calls `tell` for each link whose gateway was
    /// added to the list or removed from it, in the order of their addresses.
    pub fn set_listed(&mut self, listed: &BTreeSet<SocketAddrV4>, mut tell: impl FnMut(&L, bool)) {
        for (gateway, entry) in &mut self.links {
            let is_listed = listed.contains(gateway);
            if std::mem::replace(&mut entry.is_listed, is_listed) != is_listed {
                tell(&entry.link, is_listed);
            }
        }
    }

    /// Removes the links that have ended. A gateway that is still listed then has none until
    /// it is added again.
    pub fn remove_ended(&mut self, mut has_ended: impl FnMut(&L) -> bool) {
        self.links.retain(|_, entry| !has_ended(&entry.link));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([127, 0, 0, 1].into(), port)
    }

    #[test]
    fn a_listed_gateway_has_one_link_however_often_it_is_added() {
        let mut list = GatewayList::default();
        let mut started = Vec::new();
        for port in [1, 2, 1] {
            list.add(gateway(port), || started.push(port));
        }
        assert_eq!(started, [1, 2]);
    }

    #[test]
    fn a_gateway_that_is_no_longer_listed_keeps_its_link_until_that_ends() {
        let mut list = GatewayList::default();
        list.add(gateway(1), || "first");
        let mut told = Vec::new();
        for listed in [vec![], vec![], vec![gateway(1)]] {
            list.set_listed(&listed.into_iter().collect(), |link, is_listed| told.push((*link, is_listed)));
        }
        assert_eq!(told, [("first", false), ("first", true)]);

        list.add(gateway(1), || unreachable!("it has a link"));
        list.remove_ended(|link| *link == "first");
        let mut second = false;
        list.add(gateway(1), || {
            second = true;
            "second"
        });
        assert!(second);
    }
}
