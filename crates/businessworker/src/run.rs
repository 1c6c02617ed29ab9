//! The `main` of an application: reads its settings, makes the application and serves it
//! until a signal ends the process.
//!
//! A program calls [`main`], or [`run`] with flags of its own. Everything else about a
//! daemon (log, signals, exit status) is `gatewayworker-daemon`'s; [`serve`](crate::serve)
//! is the worker itself.

use std::process::ExitCode;

use clap::Parser;
use gatewayworker_admin::{About, Access, Page, ServedPage};
use gatewayworker_daemon::{Runtime, Warnings};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::serve::{ServeOptions, serve};
#[cfg(feature = "otel")]
use crate::spans::WorkerSpans;
use crate::{Cli, ClientCallsConfig, Config, Events, EventsConfig, Metrics, NoSettings, Problems, Result};

/// The settings that an application is made from.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Start<A = NoSettings> {
    /// The application's own settings: the `[app]` table.
    pub app: A,
    /// The worker's name.
    pub name: String,
    /// Where the application registers metrics of its own: they are shown at `metrics_listen`, beside the
    /// worker's.
    pub metrics: Metrics,
    /// Where the application says what keeps it from its work: `status` shows it, and `/readyz`.
    pub problems: Problems,
    /// The table `[events]`, for an application that sends events over HTTP.
    pub events: EventsConfig,
    /// The table `[client_calls]`, for an application that wraps its handlers in [`ClientCalls`](crate::ClientCalls).
    pub client_calls: ClientCallsConfig,
    /// Whether the metrics are shown: `metrics_listen` is set.
    pub(crate) shows_metrics: bool,
    /// Cancelled when the worker was asked to stop. Handlers go on for `shutdown_timeout_ms` after that.
    pub shutdown: CancellationToken,
}

/// Runs an application as a daemon: reads the flags, the environment and the configuration
/// file as the stock daemon does, makes the application with `factory`, and serves it
/// until a signal asks for the end.
pub fn main<A, E>(factory: impl AsyncFnOnce(Start<A>) -> Result<E>) -> ExitCode
where
    A: DeserializeOwned + Default,
    E: Events,
{
    run(Cli::parse(), factory)
}

/// Runs an application as [`main`] does, with flags that were read already.
pub fn run<A, E>(cli: Cli, factory: impl AsyncFnOnce(Start<A>) -> Result<E>) -> ExitCode
where
    A: DeserializeOwned + Default,
    E: Events,
{
    let config = Config::<A>::load(&cli).and_then(|config| {
        config.validate()?;
        Ok(config.split())
    });
    let threads = config.as_ref().ok().map(|(config, _)| config.threads).filter(|n| *n > 0);
    gatewayworker_daemon::run(
        &cli.common,
        config,
        Runtime::MultiThread { threads },
        async |(config, app), shutdown, operator| {
            // There are no files to read again.
            drop(operator.reload);
            #[cfg(feature = "otel")]
            // Before the application is made: it may set another provider.
            let spans = WorkerSpans::start()?.inspect(WorkerSpans::set_global);
            let metrics = Metrics::default();
            let problems = Problems::default();
            let start = Start {
                app,
                name: config.name.clone(),
                metrics: metrics.clone(),
                problems: problems.clone(),
                events: config.events.clone(),
                client_calls: config.client_calls.clone(),
                shows_metrics: config.metrics_listen.is_some(),
                shutdown: shutdown.clone(),
            };
            let events = tokio::select! {
                made = factory(start) => made.map_err(|error| anyhow::anyhow!(error))?,
                () = shutdown.cancelled() => return Ok(()),
            };
            unused_tables(&config).for_each(|warning| warn!("{warning}"));
            let http = gatewayworker_http::bind(&config.http, &operator.listeners).await?;
            let address = http.as_ref().map(TcpListener::local_addr).transpose()?;
            let metrics_listener =
                gatewayworker_metrics::bind(config.metrics_listen.as_deref(), &operator.listeners).await?;
            let page =
                gatewayworker_admin::open(&config.admin, &config.secret_key, &operator.listeners).await?;
            operator.listeners.close_the_rest();
            let metrics_address = metrics_listener.as_ref().map(TcpListener::local_addr).transpose()?;
            let addresses: Vec<_> = address
                .map(|address| format!("http://{address}"))
                .into_iter()
                .chain(metrics_address.map(gatewayworker_metrics::url))
                .chain(page.as_ref().map(|page| page.url()))
                .collect();
            // Where the supervisor holds the listener, the process that takes this one's place answers from then on.
            let end = match operator.listeners.is_supervisor() {
                true => shutdown.child_token(),
                false => CancellationToken::new(),
            };
            let _page = page.map(|page| start_page(page, &config, operator.warnings, end)).transpose()?;
            let common = cli.common.clone();
            let options = ServeOptions::new(shutdown)
                .with_http_listener(http)
                .with_stats(operator.stats)
                .with_loops(operator.loops)
                .with_metrics_listener(metrics_listener)
                .with_shared_metrics_listener(operator.listeners.is_supervisor())
                .with_metrics(metrics)
                .with_problems(problems)
                .on_ready(move || common.ready(addresses));
            #[cfg(feature = "otel")]
            let options = options.with_spans(spans);
            Ok(serve(config, events, options).await?)
        },
    )
}

/// Returns a sentence for each table that is set and that the application, which is made, does not follow.
fn unused_tables(config: &Config) -> impl Iterator<Item = &'static str> {
    let events = (config.events.is_on() && !config.events.used.is_set()).then_some(
        "events.url: is without effect, as this application handles events itself: return HttpEvents \
         (gatewayworker-webhook) from it, or remove the table [events]",
    );
    let calls = (config.client_calls.is_on() && !config.client_calls.used.is_set()).then_some(
        "client_calls: is without effect, as this application does not answer calls of clients: wrap its handlers in \
         ClientCalls, or remove the table [client_calls]",
    );
    events.into_iter().chain(calls)
}

/// Serves the page for operators, until `end` is cancelled or what is returned is dropped.
fn start_page(
    page: Page,
    config: &Config,
    warnings: Warnings,
    end: CancellationToken,
) -> anyhow::Result<ServedPage> {
    let tls = config.link_tls.load_for_connecting()?;
    let mut access = Access::new(config.register_address.clone(), config.secret_key.clone(), tls);
    access.question_timeout = config.question_timeout();
    let about = About { served_by: "businessworker", access, warnings: Some(warnings), daemons: None };
    Ok(page.start(about, end)?)
}
