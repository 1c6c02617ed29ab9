//! The listener of HTTP push and its connections: how many there may be, how slow, and how they end.
//!
//! A request goes to the router of `routes`. A businessworker calls [`bind`] and [`serve`].

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::{IntoResponse, Response};
use gatewayworker_client::Gateway;
use gatewayworker_daemon::{AddressError, ListenerError, ListenerSource, accept_loop, resolve};
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
use crate::auth_failures::AuthFailures;
use crate::error::BUSY;
use crate::routes;
use crate::shared::{Peer, Shared};
use crate::stats::HttpStats;
use crate::write_timeout::WriteTimeout;

/// The longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// How many connections over the limit get an answer at a time; more are closed without one.
const MAX_REJECTED: usize = 64;

/// How long an idle connection stays open after the shutdown: a request may be on the way, and a
/// caller that gets no answer takes that for a failure.
const LAST_REQUEST_WAIT: Duration = Duration::from_secs(1);

/// Why HTTP push cannot listen. The text names the key and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// `http.listen` is not an address, or its host has none.
    #[error(transparent)]
    Resolve(#[from] AddressError),
    /// The address cannot be listened on, or the supervisor did not open it.
    #[error(transparent)]
    Listen(#[from] ListenerError),
    /// The system does not tell the address of the socket.
    #[error("http.listen: the address of the socket is not known")]
    Socket(#[from] io::Error),
}

/// Listens on `config.listen`, with a socket from `listeners`; returns `None` where it is not set.
/// Logs the address, with a warning if other machines could read the token on its way.
///
/// # Errors
/// When the address does not resolve, or is in use.
pub async fn bind(config: &Config, listeners: &ListenerSource) -> Result<Option<TcpListener>, BindError> {
    let Some(address) = &config.listen else { return Ok(None) };
    let listener = listeners.bind("http.listen", resolve("http.listen", address).await?).await?;
    let address = listener.local_addr()?;
    info!(%address, "HTTP push listens");
    if !address.ip().to_canonical().is_loopback() {
        warn!(%address, "HTTP is not encrypted, and the token goes over it: put a TLS proxy before it");
    }
    Ok(Some(listener))
}

/// Answers calls until `shutdown` is cancelled; then accepts no more requests, and gives the running
/// ones `grace` to end. Dropping the future ends them all.
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
    let accept = |stream, peer| {
        if let Some(connection) = server.accept(stream, peer) {
            connections.spawn(connection);
        }
    };
    accept_loop(&listener, &shutdown, accept).await;
    drop(listener);
    connections.close();
    if timeout(grace, connections.wait()).await.is_err() {
        warn!(
            connections = connections.len(),
            "HTTP requests were still running when shutdown_timeout_ms was over: they were ended"
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
    rejected: Arc<Semaphore>,
    shutdown: CancellationToken,
    end: CancellationToken,
}

impl Server {
    fn new(config: Config, gateway: Gateway, shutdown: CancellationToken, end: CancellationToken) -> Self {
        let semaphore = |n: usize| Semaphore::new(n.min(Semaphore::MAX_PERMITS));
        let mut settings = http1::Builder::new();
        settings
            .timer(TokioTimer::new())
            .header_read_timeout(config.read_timeout())
            .max_header_size(MAX_HEAD_BYTES);
        let shared = Arc::new(Shared {
            gateway,
            failures: AuthFailures::new(config.max_auth_failures_per_minute),
            request_permits: semaphore(config.concurrency),
            stats: HttpStats::default(),
            locked_out: LogLimiter::default(),
            config,
        });
        Self {
            router: routes::router(shared.clone()),
            settings,
            connections: Arc::new(semaphore(shared.config.max_connections)),
            rejected: Arc::new(semaphore(MAX_REJECTED)),
            shared,
            shutdown,
            end,
        }
    }

    /// Returns the future that serves a new connection. Over the limit it answers 503, and `None`
    /// closes the connection without an answer.
    fn accept(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<impl Future<Output = ()> + Send + 'static + use<>> {
        let (permit, is_rejected) = match self.connections.clone().try_acquire_owned() {
            Ok(permit) => (permit, false),
            Err(_) => (self.reject()?, true),
        };
        let io = TokioIo::new(WriteTimeout::new(stream, self.shared.config.read_timeout()));
        let (router, settings) = (self.router.clone(), self.settings.clone());
        let limit = self.shared.config.max_connections;
        let (shutdown, end) = (self.shutdown.clone(), self.end.clone());
        Some(async move {
            let _permit = permit;
            if is_rejected {
                let service =
                    service_fn(move |_| async move { Ok::<_, Infallible>(too_many_connections(limit)) });
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

    fn reject(&self) -> Option<OwnedSemaphorePermit> {
        let limit = self.shared.config.max_connections;
        let times = self.shared.stats.rejected.count();
        if times.is_power_of_two() {
            warn!(limit, times, "http.max_connections is reached: new connections get 503");
        }
        self.rejected.clone().try_acquire_owned().ok()
    }
}

fn too_many_connections(limit: usize) -> Response {
    let why = format!("http.max_connections ({limit}) connections are open: try again in a moment");
    BUSY.because(why).retry_after(1).into_response()
}

/// Serves a connection until its end; soon after `shutdown`, only until the running request is done.
async fn run<S>(
    settings: &http1::Builder,
    io: TokioIo<WriteTimeout<TcpStream>>,
    service: S,
    shutdown: CancellationToken,
    end: CancellationToken,
) where
    S: Service<hyper::Request<Incoming>, Response = Response, Error = Infallible>,
{
    let mut connection = pin!(settings.serve_connection(io, service));
    let last_requests = async {
        shutdown.cancelled().await;
        sleep(LAST_REQUEST_WAIT).await;
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
