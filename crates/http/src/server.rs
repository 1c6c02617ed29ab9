//! The listener and its connections: how many, how slow, and how they end.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::{IntoResponse, Response};
use gatewayworker_client::Gateway;
use gatewayworker_daemon::{ListenerSource, accept_loop, resolve};
use gatewayworker_net::LogLimiter;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::Config;
use crate::failures::Failures;
use crate::patient::Patient;
use crate::problem::BUSY;
use crate::routes;
use crate::stats::HttpStats;

/// The longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// How many connections over the limit are told so at a time; others are just closed.
const MAX_TURNED_AWAY: usize = 64;

/// How long after the shutdown a connection that is silent stays open: its request may be
/// on the way, and the peer takes what it is not answered for a failure.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) gateway: Gateway,
    pub(crate) failures: Failures,
    /// One for each request that may run.
    pub(crate) places: Semaphore,
    pub(crate) stats: HttpStats,
    /// For the lines about addresses that show too many wrong tokens.
    pub(crate) locked_out: LogLimiter,
}

/// Where a request's connection comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Listens where `config` says, if it does, by `listeners`. Says so in the log, with a
/// warning where others may listen in.
///
/// # Errors
/// When the address does not resolve, or is in use.
pub async fn bind(config: &Config, listeners: &ListenerSource) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = &config.listen else { return Ok(None) };
    let listener = listeners.bind("http_listen", resolve("http_listen", address).await?).await?;
    let address = listener.local_addr()?;
    info!(%address, "listening for calls over HTTP");
    if !address.ip().to_canonical().is_loopback() {
        warn!(%address, "HTTP is not encrypted, and the token goes over it: put a TLS proxy before it");
    }
    Ok(Some(listener))
}

/// Answers calls until `shutdown`, then takes no more requests and lets those that run
/// end within `grace`. Dropped, it ends them all.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    gateway: Gateway,
    shutdown: CancellationToken,
    grace: Duration,
) {
    gatewayworker_net::tune(&listener);
    let connections = TaskTracker::new();
    let end = CancellationToken::new();
    let _end_with_this = end.clone().drop_guard();
    let server = Server::new(config, gateway, shutdown.clone(), end.clone());
    let take_in = |stream, peer| {
        if let Some(connection) = server.take_in(stream, peer) {
            connections.spawn(connection);
        }
    };
    accept_loop(&listener, &shutdown, take_in).await;
    drop(listener);
    connections.close();
    if timeout(grace, connections.wait()).await.is_err() {
        warn!(
            connections = connections.len(),
            "HTTP requests were still running when the time to drain was over"
        );
        end.cancel();
        connections.wait().await;
    }
    info!(stats = %server.shared.stats, "HTTP push has stopped");
}

struct Server {
    shared: Arc<Shared>,
    router: Router,
    settings: http1::Builder,
    connections: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
    shutdown: CancellationToken,
    end: CancellationToken,
}

impl Server {
    fn new(config: Config, gateway: Gateway, shutdown: CancellationToken, end: CancellationToken) -> Self {
        let places = |n: usize| Semaphore::new(n.min(Semaphore::MAX_PERMITS));
        let mut settings = http1::Builder::new();
        settings
            .timer(TokioTimer::new())
            .header_read_timeout(config.read_timeout())
            .max_header_size(MAX_HEAD_BYTES);
        let shared = Arc::new(Shared {
            gateway,
            failures: Failures::new(config.max_auth_failures_per_minute),
            places: places(config.concurrency),
            stats: HttpStats::default(),
            locked_out: LogLimiter::default(),
            config,
        });
        Self {
            router: routes::router(shared.clone()),
            settings,
            connections: Arc::new(places(shared.config.max_connections)),
            turned_away: Arc::new(places(MAX_TURNED_AWAY)),
            shared,
            shutdown,
            end,
        }
    }

    /// What serves a new connection; nothing, if even telling it off would be too much.
    fn take_in(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<impl Future<Output = ()> + Send + 'static + use<>> {
        let (place, is_turned_away) = match self.connections.clone().try_acquire_owned() {
            Ok(place) => (place, false),
            Err(_) => (self.turn_away()?, true),
        };
        let io = TokioIo::new(Patient::new(stream, self.shared.config.read_timeout()));
        let (router, settings) = (self.router.clone(), self.settings.clone());
        let limit = self.shared.config.max_connections;
        let (shutdown, end) = (self.shutdown.clone(), self.end.clone());
        Some(async move {
            let _place = place;
            if is_turned_away {
                let service = service_fn(move |_| async move { Ok::<_, Infallible>(too_many(limit)) });
                let mut settings = settings;
                run(settings.keep_alive(false), io, service, shutdown, end).await;
            } else {
                let ends = shutdown.clone();
                let service = service_fn(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(Peer(peer.ip()));
                    let answer = TowerToHyperService::new(router.clone()).call(request);
                    let ends = ends.clone();
                    async move {
                        let mut answer = answer.await?;
                        if ends.is_cancelled() {
                            // The next request would meet a closed connection.
                            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                        }
                        Ok(answer)
                    }
                });
                run(&settings, io, service, shutdown, end).await;
            }
        })
    }

    fn turn_away(&self) -> Option<OwnedSemaphorePermit> {
        let limit = self.shared.config.max_connections;
        let times = self.shared.stats.turned_away.count();
        if times.is_power_of_two() {
            warn!(limit, times, "http_max_connections is reached: connections are turned away");
        }
        self.turned_away.clone().try_acquire_owned().ok()
    }
}

fn too_many(limit: usize) -> Response {
    let why = format!("as many connections as http_max_connections ({limit}) stand: try again in a moment");
    BUSY.because(why).retry_after(1).into_response()
}

/// Serves a connection to its end; soon after `shutdown`, only what it is at.
async fn run<S>(
    settings: &http1::Builder,
    io: TokioIo<Patient<TcpStream>>,
    service: S,
    shutdown: CancellationToken,
    end: CancellationToken,
) where
    S: Service<hyper::Request<Incoming>, Response = Response, Error = Infallible>,
{
    let mut connection = pin!(settings.serve_connection(io, service));
    let last_requests = async {
        shutdown.cancelled().await;
        sleep(ON_THE_WAY).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = end.cancelled() => return,
        () = last_requests => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = end.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "an HTTP connection ended");
    }
}
