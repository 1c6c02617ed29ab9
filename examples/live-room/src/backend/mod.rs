//! A web backend that pushes to live rooms: an axum server with a [`Gateway`], and without sockets and workers.
//!
//! - `GET /`: the page; `GET /rooms`: the rooms, and where the page connects to;
//! - `GET /room?roomId=…`: a room's numbers;
//! - `POST /login`: a name becomes a user (`login`);
//! - `POST /bind`: the page's client id becomes the user's, and joins a room (`bind`);
//! - `POST /say`: a comment to the room, or to one user in it (`say`).
//!
//! A signed token says which user sends a request; nothing else in the request counts for that. A refused request gets
//! the same error JSON as over the socket (`refusal`).

mod bind;
mod guard;
mod login;
mod refusal;
mod say;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use axum::{Router, response::Response};
use gatewayworker::businessworker::CancellationToken;
use gatewayworker::{AskError, Delivery, Gateway, SecretKey};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

pub use login::LoginKey;
use refusal::Refusal;

use crate::fields::Fields;
use crate::limiter::{BURST, Limiter, PER_SECOND};
use crate::lines::Lines;
use crate::numbers::{self, NumbersPublisher};
use crate::reply::Reply;
use crate::settings::Rooms;
use crate::views::Views;

/// How long the gateways may take to answer a question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);

/// How long running requests may take after `shutdown`.
const END: Duration = Duration::from_secs(5);

/// The longest body, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// The page's policy: nothing of other sites is part of it, and it connects only to the backend and to WebSockets.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
     connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The configuration of a backend.
#[derive(Debug)]
pub struct Config {
    /// The cluster, from [`connect`].
    pub gateway: Gateway,
    /// The gateway's URL for pages, `ws://host:port`.
    pub socket: String,
    /// The rooms.
    pub rooms: Rooms,
    /// The counter of page views.
    pub views: Views,
    /// Where the last comments are kept.
    pub lines: Lines,
    /// The key that signs login tokens.
    pub login_key: LoginKey,
}

/// The state that all requests share.
struct Backend {
    gateway: Gateway,
    socket: String,
    rooms: Rooms,
    views: Views,
    lines: Lines,
    publisher: NumbersPublisher,
    login_key: LoginKey,
    limiter: Limiter<String>,
}

/// Returns a handle to the cluster, whose registers are at `host:port` each.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn connect(registers: Vec<String>, secret_key: SecretKey) -> Gateway {
    Gateway::builder(registers).secret_key(secret_key).question_timeout(QUESTION_TIMEOUT).connect()
}

/// Serves the backend until `shutdown`.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, config: Config, shutdown: CancellationToken) -> io::Result<()> {
    let gateway = config.gateway;
    let backend = Arc::new(Backend {
        publisher: NumbersPublisher::start(&gateway, &config.views, &config.rooms),
        gateway,
        socket: config.socket,
        rooms: config.rooms,
        views: config.views,
        lines: config.lines,
        login_key: config.login_key,
        limiter: Limiter::new(BURST, PER_SECOND),
    });
    let asked_to_end = shutdown.clone().cancelled_owned();
    let late = async move {
        shutdown.cancelled().await;
        tokio::time::sleep(END).await;
    };
    tokio::select! {
        done = axum::serve(listener, router(backend)).with_graceful_shutdown(asked_to_end) => done,
        // The graceful shutdown alone would wait for ever for a connection without a request.
        () = late => Ok(()),
    }
}

fn router(backend: Arc<Backend>) -> Router {
    let changes = Router::new()
        .route("/bind", post(bind::bind))
        .route("/say", post(say::say))
        .layer(from_fn_with_state(backend.clone(), guard::rate_limit))
        .route("/login", post(login::login));
    Router::new()
        .route("/", get(page))
        .route("/rooms", get(rooms))
        .route("/room", get(room))
        .merge(changes)
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "unknown_path", "没有这个地址"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "bad_method", "不支持的请求方法")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(guard::time_limit))
        .with_state(backend)
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Html(include_str!("../../index.html"))).into_response()
}

async fn rooms(State(backend): State<Arc<Backend>>) -> Json<Value> {
    let rooms: Vec<_> = backend.rooms.iter().collect();
    Json(json!({"socket": backend.socket, "rooms": rooms}))
}

/// Returns a room's numbers, or an error if one of them is unknown.
async fn room(
    State(backend): State<Arc<Backend>>,
    query: Result<Query<Map<String, Value>>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(query) =
        query.map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "bad_query", "请求格式错误"))?;
    let room = Fields::from(query).room(&backend.rooms)?;
    let numbers = numbers::room_numbers(&room.id, &backend.gateway, &backend.views).await;
    if numbers.people.is_none() {
        return Err(refusal::NO_GATEWAY);
    }
    if numbers.views.is_none() {
        return Err(refusal::NO_VIEWS);
    }
    Ok(Json(Reply::Room { id: &room.id, numbers }.into_json()))
}

impl Backend {
    /// Returns how many gateways a message has not reached, so that some clients may have missed it.
    ///
    /// # Errors
    /// No gateway is connected, so that no client can have received it.
    fn reached(&self, delivery: &Delivery) -> Result<usize, Refusal> {
        for (gateway, why) in &delivery.unreached {
            tracing::warn!(%gateway, %why, "a gateway was not reached, and its clients did not get a message");
        }
        let nobody = !delivery.is_complete() && self.gateway.connected_gateways().is_empty();
        if nobody { Err(refusal::NO_GATEWAY) } else { Ok(delivery.unreached.len()) }
    }
}

/// Returns an answer, and whether it is complete. An incomplete one is accepted.
///
/// # Errors
/// No gateway was asked.
fn accept_partial<T>(answer: Result<T, AskError<T>>) -> Result<(T, bool), Refusal> {
    match answer {
        Ok(whole) => Ok((whole, true)),
        Err(AskError::Incomplete { partial, missing, .. }) => {
            tracing::warn!(?missing, "not all gateways have answered");
            Ok((partial, false))
        }
        Err(AskError::NotAsked(_)) => Err(refusal::NO_GATEWAY),
    }
}
