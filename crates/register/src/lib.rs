//! The register: gateways announce their addresses to it, and it tells workers
//! and client libraries who is there, at once and whenever that changes.
//!
//! No client and no message ever passes through it; a cluster that stands goes
//! on without it.
//!
//! - `config`: flags, file keys, defaults,
//! - `roster`: which connection announces which address (pure),
//! - `server`: the connections together, and the list that they share,
//! - `peer`: one connection.

mod config;
mod peer;
mod roster;
mod server;

use std::process::ExitCode;

use clap::Parser;
use gatewayworker_daemon::{Runtime, bind, check_exposure, load, resolve};
use tracing::info;

pub use config::{Cli, Config, Flags, Limits};
pub use server::serve;

/// The daemon's main.
pub fn main() -> ExitCode {
    run(Cli::parse())
}

/// Runs the daemon until a signal ends it; see [`gatewayworker_daemon::run`] for
/// the status.
pub fn run(cli: Cli) -> ExitCode {
    let Cli { common, flags } = &cli;
    let config = load(common, flags).and_then(Config::validated);
    gatewayworker_daemon::run(
        common,
        config,
        Runtime::CurrentThread,
        |config, shutdown, operator| async move {
            // There are no files to read again.
            drop(operator.reload);
            let address = resolve("listen", &config.listen).await?;
            check_exposure("the register", address.ip(), &config.secret_key, config.allow_insecure)?;
            let listener = bind("listen", address)?;
            let address = listener.local_addr()?;
            info!(%address, "the register listens");
            common.ready([address]);
            server::serve_and_count(listener, config, shutdown, &operator.stats).await;
            Ok(())
        },
    )
}
