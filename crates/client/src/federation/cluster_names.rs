//! [`ClusterNames`]: which groups and uids the own cluster has, by what its gateways announce.
//!
//! The worker that speaks for its cluster reads it, to tell other clusters. It needs a trusted view of each gateway
//! (`core/interest`), and keeps the interest links in use for that.

use std::net::SocketAddrV4;

use bytes::Bytes;
use gatewayworker_protocol::interest::Name;

use crate::Gateway;
use crate::name_journal::Announced;

/// The names of the own cluster, as long as this is kept.
#[derive(Debug)]
pub struct ClusterNames {
    gateway: Gateway,
}

/// What has changed since the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamesChange {
    /// The gateways of the cluster.
    pub gateways: Vec<SocketAddrV4>,
    /// Each of them announces its names and may be trusted: a group or uid that none of them has announced has no member. Where one is of
    /// PHP, or is not connected, nothing is known.
    pub is_complete: bool,
    /// Names that gateways have announced.
    pub names: Vec<(SocketAddrV4, Vec<Name>)>,
    /// Gateways with another filter, as the bytes of a [`NameFilter`](gatewayworker_protocol::interest::NameFilter): it replaces all that the
    /// gateway has announced before.
    pub filters: Vec<(SocketAddrV4, Bytes)>,
}

impl NamesChange {
    /// A change at these gateways.
    pub fn new(gateways: Vec<SocketAddrV4>, is_complete: bool) -> Self {
        Self { gateways, is_complete, ..Self::default() }
    }

    /// With these names.
    #[must_use]
    pub fn with_names(mut self, names: Vec<(SocketAddrV4, Vec<Name>)>) -> Self {
        self.names = names;
        self
    }

    /// With these filters.
    #[must_use]
    pub fn with_filters(mut self, filters: Vec<(SocketAddrV4, Bytes)>) -> Self {
        self.filters = filters;
        self
    }
}

impl ClusterNames {
    pub(super) fn of(gateway: &Gateway) -> Self {
        gateway.links().settings.journal.set_followed(true);
        Self { gateway: gateway.clone() }
    }

    /// Waits until a gateway has announced something.
    ///
    /// Cancel safe.
    pub async fn changed(&self) {
        self.gateway.links().settings.journal.changed().await;
    }

    /// Takes what has changed. All that had a member when it was called is in this change, in one before, or in the
    /// [`filters`](Self::filters) read after one before, if the change is complete.
    ///
    /// Call it some times a second: it keeps the views trusted.
    pub fn take(&mut self) -> NamesChange {
        let links = self.gateway.links().all();
        links.values().for_each(|link| link.interest.keep_used());
        // The trust is looked at first: all that it covers is in the journal by then.
        let is_complete = !links.is_empty() && links.values().all(|link| link.interest.is_trusted());
        let mut change = NamesChange::new(links.keys().copied().collect(), is_complete);
        for (gateway, announced) in self.gateway.links().settings.journal.take() {
            match announced {
                Announced::Names(names) => change.names.push((gateway, names)),
                Announced::Filter => {
                    let Some(link) = links.get(&gateway) else { continue };
                    match link.interest.filter() {
                        Some(filter) => change.filters.push((gateway, filter)),
                        // The link has ended just now. Another one will bring a filter.
                        None => change.is_complete = false,
                    }
                }
            }
        }
        change
    }

    /// The filters of all gateways that have announced one.
    pub fn filters(&self) -> Vec<(SocketAddrV4, Bytes)> {
        let links = self.gateway.links().all();
        links.iter().filter_map(|(gateway, link)| Some((*gateway, link.interest.filter()?))).collect()
    }
}

impl Drop for ClusterNames {
    fn drop(&mut self) {
        self.gateway.links().settings.journal.set_followed(false);
    }
}
