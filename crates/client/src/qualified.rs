//! Qualified client ids: those that say which cluster a client is of, where several have gateways with the same addresses.
//!
//! A qualified id has the *alias* of a gateway in the place of its address. The federation knows the aliases; this file turns ids
//! from one form into the other. Below the methods for applications an id of an own client always has the gateway's
//! address. What goes to another cluster for one of its gateways has that gateway's address there (`elsewhere.rs`, `ask.rs`).
//!
//! `docs/decisions/0014-qualified-ids.md` has the rules.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use gatewayworker_protocol::ClientId;

use crate::Gateway;

impl Gateway {
    /// Returns the form of a client's id that all clusters of a federation understand, for an id that is to be used in another cluster:
    /// there the address of this cluster's gateway may be another gateway's. Every call takes it in the place of the id, in
    /// the client's own cluster, too.
    ///
    /// Returns the id as it is without a federation, if it is qualified already, if nobody or several other clusters are known to have a gateway
    /// with its address, and if the gateway has no alias of its own (`docs/decisions/0014-qualified-ids.md`, collisions).
    pub fn qualified_id(&self, id: ClientId) -> ClientId {
        let Some(federation) = self.federation().filter(|_| !id.is_qualified()) else { return id };
        let alias = if self.links().read().contains_key(&id.gateway()) {
            federation.alias(None, id.gateway())
        } else {
            let found = federation.find_gateway(id.gateway());
            found.and_then(|(cluster, gateway)| federation.alias(Some(&cluster), gateway))
        };
        ClientId::new(alias.unwrap_or(id.gateway()), id.connection_id())
    }

    /// Returns the id with the gateway's address if it is a qualified one of an own client, otherwise as it is.
    pub(crate) fn own_form(&self, id: ClientId) -> ClientId {
        if !id.is_qualified() {
            return id;
        }
        ClientId::new(self.own_address(id.gateway()).unwrap_or(id.gateway()), id.connection_id())
    }

    /// The address of the own gateway with this alias.
    pub(crate) fn own_address(&self, alias: SocketAddrV4) -> Option<SocketAddrV4> {
        let federation = self.federation().filter(|_| ClientId::is_alias(alias))?;
        let links = self.links().all();
        links.keys().copied().find(|gateway| federation.alias(None, *gateway) == Some(alias))
    }

    /// Returns what brings ids into the one form that answers have: two ids are then equal if they are of one client.
    pub(crate) fn one_form(&self) -> impl FnMut(ClientId) -> ClientId {
        let links = self.links().all();
        by_address(move |gateway| {
            let Some(federation) = self.federation().filter(|_| !links.contains_key(&gateway)) else {
                return gateway;
            };
            if let Some(own) = self.own_address(gateway) {
                return own;
            }
            let found = federation.find_gateway(gateway);
            let form = found.and_then(|(cluster, there)| {
                federation.address_in_ids(&cluster, there, links.contains_key(&there))
            });
            form.unwrap_or(gateway)
        })
    }

    /// Returns what brings qualified ids of other clusters' clients into the plain form that they have there, unless the own cluster has a gateway
    /// with that address: the plain id would mean its client.
    pub(crate) fn plain_form(&self) -> impl FnMut(ClientId) -> ClientId {
        let links = self.links().all();
        by_address(move |gateway| {
            let federation = self.federation().filter(|_| ClientId::is_alias(gateway));
            let found = federation.and_then(|federation| federation.find_gateway(gateway));
            let there = found.map(|(_, there)| there).filter(|there| !links.contains_key(there));
            there.unwrap_or(gateway)
        })
    }

    /// Returns those of these clients that other clusters may have, by ids that no cluster takes for those of its own clients. An id whose gateway is
    /// not found is left as it is: each cluster that has a gateway with its address takes it for one of its clients.
    pub(crate) fn for_other_clusters(&self, ids: Vec<ClientId>) -> Vec<ClientId> {
        let links = self.links().all();
        let address_there = |gateway: SocketAddrV4| {
            if links.contains_key(&gateway) || self.own_address(gateway).is_some() {
                return None;
            }
            let found = self.federation().and_then(|federation| {
                let (cluster, there) = federation.find_gateway(gateway)?;
                federation.alias(Some(&cluster), there)
            });
            Some(found.unwrap_or(gateway))
        };
        let mut known = BTreeMap::new();
        let id_there = |id: ClientId| {
            let gateway = known.entry(id.gateway()).or_insert_with_key(|gateway| address_there(*gateway));
            Some(ClientId::new((*gateway)?, id.connection_id()))
        };
        ids.into_iter().filter_map(id_there).collect()
    }

    /// Puts the connections that stand at aliases of own gateways to those at their addresses.
    pub(crate) fn resolve_own_aliases(&self, connections: &mut BTreeMap<SocketAddrV4, Vec<u32>>) {
        let aliases = connections.keys().copied().filter(|gateway| ClientId::is_alias(*gateway));
        for alias in aliases.collect::<Vec<_>>() {
            if let Some(own) = self.own_address(alias)
                && let Some(more) = connections.remove(&alias)
            {
                connections.entry(own).or_default().extend(more);
            }
        }
    }
}

/// Changes the gateways of ids, and asks `change` once for each gateway.
fn by_address(change: impl Fn(SocketAddrV4) -> SocketAddrV4) -> impl FnMut(ClientId) -> ClientId {
    let mut known = BTreeMap::new();
    move |id| {
        let gateway = known.entry(id.gateway()).or_insert_with_key(|gateway| change(*gateway));
        ClientId::new(*gateway, id.connection_id())
    }
}
