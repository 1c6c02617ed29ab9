//! The paths, and the answers to requests.
//!
//! A request arrives here after `authorization`. Its calls are made on the
//! [`Gateway`](gatewayworker_client::Gateway); the answer is `{"result": …}` or `{"error": …}`. A
//! send that did not reach some gateway is a result, which names the gateway.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::api::error::{
    BAD_JSON, BATCH_TOO_LONG, BODY_TOO_LARGE, BODY_TOO_SLOW, METHOD_NOT_ALLOWED, NO_GATEWAYS, NOT_FOUND,
    TIMED_OUT,
};
use crate::api::{self, ApiError, BodyLimits};
use crate::shared::Shared;
use crate::{authorization, openapi};

/// The path of a call, without its name.
const CALLS: &str = "/v1/";

type Answer = Result<Response, ApiError>;

/// The router of all paths.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let calls = Router::new()
        .route("/v1/batch", post(batch))
        .route("/v1/{call}", post(call))
        .route_layer(from_fn_with_state(shared.clone(), authorization::require_token));
    Router::new()
        .route("/v1/health", get(health))
        .route("/openapi.json", get(description))
        .merge(calls)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(shared.clone(), authorization::check_origin))
        .with_state(shared)
}

async fn call(State(shared): State<Arc<Shared>>, uri: Uri, request: Request) -> Answer {
    let params = read_json(&shared, request).await?;
    let name = uri.path().strip_prefix(CALLS).unwrap_or_default();
    let deadline = Instant::now() + shared.config.request_timeout();
    Ok(ok(run(&shared, name, params, deadline).await?))
}

/// One call of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchCall {
    call: String,
    params: Option<Box<RawValue>>,
}

/// Runs the calls of a batch one after the other, as it may hold `join_group` and a send to the
/// group. A call that fails does not stop the others; the time limit is for all of them together.
async fn batch(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    let not_a_batch = |error| {
        let shape = r#"[{"call": "send_to_all", "params": {"message": "hello"}}, …]"#;
        BAD_JSON.because(format!("a batch is a list of calls, {shape}: {error}"))
    };
    let batch = read_json(&shared, request).await?;
    let batch: Vec<&RawValue> = serde_json::from_str(batch.get()).map_err(not_a_batch)?;
    let limit = shared.config.max_batch;
    if batch.len() > limit {
        shared.stats.too_large.count();
        let why = format!("a batch has at most {limit} calls (http.max_batch): send several");
        return Err(BATCH_TOO_LONG.because(why));
    }
    let calls = batch.iter().map(|call| serde_json::from_str::<BatchCall>(call.get()));
    let calls = calls.collect::<Result<Vec<_>, _>>().map_err(not_a_batch)?;
    let deadline = Instant::now() + shared.config.request_timeout();
    let mut answers = Vec::with_capacity(calls.len());
    for BatchCall { call, params } in calls {
        answers.push(match run(&shared, &call, &params, deadline).await {
            Ok(result) => json!({ "result": result }),
            Err(error) => error.to_json(),
        });
    }
    Ok(ok(answers.into()))
}

/// Makes a call, and gives it up at the deadline.
async fn run(
    shared: &Shared,
    name: &str,
    params: impl Serialize,
    deadline: Instant,
) -> Result<Value, ApiError> {
    let timed_out = |why: &str| {
        shared.stats.timed_out.count();
        let limit = shared.config.request_timeout_ms;
        TIMED_OUT.because(format!("the request ran for {limit} ms (http.request_timeout_ms): {why}"))
    };
    if Instant::now() >= deadline {
        return Err(timed_out("this call was not made"));
    }
    shared.stats.calls.count();
    let called = timeout_at(deadline, shared.gateway.call(name, params)).await;
    let result = match called {
        Ok(result) => result.map_err(ApiError::from),
        Err(_) => Err(timed_out("this call was given up, and may have taken effect")),
    };
    if result.is_err() {
        shared.stats.call_errors.count();
    }
    result
}

/// Answers whether any gateway is connected, for load balancers.
async fn health(State(shared): State<Arc<Shared>>) -> Answer {
    match shared.gateway.connected_gateways().len() {
        0 => Err(NO_GATEWAYS.because("no gateway is connected: start one that has this worker's register")),
        gateways => Ok(ok(json!({ "gateways": gateways }))),
    }
}

async fn description() -> Response {
    api::json(StatusCode::OK, openapi::document())
}

async fn not_found(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(64).collect();
    NOT_FOUND
        .because(format!("there is no {path}: calls are at /v1/<call>, and GET /openapi.json lists them"))
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let right = if ["/v1/health", "/openapi.json"].contains(&uri.path()) { "GET" } else { "POST" };
    METHOD_NOT_ALLOWED.because(format!("{method} is not taken here: use {right}"))
}

fn ok(result: Value) -> Response {
    api::json(StatusCode::OK, &json!({ "result": result }))
}

/// Reads the JSON text in the body; an empty body stands for an empty object.
async fn read_json(shared: &Shared, request: Request) -> Result<Box<RawValue>, ApiError> {
    let limits = BodyLimits {
        max_bytes: shared.config.max_body_bytes,
        max_bytes_key: "http.max_body_bytes",
        time: shared.config.read_timeout(),
        time_key: "http.read_timeout_ms",
    };
    api::read_json(request, limits).await.inspect_err(|error| match error.kind() {
        BODY_TOO_LARGE => drop(shared.stats.too_large.count()),
        BODY_TOO_SLOW => drop(shared.stats.too_slow.count()),
        _ => {}
    })
}
