//! The register: gateways announce their addresses to it, and it sends the list of them to workers
//! and client libraries, at once and whenever it changes.
//!
//! No client and no message ever passes through it; a cluster whose daemons are linked goes on
//! without it.
//!
//! The decisions, without sockets, tasks and clocks:
//!
//! - `roster`: the peers, what each announces, and the list that each is to be sent,
//! - `addresses`: the announced addresses in their order,
//! - `request`: what a line asks, and why a peer is closed.
//!
//! What runs them:
//!
//! - `config`: flags, file keys, defaults,
//! - `server`: accepts connections,
//! - `register`: what the connections share,
//! - `connection`: one connection,
//! - `rejections`, `metrics`: what operators see.

#![cfg_attr(
    not(feature = "internals"),
    allow(unreachable_pub, reason = "the roster is public to the simulator only")
)]

mod addresses;
mod config;
mod connection;
mod metrics;
mod register;
mod rejections;
mod request;
mod roster;
mod server;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use gatewayworker_admin::{About, Access, Page, ServedPage};
use gatewayworker_daemon::{Runtime, Warnings, check_exposure, load, resolve};
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use config::{Cli, Config, ConfigError, Flags, Limits};
pub use server::{Error, ServeOptions, serve};

/// The decisions of the register, for the simulator.
///
/// Not an interface: it exists only with the feature `internals`, and may change with any commit.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::request::{BAD_REQUEST, CloseCause, Request};
    pub use crate::roster::{PeerId, Roster};
}

/// The daemon's main.
pub fn main() -> ExitCode {
    run(Cli::parse())
}

/// Runs the daemon until a signal ends it; see [`gatewayworker_daemon::run`] for
/// the status.
pub fn run(cli: Cli) -> ExitCode {
    let Cli { common, flags } = &cli;
    let config = load(common, flags).map_err(anyhow::Error::from).and_then(|mut config: Config| {
        config.link_tls = config.link_tls.with_paths_relative_to(common.config.as_deref());
        config.admin = config.admin.with_paths_relative_to(common.config.as_deref());
        Ok(config.validated()?)
    });
    gatewayworker_daemon::run(
        common,
        config,
        Runtime::CurrentThread,
        |config, shutdown, operator| async move {
            // There are no files to read again.
            drop(operator.reload);
            let address = resolve("listen", &config.listen).await?;
            check_exposure("the register", address.ip(), &config.secret_key, config.allow_insecure)?;
            let listener = operator.listeners.bind_here("listen", address, true)?;
            let address = listener.local_addr()?;
            let metrics =
                gatewayworker_metrics::bind(config.metrics_listen.as_deref(), &operator.listeners).await?;
            let metrics_url = metrics.as_ref().map(|metrics| metrics.local_addr()).transpose()?;
            let page =
                gatewayworker_admin::open(&config.admin, &config.secret_key, &operator.listeners).await?;
            let page_url = page.as_ref().map(|page| page.url());
            info!(%address, "the register listens");
            operator.listeners.close_the_rest();
            let urls = metrics_url.map(gatewayworker_metrics::url).into_iter().chain(page_url);
            common.ready(std::iter::once(address.to_string()).chain(urls));
            let _page = page.map(|page| start_page(page, &config, address, operator.warnings)).transpose()?;
            let options =
                ServeOptions::new(shutdown).with_stats(operator.stats).with_metrics_listener(metrics);
            Ok(serve(listener, config, options).await?)
        },
    )
}

/// Serves the page for operators, until what is returned is dropped. The cluster is that of this register.
fn start_page(
    page: Page,
    config: &Config,
    address: SocketAddr,
    warnings: Warnings,
) -> anyhow::Result<ServedPage> {
    let registers = vec![gatewayworker_admin::reachable(address).to_string()];
    let access = Access::new(registers, config.secret_key.clone(), config.link_tls.load_for_connecting()?);
    let about = About { served_by: "register", access, warnings: Some(warnings), daemons: None };
    Ok(page.start(about, CancellationToken::new())?)
}
