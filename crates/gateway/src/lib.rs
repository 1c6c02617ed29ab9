//! The gateway: holds the clients, and stands between them and the workers.
//!
//! A client's message goes down through `client` (the handshake) and `inbox` (frames)
//! to the `shard` that owns the client, whose `events` put it on its worker's link.
//! What a worker says comes up through `link` (commands, questions) to the
//! shards' `orders` and `questions`, and through a client's `outbox` to its
//! socket. No room is entered twice.
//!
//! - `server`: listeners and shards, and the order in which they open and close,
//! - `capacity`: how many connections there is room for,
//! - `perpetual`: the tasks whose end is the gateway's,
//! - `listener`, `listener`: what is configured for a listener, and the open one,
//! - `entry`: who comes in at a listener,
//! - `closing`: how a connection ends from our side,
//! - `websocket`: RFC 6455; [`protocol`]: what else clients may speak,
//! - `socket`, `tls`: what they speak it over,
//! - `workers`: which workers are linked, and whose a client is,
//! - `heartbeat`: when silence is too long,
//! - `answer`: the parts of shards, put together as PHP would have it.

mod access;
mod capacity;
mod client;
mod close_counts;
mod closing;
mod config;
#[allow(unreachable_pub, reason = "`internals` shows it to the simulation")]
mod core;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod link;
mod listener;
mod logs;
mod perpetual;
mod problem;
mod server;
mod shard;
mod socket;
mod tls;
mod transmit;
mod websocket;
mod workers;

use std::process::ExitCode;

use clap::Parser;
use gatewayworker_daemon::{OpenFiles, Runtime, load};
use tracing::info;

pub use access::RealIpHeader;
use capacity::Capacity;
pub use config::{Cli, Config, Flags, ListenUrl, ListenUrlError, ListenerConfig};
pub use core::listener_policy::SlowConsumer;
pub use core::outgoing::WebSocketType;
pub use core::protocol::{self, Protocol, Protocols};
pub use core::worker_table::Routing;
pub use gatewayworker_protocol::CloseReason;
pub use server::{BoundListeners, ServeOptions, serve};
pub use tls::TlsVersion;

/// The daemon's main.
pub fn main() -> ExitCode {
    main_with(Protocols::default())
}

/// The daemon's main, for a gateway that speaks `protocols`: a program of one's own
/// is this call, around a [`Protocol`].
pub fn main_with(protocols: Protocols) -> ExitCode {
    run_with(Cli::parse(), protocols)
}

/// Runs the daemon until a signal ends it; see [`gatewayworker_daemon::run`] for
/// the status.
pub fn run(cli: Cli) -> ExitCode {
    run_with(cli, Protocols::default())
}

fn run_with(cli: Cli, protocols: Protocols) -> ExitCode {
    let Cli { common, flags } = &cli;
    let config = load(common, flags).map_err(Into::into).and_then(|config: Config| {
        Config { protocols, ..config }.read_from(common.config.as_deref()).validated()?.with_good_files()
    });
    gatewayworker_daemon::run(
        common,
        config,
        Runtime::CurrentThread,
        |config, shutdown, operator| async move {
            let listeners = BoundListeners::bind(&config).await?;
            // One that could hold nobody does not say that it listens.
            Capacity::new(&config, OpenFiles::now())?;
            let urls = listeners.urls(&config)?;
            let inner = listeners.inner.local_addr()?;
            for url in &urls {
                info!(name = config.name, address = %url, %inner, "the gateway listens");
            }
            common.ready(urls);
            serve(listeners, config, ServeOptions::new(shutdown).with_operator(operator)).await
        },
    )
}
