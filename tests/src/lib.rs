//! The helpers of all end-to-end tests: daemons, clients and peers.
//!
//! - [`Cluster`]: a register, gateways and workers on free ports, in the test's process,
//! - [`WsClient`]: a WebSocket client; [`TcpClient`]: a client of another protocol, byte for byte,
//! - [`Line`]: a connection that speaks `gw.1`,
//! - [`Recorder`]: an application that records its events and answers as a test asks,
//! - [`Cable`]: the cable to a gateway, which tests pull,
//! - [`RawPeer`]: a peer on an inner port, frame by frame, as a PHP process,
//! - [`AdminPage`]: the page for operators of a cluster,
//! - [`HttpRequest`]: a request over HTTP, byte for byte,
//! - [`conformance`]: conversations over a WebSocket, byte for byte,
//! - [`metrics`]: what a daemon shows at `metrics_listen`,
//! - [`Namespace`]: another network,
//! - [`process`]: daemons as processes of their own,
//! - [`tls`]: certificates, and clients over TLS,
//! - [`browser`]: a real browser; [`languages`]: the languages of a page,
//! - [`NodeProgram`]: a program in Node, such as the library for JavaScript,
//! - [`programs`]: tests that need a program, which may be missing on a machine.
//!
//! The tests are in `tests/`: `cluster` (all in one process), `processes`, and `with_programs`, with a module for each
//! subject. They wait for conditions, with a limit, and never sleep.

mod admin_page;
mod backend;
pub mod browser;
mod cable;
mod cluster;
pub mod conformance;
mod http;
pub mod languages;
mod line;
pub mod metrics;
mod namespace;
mod nats;
mod node;
pub mod process;
pub mod programs;
mod raw;
mod recorder;
mod redis;
mod tcp;
pub mod tls;
mod ws;

use std::time::Duration;

pub use admin_page::{ADMIN_TOKEN, AdminPage};
pub use backend::{Backend, EVENTS_SECRET, Posted};
pub use cable::Cable;
pub use cluster::{Application, Cluster, ClusterBuilder, GatewayDaemon, HTTP_TOKEN, WorkerDaemon};
pub use http::{Begun, HttpAnswer, HttpRequest};
pub use line::Line;
pub use namespace::Namespace;
pub use nats::NatsServer;
pub use node::NodeProgram;
pub use raw::{RawPeer, register_as_gateway};
pub use recorder::{Happened, Recorder};
pub use redis::RedisServer;
pub use tcp::TcpClient;
pub use ws::WsClient;

/// The time limit of every wait.
pub const LIMIT: Duration = Duration::from_secs(15);

/// Waits for `future`, at most [`LIMIT`].
///
/// # Panics
/// It takes longer. The message names `what`.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LIMIT:?} in vain for: {what}"),
    }
}

/// Waits until `condition` is true: asks it again and again, for at most [`LIMIT`].
///
/// # Panics
/// It takes longer. The message names `what`.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
