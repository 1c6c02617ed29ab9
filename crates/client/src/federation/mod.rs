//! Other clusters: the port through which a handle reaches them, and the way in for what they say.
//!
//! A handle that was built with a [`Federation`] tells its own gateways first, and hands the same call to it (`send.rs`,
//! `gateway.rs`); it asks both at once (`ask.rs`). `gatewayworker_federation` implements the port over NATS: it signs and
//! carries the bytes of a [`ClusterCall`] and of a [`ClusterQuestion`] and does not look into them. In another cluster a worker gives
//! them to its [`OwnCluster`], which reaches its own gateways and never another cluster.

mod answer;
mod call;
mod cluster_names;
mod own_cluster;
mod question;
mod reading;
mod told;

use std::fmt;
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_protocol::interest::Name;

pub(crate) use answer::decode_answers;
pub use call::{CallError, ClusterCall};
pub(crate) use call::{at_gateway_len, encode_at_gateway, encode_everywhere};
pub use cluster_names::{ClusterNames, NamesChange};
pub use own_cluster::{ListedGateway, OwnCluster, Unanswered};
pub use question::ClusterQuestion;
pub use told::Told;

use crate::{ClusterName, Unreached};

/// The clusters that a call is for.
#[derive(Debug, Clone, Copy)]
pub enum Destination<'a> {
    /// All other clusters.
    All,
    /// All other clusters that may have a client of one of these groups and uids.
    Names(&'a [Name]),
    /// This cluster.
    One(&'a ClusterName),
}

/// What a cluster has answered.
#[derive(Debug, Clone)]
pub struct ClusterAnswer {
    /// The cluster.
    pub cluster: ClusterName,
    /// What its [`OwnCluster::answer`] has returned; or why nothing came.
    pub answer: Result<Bytes, Unreached>,
}

/// A question that is asked: one answer for each cluster.
pub type Asking = Pin<Box<dyn Future<Output = Vec<ClusterAnswer>> + Send>>;

/// What was handed over is being written: returns the clusters for which it may not have been.
pub type Finishing = Pin<Box<dyn Future<Output = Vec<(ClusterName, Unreached)>> + Send>>;

/// What reaches other clusters.
pub trait Federation: fmt::Debug + Send + Sync + 'static {
    /// The longest call that [`publish`](Self::publish) takes, in bytes, as far as it is known.
    fn max_call_len(&self) -> usize;

    /// The other cluster that has the gateway with this address or [alias](Self::alias), and the gateway's address there. `None` if none is known
    /// to have it, if the own cluster has it, or if several clusters have that address: then only the alias says which gateway is meant.
    fn find_gateway(&self, gateway: SocketAddrV4) -> Option<(ClusterName, SocketAddrV4)>;

    /// The alias of a gateway of this cluster, or of the own one for `None`: an address that stands for the gateway in
    /// [qualified ids](gatewayworker_protocol::ClientId::is_qualified), in all processes of all clusters. `None` if two known gateways have this
    /// alias: it stands for neither.
    fn alias(&self, cluster: Option<&ClusterName>, gateway: SocketAddrV4) -> Option<SocketAddrV4>;

    /// The address that the ids of a gateway's clients have in this process, where another cluster has the gateway: the gateway's own, or its
    /// alias if other gateways have that address; `is_own` says that the handle has one of them. `None` if these clients have no ids
    /// here, as the gateway is, or may be, one that is known by another cluster's name.
    fn address_in_ids(
        &self,
        cluster: &ClusterName,
        gateway: SocketAddrV4,
        is_own: bool,
    ) -> Option<SocketAddrV4>;

    /// Publishes an encoded [`ClusterCall`]. Waits for nothing.
    ///
    /// # Errors
    /// The clusters for which it was meant, where it was not handed over; [`ClusterName::unknown`] if none is known.
    fn publish(&self, to: Destination<'_>, call: Bytes) -> Result<(), Vec<(ClusterName, Unreached)>>;

    /// Asks clusters an encoded [`ClusterQuestion`], all at once: all that are known, or this one. Returns within this time. Where no
    /// cluster can be known, [`ClusterName::unknown`] has not answered.
    fn ask(&self, to: Destination<'_>, question: Bytes, within: Duration) -> Asking;

    /// Waits until what was published is written, for at most this time.
    fn finish(&self, within: Duration) -> Finishing;
}
