//! The checks before all handlers: the time limit, the rate limit, and the body, which must be JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Backend;
use super::login::User;
use super::refusal::Refusal;
use crate::fields::{self, Fields};

/// How long a request may take, with its body.
const LIMIT: Duration = Duration::from_secs(10);

/// Ends a request at its time limit.
pub(super) async fn time_limit(request: Request, next: Next) -> Response {
    match tokio::time::timeout(LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out", "处理超时，请稍后再试").into_response()
        }
    }
}

/// Limits the requests of each user. A request without a login is refused.
pub(super) async fn rate_limit(
    State(backend): State<Arc<Backend>>,
    user: User,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if !backend.limiter.take(user.id) {
        return Err(Refusal::because(StatusCode::TOO_MANY_REQUESTS, fields::TOO_OFTEN));
    }
    Ok(next.run(request).await)
}

/// Parses a JSON body. Requires the content type, because a form of another site cannot send it.
impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("application/json") {
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "请求内容必须是 JSON"));
        }
        Ok(Fields::read(&Bytes::from_request(request, state).await?)?)
    }
}
