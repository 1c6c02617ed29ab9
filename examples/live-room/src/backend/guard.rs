//! What stands before all handlers: where a request comes from, how often, how long it
//! may take; and the body, which is JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Backend;
use super::login::User;
use super::refusal::Refusal;
use crate::fields::{self, Fields};

/// How long a request may take, with its body.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "处理超时，请稍后再试").into_response(),
    }
}

/// Pages of other sites have no business here: a browser says whose page asks. What is
/// no browser says nothing, and has nobody's cookies.
pub(super) async fn same_origin(request: Request, next: Next) -> Result<Response, Refusal> {
    if is_foreign(request.headers()) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "不接受来自其他网站的请求"));
    }
    Ok(next.run(request).await)
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let site = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    // Behind a proxy that speaks TLS the scheme is another one; the host is not.
    let origin = text("origin").map(|origin| origin.split_once("://").map(|(_, host)| host));
    site || origin.is_some_and(|origin| origin.is_none() || origin != text("host"))
}

/// Each user for themselves; who is not logged in gets no further either.
pub(super) async fn rate(
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

/// A body of JSON. Another content type a form of another site could send, without
/// asking first.
impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("application/json") {
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "请求内容必须是 JSON"));
        }
        Ok(Fields::read(&Bytes::from_request(request, state).await?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_foreign_if_the_browser_says_so() {
        let headers = |pairs: &[(&'static str, &str)]| {
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
        };
        let host = ("host", "live.example:8080");
        for same in [
            headers(&[host]),
            headers(&[host, ("origin", "http://live.example:8080")]),
            headers(&[host, ("origin", "https://live.example:8080"), ("sec-fetch-site", "same-origin")]),
        ] {
            assert!(!is_foreign(&same), "{same:?}");
        }
        for foreign in [
            headers(&[host, ("origin", "http://live.example")]),
            headers(&[host, ("origin", "http://evil.example")]),
            headers(&[host, ("origin", "null")]),
            headers(&[("origin", "http://live.example:8080")]),
            headers(&[host, ("sec-fetch-site", "cross-site")]),
            headers(&[host, ("sec-fetch-site", "same-site")]),
        ] {
            assert!(is_foreign(&foreign), "{foreign:?}");
        }
    }
}
