//! The gateway: holds the clients, and stands between them and the workers.
//!
//! A client's message goes down through `client` (the handshake, then frames) to
//! the `shard` that owns the client, whose `events` put it on its worker's link.
//! What a worker says comes up through `link` (commands, questions) to the
//! shards' `orders` and `questions`, and through a client's `outbox` to its
//! socket. No room is entered twice.
//!
//! - `server`: doors and shards, and the order in which they open and close,
//! - `websocket`: RFC 6455,
//! - `tls`: the same over TLS,
//! - `workers`: which workers are linked, and whose a client is,
//! - `heartbeat`: when silence is too long,
//! - `answer`: the parts of shards, put together as PHP would have it.

mod answer;
mod client;
mod close_counts;
mod config;
mod door;
mod heartbeat;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod link;
mod order;
mod outbox;
mod outgoing;
mod server;
mod shard;
mod socket;
mod tls;
mod websocket;
mod workers;

use std::process::ExitCode;

use clap::Parser;
use gatewayworker_daemon::{Runtime, load};
use tracing::info;

pub use config::{Cli, Config, Flags, SlowConsumer};
pub use door::{DoorAddress, DoorAddressError};
pub use gatewayworker_protocol::CloseReason;
pub use outgoing::WebSocketType;
pub use server::{Listeners, serve};
pub use tls::TlsVersion;
pub use workers::Routing;

/// The daemon's main.
pub fn main() -> ExitCode {
    run(Cli::parse())
}

/// Runs the daemon until a signal ends it; see [`gatewayworker_daemon::run`] for
/// the status.
pub fn run(cli: Cli) -> ExitCode {
    let Cli { common, flags } = &cli;
    let config = load(common, flags).and_then(Config::validated);
    gatewayworker_daemon::run(common, config, Runtime::CurrentThread, |config, shutdown| async move {
        let listeners = Listeners::bind(&config).await?;
        let addresses = listeners.addresses()?;
        let inner = listeners.inner.local_addr()?;
        for address in &addresses {
            info!(name = config.name, %address, %inner, "the gateway listens");
        }
        common.ready(addresses);
        serve(listeners, config, shutdown).await
    })
}
