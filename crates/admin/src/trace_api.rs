//! `POST /api/trace`: one client's frames as they come, a line of JSON each. It needs the token.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream;
use gatewayworker_client::ClientId;
use gatewayworker_client::inspect::{MAX_TRACE_SECONDS, TRACE_SECONDS, Trace, TraceLine, TraceOptions};
use gatewayworker_http::api::error::{BAD_JSON, ErrorKind};
use gatewayworker_http::api::{ApiError, read_json};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;
use tracing::info;

use crate::shared::{Shared, peer};
use crate::token_api::BODY;

const NOT_TRACED: ErrorKind = ErrorKind {
    code: "not_traced",
    status: axum::http::StatusCode::BAD_GATEWAY,
    when: "The client's gateway does not trace it.",
};

/// After a silence of this length comes an empty line, so that both ends, and a proxy between them, know that the trace
/// goes on.
const SILENCE: Duration = Duration::from_secs(10);

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceBody {
    id: String,
    #[serde(default)]
    payloads: bool,
    #[serde(default = "trace_seconds")]
    seconds: u32,
}

fn trace_seconds() -> u32 {
    TRACE_SECONDS
}

/// Begins a trace, which ends with its time, with the client, or when the caller goes.
pub(crate) async fn trace(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, ApiError> {
    let address = peer(&request);
    let body = read_json(request, BODY).await?;
    let shape = r#"a trace is {"id": "7f00000108fc00000001", "payloads": false, "seconds": 60}"#;
    let TraceBody { id, payloads, seconds } =
        serde_json::from_str(body.get()).map_err(|error| BAD_JSON.because(format!("{shape}: {error}")))?;
    let client: ClientId =
        id.parse().map_err(|_| BAD_JSON.because(format!("{shape}: `id` is no client id")))?;
    if !(1..=MAX_TRACE_SECONDS).contains(&seconds) {
        return Err(BAD_JSON.because(format!("{shape}: `seconds` is from 1 to {MAX_TRACE_SECONDS}")));
    }
    shared.check_listed(&client.gateway().to_string()).map_err(|why| NOT_TRACED.because(why))?;
    if let Some(address) = address {
        info!(payloads, %address, "an operator traces a client from the page");
    }
    let options = TraceOptions::default().with_payloads(payloads).with_seconds(seconds);
    let trace = shared.inspector.trace(client, options).await;
    let trace = trace.map_err(|error| NOT_TRACED.because(error.to_string()))?;
    let mut response = Response::new(Body::from_stream(stream::unfold(Some(trace), next_line)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    // nginx would gather lines.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

type Line = Result<Bytes, std::convert::Infallible>;

/// Returns the next line, and the trace if it goes on.
async fn next_line(trace: Option<Trace>) -> Option<(Line, Option<Trace>)> {
    let mut trace = trace?;
    let (line, goes_on) = match timeout(SILENCE, trace.next()).await {
        Err(_) => (String::new(), true),
        Ok(Some(Ok(line))) => {
            let is_last = matches!(line, TraceLine::End { .. });
            (serde_json::to_string(&line).unwrap_or_default(), !is_last)
        }
        Ok(Some(Err(error))) => (json!({"end": error.to_string()}).to_string(), false),
        Ok(None) => return None,
    };
    Some((Ok(format!("{line}\n").into()), goes_on.then_some(trace)))
}
