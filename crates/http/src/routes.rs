//! The paths, and the answers to requests.
//!
//! A request arrives here after `authorization`. Its calls are made on the
//! [`Gateway`](gatewayworker_client::Gateway); the answer is `{"result": …}` or `{"error": …}`. A
//! send that did not reach some gateway is a result, which names the gateway.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{
    ApiError, BAD_JSON, BATCH_TOO_LONG, BODY_TOO_LARGE, BODY_TOO_SLOW, METHOD_NOT_ALLOWED, NO_GATEWAYS,
    NOT_FOUND, TIMED_OUT, UNSUPPORTED_CONTENT_ENCODING, UNSUPPORTED_MEDIA_TYPE,
};
use crate::shared::Shared;
use crate::{authorization, openapi, response};

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
    response::json(StatusCode::OK, openapi::document())
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
    response::json(StatusCode::OK, &json!({ "result": result }))
}

/// Reads the JSON text in the body; an empty body stands for an empty object.
async fn read_json(shared: &Shared, request: Request) -> Result<Box<RawValue>, ApiError> {
    if !is_json(request.headers()) {
        let why = "send JSON, and say so: `Content-Type: application/json`";
        return Err(UNSUPPORTED_MEDIA_TYPE.because(why));
    }
    if is_encoded(request.headers()) {
        let why = "send the body as it is: Content-Encoding must be missing, or `identity`";
        return Err(UNSUPPORTED_CONTENT_ENCODING.because(why));
    }
    let (head, body) = request.into_parts();
    let body = read(shared, &head.headers, body).await?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(body).map_err(|error| BAD_JSON.because(format!("the body is not JSON: {error}")))
}

/// Whether the content type is JSON. A form on a page cannot send it without a preflight.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Whether the body has a content coding (RFC 9110, section 8.4); none is decoded here.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

async fn read(shared: &Shared, headers: &HeaderMap, mut body: Body) -> Result<Bytes, ApiError> {
    let (limit, time) = (shared.config.max_body_bytes, shared.config.read_timeout());
    let too_large = || {
        shared.stats.too_large.count();
        let why = format!("the body is longer than {limit} bytes (http.max_body_bytes): send less at once");
        BODY_TOO_LARGE.because(why)
    };
    let asks_first = headers.contains_key(header::EXPECT);
    if asks_first && body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let read = async {
        let read = Limited::new(&mut body, limit).collect().await;
        if read.as_ref().is_err_and(|error| error.is::<LengthLimitError>()) {
            pass_over(&mut body, limit).await;
        }
        read
    };
    match timeout(time, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(BAD_JSON.because(format!("the body did not come whole: {error}"))),
        Err(_) => {
            shared.stats.too_slow.count();
            let ms = time.as_millis();
            Err(BODY_TOO_SLOW.because(format!("the body did not come within {ms} ms (http.read_timeout_ms)")))
        }
    }
}

/// Reads and drops the rest of a body, up to `limit` bytes more. Many clients read no answer before
/// they have sent everything, and would find the connection reset.
async fn pass_over(body: &mut Body, limit: usize) {
    let mut left = limit;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}
