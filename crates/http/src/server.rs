//! The listener of HTTP push, and what answers its requests.
//!
//! The connections are [`serve_http`]'s, and a request goes to the router of `routes`. A businessworker calls
//! [`bind`] and [`serve`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use gatewayworker_client::Gateway;
use gatewayworker_daemon::{BindError, HttpHandler, HttpLimits, ListenerSource, serve_http};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Config;
use crate::api::TokenGuard;
use crate::api::error::BUSY;
use crate::request_counts::RequestCounts;
use crate::routes;
use crate::shared::{Peer, Shared};
use crate::stats::HttpStats;

/// The longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Listens on `config.listen`, with a socket from `listeners`; returns `None` where it is not set.
/// Logs the address, with a warning if other machines could read the token on its way.
///
/// # Errors
/// When the address does not resolve, or is in use.
pub async fn bind(config: &Config, listeners: &ListenerSource) -> Result<Option<TcpListener>, BindError> {
    let Some(address) = &config.listen else { return Ok(None) };
    let (listener, address) = listeners.open("http.listen", address).await?;
    info!(%address, "HTTP push listens");
    if !address.ip().to_canonical().is_loopback() {
        warn!(%address, "HTTP is not encrypted, and the token goes over it: put a TLS proxy before it");
    }
    Ok(Some(listener))
}

/// Answers calls until `shutdown` is cancelled; then accepts no more requests, and gives the running
/// ones `grace` to end. Counts the answers in `counts`. Dropping the future ends them all.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    gateway: Gateway,
    counts: RequestCounts,
    shutdown: CancellationToken,
    grace: Duration,
) {
    let limits = HttpLimits {
        max_connections: config.max_connections,
        max_head_bytes: MAX_HEAD_BYTES,
        read_timeout: config.read_timeout(),
    };
    let calls = Arc::new(Calls::new(config, gateway, counts));
    let late = serve_http(listener, limits, calls.clone(), shutdown, grace).await;
    if late > 0 {
        warn!(
            connections = late,
            "HTTP requests were still running when shutdown_timeout_ms was over: they were ended"
        );
    }
    info!(stats = %calls.shared.stats, "HTTP push has stopped");
}

/// Answers requests by the router.
struct Calls {
    shared: Arc<Shared>,
    router: Router,
    counts: RequestCounts,
}

impl Calls {
    fn new(config: Config, gateway: Gateway, counts: RequestCounts) -> Self {
        let shared = Arc::new(Shared {
            gateway,
            token: TokenGuard::new(config.token.clone(), config.max_auth_failures_per_minute),
            request_permits: Semaphore::new(config.concurrency.min(Semaphore::MAX_PERMITS)),
            stats: HttpStats::default(),
            config,
        });
        Self { router: routes::router(shared.clone()), shared, counts }
    }
}

impl HttpHandler for Calls {
    type Body = Body;

    async fn handle(self: Arc<Self>, mut request: Request<Incoming>, peer: SocketAddr) -> Response {
        let call = RequestCounts::call_of(request.uri().path());
        request.extensions_mut().insert(Peer(peer.ip()));
        // The router answers each request: its error is of a type without values.
        let Ok(answer) = TowerToHyperService::new(self.router.clone()).call(request).await;
        self.counts.count(call, answer.status().as_u16());
        answer
    }

    fn note_rejected(&self) {
        let limit = self.shared.config.max_connections;
        let times = self.shared.stats.rejected.count();
        if times.is_power_of_two() {
            warn!(limit, times, "http.max_connections is reached: new connections get 503");
        }
    }

    fn reject(&self) -> Response {
        let limit = self.shared.config.max_connections;
        let why = format!("http.max_connections ({limit}) connections are open: try again in a moment");
        BUSY.because(why).retry_after(1).into_response()
    }
}
