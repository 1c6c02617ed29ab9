//! What decides in a federation: plain data, without sockets, tasks and clocks.
//!
//! - [`Key`], [`Envelope`]: messages and their signatures,
//! - [`Subjects`], [`Slots`]: where they go,
//! - [`Outbound`]: numbers what a process sends,
//! - [`Inbound`]: which messages are accepted, and how many were missed,
//! - [`DurableQueue`], [`Bundle`]: what waits for JetStream, and in which parts it goes,
//! - [`DurableInbound`], [`Progress`]: which of that is accepted, and where a worker goes on,
//! - [`Workers`]: which worker of the own cluster subscribes to which partition,
//! - [`Clusters`]: the other clusters, and whose clients an id may be of,
//! - [`OwnGateways`]: which gateways the own cluster announces,
//! - [`KnownNames`], [`Announcer`]: which clusters have a group or uid,
//! - [`ClockCheck`]: whether this host's clock is wrong,
//! - [`DropReport`]: what to log of dropped messages.
//!
//! Times named `now_ms` are of one clock that only goes forward; those named `unix_ms` are of the wall, and are compared between hosts.
//! The rules are in `docs/decisions/0013-federation.md`.

mod alias;
mod bundle;
mod clock;
mod clusters;
mod drops;
mod durable_inbound;
mod durable_queue;
mod envelope;
mod gateway_table;
#[cfg(test)]
mod id_tests;
mod inbound;
mod names;
mod outbound;
mod own_gateways;
mod partitions;
mod progress;
mod same_gateways;
mod slots;
mod subjects;
mod workers;

pub(crate) use bundle::Bundle;
pub(crate) use clock::ClockCheck;
pub(crate) use clusters::{Clusters, Heard, Presence};
pub(crate) use drops::{DropReport, Dropped};
pub(crate) use durable_inbound::{AcceptedCalls, DurableInbound};
pub(crate) use durable_queue::{Due, DurableQueue};
pub(crate) use envelope::{Content, Envelope, Key, OpenError, SendContent};
pub(crate) use inbound::{Accepted, Inbound, Rejection};
pub(crate) use names::{
    Announcer, Heard as HeardNames, KeptCalls, KnownNames, NamesSource, NamesUpdate, Said,
};
pub(crate) use outbound::Outbound;
pub(crate) use own_gateways::OwnGateways;
pub(crate) use partitions::{Partition, Partitions};
pub(crate) use progress::{DeliveryOrder, Progress, Standstill};
pub(crate) use slots::{Slot, Slots};
pub(crate) use subjects::Subjects;
pub(crate) use workers::{Hello, Workers};

/// How long a process listens before it takes the clusters and workers that it has heard of for all that there are, in ms: longer than the
/// time between two of their announcements.
pub(crate) const LISTEN_MS: u64 = 1_500;
