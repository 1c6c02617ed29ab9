//! The gateway daemon: it holds the clients, and passes messages between them and the workers.
//!
//! A client's message goes down through `client` (the handshake, then the reading task) into the core
//! of its shard, which puts it on the link of the client's worker. A worker's command comes up
//! through `link` into the cores of the shards, which put messages into the clients' outboxes;
//! `transmit` writes those to the sockets. What decides is in `core`, plain data without IO; the rest
//! is the shell around it, on tokio.
//!
//! - `server`: the start and end of the gateway; its acceptors,
//! - `listener`, `access`: an open listener, its connection limits and access rules,
//! - `client`, `websocket`, `socket`, `tls`: a client up to its place in the table; its socket,
//! - `identity`: a client's token, and what it makes of the client,
//! - `shard`: a shard's thread, which runs the core,
//! - `core`: the clients of a shard, their memberships, messages and timers,
//! - `link`, `epochs`, `workers`: the links of workers and client libraries; which two of them are a
//!   worker's; the directory of workers,
//! - `transmit`, `closing`: writing outboxes, and ending connections,
//! - `presence`: reports who is in rooms, and says who comes and goes,
//! - `inspect`: answers what operators ask,
//! - `gateway_state`: what all shards and links share,
//! - `capacity`, `perpetual`, `problem`, `logs`, `close_counts`, `limit_counts`, `token_counts`, `metrics`: limits, watched tasks, and
//!   what operators see,
//! - `config`, `error`: the configuration; the errors of the gateway.

mod access;
mod capacity;
mod client;
mod close_counts;
mod closes;
mod closing;
mod config;
#[allow(unreachable_pub, reason = "`internals` shows it to the simulation")]
mod core;
mod epochs;
mod error;
mod gateway_state;
mod identity;
mod inspect;
mod interest;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod limit_counts;
mod link;
mod link_counts;
mod listener;
mod logs;
mod metrics;
mod padded;
mod perpetual;
mod presence;
mod problem;
mod resume_counts;
mod resume_token;
mod server;
mod shard;
mod socket;
#[cfg(feature = "otel")]
mod spans;
mod tls;
mod token_counts;
mod trace_queue;
mod transmit;
mod websocket;
mod workers;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use gatewayworker_admin::{About, Access, Page, ServedPage};
use gatewayworker_auth::Authenticator;
use gatewayworker_daemon::{OpenFiles, Runtime, Warnings, load};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use capacity::Capacity;
pub use config::{
    Cli, Config, ConfigError, Flags, LanIp, LanIpError, ListenUrl, ListenUrlError, ListenerConfig, NoLanIp,
    PresenceConfig, PresenceFlags, RealIpHeader, TraceParent,
};
pub use core::delivery_settings::DeliveryMode;
pub use core::listener_policy::SlowConsumer;
pub use core::outgoing::WebSocketType;
pub use core::protocol::{self, Protocol, Protocols};
pub use core::rate_limits::RateLimitPolicy;
pub use core::worker_table::Routing;
pub use error::Error;
pub use gatewayworker_protocol::CloseReason;
pub use server::{BoundListeners, ServeOptions, serve};
pub use tls::TlsVersion;

/// Runs the daemon with the process's arguments: its `main`.
pub fn main() -> ExitCode {
    main_with(Protocols::default())
}

/// Runs the daemon with protocols of your own beside WebSocket. A gateway with a [`Protocol`] of its
/// own is a program that calls this.
pub fn main_with(protocols: Protocols) -> ExitCode {
    run_with(Cli::parse(), protocols)
}

/// Runs the daemon until a signal ends it. See [`gatewayworker_daemon::run`] for the exit code.
pub fn run(cli: Cli) -> ExitCode {
    run_with(cli, Protocols::default())
}

/// Returns what says what the tokens of clients are worth to a gateway with this configuration file, and the environment;
/// `None` where it asks for none.
///
/// # Errors
/// When the configuration cannot be read, or a key cannot be used.
pub fn authenticator(file: &Path) -> anyhow::Result<Option<Authenticator>> {
    let Cli { common, flags } =
        Cli::try_parse_from([OsStr::new("gateway"), OsStr::new("--config"), file.as_os_str()])?;
    let config: Config = load(&common, &flags)?;
    let config = config.with_paths_relative_to(Some(file));
    let limits = config.token_limits();
    let open = || Authenticator::new(&config.auth, limits);
    Ok(config.auth.is_on().then(open).transpose()?)
}

fn run_with(cli: Cli, protocols: Protocols) -> ExitCode {
    let Cli { common, flags } = &cli;
    let config = load(common, flags).map_err(anyhow::Error::from).and_then(|config: Config| {
        let config = Config { protocols, ..config }.with_paths_relative_to(common.config.as_deref());
        Ok(config.validated()?.with_checked_files()?)
    });
    gatewayworker_daemon::run(
        common,
        config,
        Runtime::CurrentThread,
        |mut config, shutdown, operator| async move {
            config.lan_ip = config.lan_ip.resolve(&config.register_address).await?.into();
            let listeners = BoundListeners::bind_with(&config, &operator.listeners).await?;
            // A gateway without room for clients must not report that it listens.
            Capacity::new(&config, OpenFiles::now())?;
            let urls = listeners.urls(&config)?;
            let inner = listeners.inner.local_addr()?;
            for url in &urls {
                info!(name = config.name, address = %url, %inner, "the gateway listens");
            }
            let metrics =
                gatewayworker_metrics::bind(config.metrics_listen.as_deref(), &operator.listeners).await?;
            let metrics_url = metrics.as_ref().map(TcpListener::local_addr).transpose()?;
            let page =
                gatewayworker_admin::open(&config.admin, &config.secret_key, &operator.listeners).await?;
            let page_url = page.as_ref().map(|page| page.url());
            let urls = urls.iter().map(ListenUrl::to_string);
            operator.listeners.close_the_rest();
            common.ready(urls.chain(metrics_url.map(gatewayworker_metrics::url)).chain(page_url));
            // It shows the stop, too.
            let _page = page.map(|page| start_page(page, &config, operator.warnings.clone())).transpose()?;
            let options = ServeOptions::new(shutdown).with_operator(operator).with_metrics_listener(metrics);
            Ok(serve(listeners, config, options).await?)
        },
    )
}

/// Serves the page for operators, until what is returned is dropped.
fn start_page(page: Page, config: &Config, warnings: Warnings) -> anyhow::Result<ServedPage> {
    let tls = config.link_tls.load_for_both().map_err(ConfigError::from)?;
    let access = Access::new(config.register_address.clone(), config.secret_key.clone(), tls);
    let about = About { served_by: "gateway", access, warnings: Some(warnings), daemons: None };
    Ok(page.start(about, CancellationToken::new())?)
}
