//! Answers the requests for the page: connections with limits, and the router of all paths.
//!
//! A request passes `guard` first. What needs no token is in `files` and `open_api`, the rest in `token_api` and
//! `trace_api`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use gatewayworker_daemon::{HttpHandler, HttpLimits, serve_http};
use gatewayworker_http::api::ApiError;
use gatewayworker_http::api::error::{BUSY, METHOD_NOT_ALLOWED, NOT_FOUND};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::shared::{Peer, Shared};
use crate::{files, guard, open_api, token_api, trace_api};

/// The limits of the connections: a few browsers.
const LIMITS: HttpLimits =
    HttpLimits { max_connections: 64, max_head_bytes: 16 * 1024, read_timeout: Duration::from_secs(10) };

/// How long requests that run may take when the page ends.
const GRACE: Duration = Duration::from_secs(1);

/// Answers requests until `shutdown` is cancelled.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, shutdown: CancellationToken) {
    let answers = Arc::new(Answers { router: router(shared.clone()), shared });
    serve_http(listener, LIMITS, answers, shutdown, GRACE).await;
}

fn router(shared: Arc<Shared>) -> Router {
    let with_token = Router::new()
        .route("/api/warnings", get(token_api::warnings))
        .route("/api/inspect", post(token_api::inspect))
        .route("/api/call", post(token_api::call))
        .route("/api/trace", post(trace_api::trace))
        .route_layer(from_fn_with_state(shared.clone(), guard::require_token));
    let pages = files::FILES.iter().fold(Router::new(), |router, file| {
        router.route(file.path, get(move || async move { file.response() }))
    });
    pages
        .route("/api/cluster", get(open_api::cluster))
        .route("/api/history", get(open_api::history))
        .route("/api/calls", get(open_api::calls))
        .merge(with_token)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(shared.clone(), guard::check_request))
        .with_state(shared)
}

async fn not_found(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(64).collect();
    NOT_FOUND.because(format!("there is no {path}: the page is at /"))
}

async fn wrong_method(method: Method) -> ApiError {
    METHOD_NOT_ALLOWED.because(format!("{method} is not taken here: look with GET, act with POST"))
}

/// Answers requests by the router.
struct Answers {
    shared: Arc<Shared>,
    router: Router,
}

impl HttpHandler for Answers {
    type Body = Body;

    async fn handle(self: Arc<Self>, mut request: hyper::Request<Incoming>, peer: SocketAddr) -> Response {
        request.extensions_mut().insert(Peer(peer.ip()));
        // The router answers each request: its error is of a type without values.
        let Ok(answer) = TowerToHyperService::new(self.router.clone()).call(request.map(Body::new)).await;
        answer
    }

    fn note_rejected(&self) {
        let (limit, times) = (LIMITS.max_connections, self.shared.rejected.count());
        if times.is_power_of_two() {
            warn!(limit, times, "admin.listen has so many connections open: new ones get 503");
        }
    }

    fn reject(&self) -> Response {
        let why = "too many connections are open: try again in a moment";
        BUSY.because(why).retry_after(1).into_response()
    }
}
