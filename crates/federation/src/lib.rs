//! Clusters joined by NATS: what is said to a uid, a group or everybody reaches the clients in all of them, and questions
//! ask all of them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use gatewayworker_client::federation::Federation as Port;
//! use gatewayworker_client::{Gateway, SecretKey};
//! use gatewayworker_federation::{Federation, Options};
//!
//! let key = SecretKey::new("a key that all clusters share");
//! let federation = Federation::join(Options::new(["nats://10.0.0.9:4222"], "sh-1".parse()?, key)).await?;
//! let federation: Arc<dyn Port> = Arc::new(federation);
//! let gateway = Gateway::builder(["127.0.0.1:1236"]).federation(federation).connect();
//! let delivery = gateway.send_to_group(["news"], "hello").await?;
//! for (cluster, why) in &delivery.unreached_clusters {
//!     eprintln!("the clients of cluster {cluster} were not reached: {why}");
//! }
//! # Ok(()) }
//! ```
//!
//! Each cluster works alone while NATS is away. A send to other clusters is delivered at most once, and in order as long as the
//! connections stand; with [`Options::with_durable`] at least once, and in order; `docs/decisions/0013-federation.md` says why, and `docs/guide/clusters.md` what an operator has to know.
//!
//! # The files
//!
//! - `federation.rs` is the handle: it implements the client library's port. `connection.rs` makes the connection to NATS,
//!   `faults.rs` remembers what is wrong with it.
//! - `asking.rs` asks other clusters and waits for the answers.
//! - `serving.rs` is a worker's part: it subscribes for its cluster, and hands what comes (`receiving.rs`, `answering.rs`) to the
//!   own gateways.
//! - `announcing_names.rs` tells all processes which groups and uids the own cluster has, `following_names.rs` hears what others have;
//!   `names.rs` keeps it for those who send.
//! - `durable/` sends through JetStream, and receives, where sends are durable.
//! - `core/` decides: without sockets, tasks and clocks.

mod announcing_names;
mod answering;
mod asking;
mod budget;
mod connection;
mod core;
mod durable;
mod faults;
mod federation;
mod following_names;
mod names;
mod options;
mod receiving;
mod serving;
mod shared;
mod stats;

pub use federation::Federation;
pub use options::{Error, Options};
pub use stats::Stats;

pub use gatewayworker_client::{ClusterName, ClusterNameError};
