//! The worker from start to end.

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use gatewayworker_client::{Gateway, roster};
use gatewayworker_daemon::{ListenerSource, Runtime, Stats};
use gatewayworker_net::{RegisterLinks, registers};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{error, info, warn};

use crate::handler::{Handler, Limits};
use crate::lanes::{BUDGET, Clients, Lanes};
use crate::link::{self, Identity};
use crate::network::Network;
use crate::problem::problem;
use crate::{BoxError, Cli, Config, Events, NoSettings, Result};

/// What an application is made from.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Start<A = NoSettings> {
    /// The application's own settings: the `[app]` table.
    pub app: A,
    /// The worker's name.
    pub name: String,
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `on_worker_start` failed.
    #[error("on_worker_start: {0}")]
    Start(BoxError),
    /// Calls over HTTP cannot be listened for.
    #[error("{0}")]
    Http(BoxError),
    /// The thread that serves the links could not be started.
    #[error("cannot start the thread that serves the links: {0}")]
    Thread(#[from] std::io::Error),
}

/// The `main` of an application: reads the flags, the environment and the
/// configuration file as the stock daemon does, makes the application with
/// `factory`, and runs it until a signal asks for the end.
pub fn main<A, E>(factory: impl AsyncFnOnce(Start<A>) -> Result<E>) -> ExitCode
where
    A: DeserializeOwned + Default,
    E: Events,
{
    run(Cli::parse(), factory)
}

/// [`main`] with flags that were read already.
pub fn run<A, E>(cli: Cli, factory: impl AsyncFnOnce(Start<A>) -> Result<E>) -> ExitCode
where
    A: DeserializeOwned + Default,
    E: Events,
{
    let config = gatewayworker_daemon::load::<_, Config<A>>(&cli.common, &cli.flags)
        .and_then(|config| config.validate().map(|()| config.split()));
    let threads = config.as_ref().ok().map(|(config, _)| config.threads).filter(|n| *n > 0);
    gatewayworker_daemon::run(
        &cli.common,
        config,
        Runtime::MultiThread { threads },
        async |(config, app), shutdown, operator| {
            // There are no files to read again.
            drop(operator.reload);
            let start = Start { app, name: config.name.clone() };
            let events = tokio::select! {
                made = factory(start) => made.map_err(|error| anyhow::anyhow!(error))?,
                () = shutdown.cancelled() => return Ok(()),
            };
            let http = gatewayworker_http::bind(&config.http(), &operator.listeners).await?;
            let address = http.as_ref().map(TcpListener::local_addr).transpose()?;
            let ready = || cli.common.ready(address.map(|address| format!("http://{address}")));
            Ok(serve_and_tell(http, config, events, shutdown, ready, &operator.stats).await?)
        },
    )
}

/// Runs a worker until `shutdown`, then drains: events that have left the gateways
/// are handled, requests over HTTP answered, and what was said is written, within
/// `shutdown_timeout_ms`.
///
/// # Errors
/// When `on_worker_start` fails, `http_listen` cannot be listened on, or the system has
/// no thread left for the links.
pub async fn serve<E: Events>(
    config: Config,
    events: E,
    shutdown: CancellationToken,
) -> std::result::Result<(), Error> {
    let http = gatewayworker_http::bind(&config.http(), &ListenerSource::default())
        .await
        .map_err(|error| Error::Http(format!("{error:#}").into()))?;
    serve_on(http, config, events, shutdown).await
}

/// The same with a listener for calls over HTTP, whatever `http_listen` says; `None` for
/// none.
///
/// # Errors
/// When `on_worker_start` fails, or the system has no thread left for the links.
pub async fn serve_on<E: Events>(
    http: Option<TcpListener>,
    config: Config,
    events: E,
    shutdown: CancellationToken,
) -> std::result::Result<(), Error> {
    serve_and_tell(http, config, events, shutdown, || (), &Stats::default()).await
}

