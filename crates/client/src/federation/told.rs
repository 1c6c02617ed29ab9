//! [`Told`]: whether the links have written what the own gateways were told.

use std::sync::Arc;

use super::OwnCluster;
use crate::call_connection::CallConnection;

/// The frames that waited on the links to the own gateways at some moment.
///
/// A worker that is killed before they are written has told nobody. So what another cluster says is acknowledged when they are.
#[derive(Debug)]
pub struct Told(Vec<(Arc<CallConnection>, u64)>);

impl OwnCluster {
    /// Notes what waits on the links now.
    pub fn told(&self) -> Told {
        let links = self.gateway.links().all();
        Told(links.values().filter_map(|link| link.unwritten()).collect())
    }
}

impl Told {
    /// Whether all of it is written, or never will be, as its connection has ended.
    pub fn is_written(&self) -> bool {
        self.0.iter().all(|(connection, pushed)| {
            connection.writer.written() >= *pushed || connection.ended.is_cancelled()
        })
    }
}
