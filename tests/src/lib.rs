//! What the end-to-end tests stand on.
//!
//! - [`Cluster`]: a register, gateways and workers on free ports, in this process,
//! - [`WsClient`]: a real WebSocket client; [`TcpClient`]: one that speaks something else,
//! - [`Recorder`]: `Events` that note what happened and answer as a test asks,
//! - [`RawPeer`]: a peer that speaks frames by hand, as a PHP process would,
//! - [`HttpRequest`]: a caller over HTTP, by hand,
//! - [`conformance`]: conversations over a WebSocket, byte for byte,
//! - [`process`]: daemons as processes of their own, to be killed,
//! - [`tls`]: certificates, and clients that come over TLS,
//! - [`browser`]: a real browser; [`languages`]: whether a page speaks its user's language,
//! - [`programs`]: tests that need a program which a machine may not have.
//!
//! The tests are in `tests/`: `cluster` (all in one process), `processes`, and `with_programs`, a module
//! for each theme. Nothing sleeps: everything waits for a condition, with a limit.

pub mod browser;
mod cluster;
pub mod conformance;
mod http;
pub mod languages;
pub mod process;
pub mod programs;
mod raw;
mod recorder;
mod tcp;
pub mod tls;
mod ws;

use std::time::Duration;

pub use cluster::{Application, Cluster, ClusterBuilder, GatewayDaemon, HTTP_TOKEN, WorkerDaemon};
pub use http::{Begun, HttpAnswer, HttpRequest};
pub use raw::{RawPeer, register_as_gateway};
pub use recorder::{Happened, Recorder};
pub use tcp::TcpClient;
pub use ws::WsClient;

/// How long anything may take that should happen at once.
pub const LIMIT: Duration = Duration::from_secs(15);

/// Waits for `future`, and fails the test when it takes longer than [`LIMIT`].
///
/// # Panics
/// When it does, saying `what`.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LIMIT:?} in vain for: {what}"),
    }
}

/// Asks again and again until the answer is true.
///
/// # Panics
/// When that takes longer than [`LIMIT`].
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