async fn serve_and_tell<E: Events>(
    http: Option<TcpListener>,
    config: Config,
    events: E,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
    stats: &Stats,
) -> std::result::Result<(), Error> {
    let (list, addresses) = watch::channel(Vec::new());
    let (names, key) = (config.register_address.clone(), config.secret_key.clone());
    let register_links = RegisterLinks::default();
    let _register = AbortOnDropHandle::new(tokio::spawn({
        let links = register_links.clone();
        async move { registers::follow(&names, &key, list, &links).await }
    }));
    let clients = Arc::new(Clients::default());
    let network = Network::start()?;
    let gateway = network.enter(|| {
        Gateway::following(addresses.clone())
            .secret_key(config.secret_key.clone())
            .question_timeout(config.question_timeout())
            .gather_writes()
            .observer(clients.clone())
            .connect()
    });
    let limits = Limits { slow: config.slow_handler_warning(), cancel: config.handler_timeout() };
    let handler = Handler::new(events, gateway.clone(), limits);
    let lanes = Lanes::new(clients, handler, config.concurrency, BUDGET);
    let handler = &lanes.handler;
    stats.provide({
        let lanes = Arc::downgrade(&lanes);
        move || lanes.upgrade().map(|lanes| lanes.figures()).unwrap_or_default()
    });
    stats.provide_problems({
        let (lanes, addresses) = (Arc::downgrade(&lanes), addresses.clone());
        move || {
            let gateways = lanes.upgrade().map_or(0, |lanes| lanes.gateways());
            problem(gateways, &addresses.borrow(), &register_links).into_iter().collect()
        }
    });

    tokio::select! {
        started = handler.events.on_worker_start(&gateway) => started.map_err(Error::Start)?,
        () = shutdown.cancelled() => {
            warn!("asked to stop before on_worker_start had returned");
            return Ok(());
        }
    }
    info!(name = %config.name, concurrency = config.concurrency, "the worker has started");
    let grace = config.shutdown_timeout();
    let http = http.map(|listener| {
        let (config, gateway) = (config.http(), gateway.clone());
        let serving = gatewayworker_http::serve(listener, config, gateway, shutdown.clone(), grace);
        AbortOnDropHandle::new(tokio::spawn(serving))
    });
    ready();

    let identity =
        Arc::new(Identity::new(config.name.clone(), config.worker_id.clone(), config.secret_key.clone()));
    let links = TaskTracker::new();
    let _follow = network.spawn(roster::follow(addresses, {
        let (lanes, links, shutdown) = (lanes.clone(), links.clone(), shutdown.clone());
        move |address, listed| {
            let (lanes, identity, stop) = (lanes.clone(), identity.clone(), shutdown.clone());
            let run =
                links.track_future(link::run(lanes, identity, address, listed, stop.clone(), grace / 2));
            async move {
                run.await;
                if stop.is_cancelled() {
                    // Ending would be taken for a lost link, and start the next, which ends at once.
                    std::future::pending().await
                }
            }
        }
    }));
    shutdown.cancelled().await;

    info!("draining");
    let deadline = Instant::now() + grace;
    links.close();
    let drain = async {
        links.wait().await;
        lanes.drained().await;
    };
    if timeout_at(deadline, drain).await.is_err() {
        warn!(
            limit_ms = grace.as_millis() as u64,
            "handlers were still at it when the time to drain was over"
        );
    }
    // It ends by itself when the time is over; what it still says is written below.
    if let Some(http) = http
        && let Err(error) = http.await
    {
        error!(%error, "HTTP push ended early");
    }
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    let stop = pin!(async { handler.events.on_worker_stop(&gateway).await });
    if timeout(left, handler.contain("on_worker_stop", "none", stop)).await.is_err() {
        warn!("on_worker_stop did not return in time");
    }
    gateway.finish(left).await;
    info!(stats = %handler.stats, "the worker has stopped");
    Ok(())
}
