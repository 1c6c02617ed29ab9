//! The origin and the token that a request needs: two middlewares around `routes`.
//!
//! A page in a browser can make it send requests from inside every firewall, to loopback as well. So
//! the origin is checked before anything else, and the requests of pages never count as wrong
//! tokens: a page could lock the programs of its machine out.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::error::{BUSY, ORIGIN_NOT_ALLOWED};
use crate::api::{ApiError, TokenError};
use crate::shared::{Peer, Shared};

/// How long a browser may remember the answer to a preflight, in seconds.
const PREFLIGHT_MAX_AGE: u32 = 600;

/// The middleware around all paths: refuses the pages of origins that are not listed, answers the
/// preflights of the others and lets them read the answers.
pub(crate) async fn check_origin(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    shared.stats.requests.count();
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    let listed = |origin: &HeaderValue| shared.config.allowed_origins.iter().any(|listed| origin == listed);
    if !request.headers().get_all(header::ORIGIN).iter().all(listed) {
        shared.stats.foreign_origins.count();
        let why = "pages from this origin may not call: if they should, list it in http.allowed_origins";
        return ORIGIN_NOT_ALLOWED.because(why).into_response();
    }
    let mut response = if is_preflight(&request) { preflight() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    response
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let allow = |value| HeaderValue::from_static(value);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow("GET, POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allow("authorization, content-type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE.into());
    response
}

/// The middleware around the calls: requires the token, and limits how many requests run at once.
pub(crate) async fn require_token(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    authorize(&shared, &request)?;
    let Ok(_permit) = shared.request_permits.try_acquire() else {
        shared.stats.busy.count();
        let why = format!(
            "http.concurrency ({}) requests are running: try again in a moment",
            shared.config.concurrency
        );
        return Err(BUSY.because(why).retry_after(1));
    };
    Ok(next.run(request).await)
}

fn authorize(shared: &Shared, request: &Request) -> Result<(), ApiError> {
    let address = caller(request, &shared.config.trusted_proxies);
    let Err(error) = shared.token.check(request.headers(), address) else { return Ok(()) };
    if let TokenError::LockedOut { .. } = error {
        shared.stats.locked_out.count();
    } else {
        shared.stats.unauthorized.count();
    }
    Err(error.into_api_error(
        "send the worker's http.token as `Authorization: Bearer <token>`",
        "the token is wrong: it must be the http.token of this businessworker",
    ))
}

/// The caller's address: the peer's or, if that is a trusted proxy, the last one in
/// `X-Forwarded-For` that is not a trusted proxy's. Anybody may have written what stands before it.
fn caller(request: &Request, proxies: &[IpAddr]) -> Option<IpAddr> {
    let Peer(peer) = request.extensions().get::<Peer>()?;
    let mut address = peer.to_canonical();
    let values = request.headers().get_all("x-forwarded-for").iter().rev();
    let hops = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.rsplit(','));
    for hop in hops {
        if !proxies.contains(&address) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(hop) => address = hop.to_canonical(),
            Err(_) => break,
        }
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_about_its_callers_address() {
        let proxies = [ip("10.0.0.1"), ip("10.0.0.2")];
        let caller = |peer: &str, forwarded: &[&str]| {
            let mut request = Request::new(Body::empty());
            request.extensions_mut().insert(Peer(ip(peer)));
            for value in forwarded {
                request.headers_mut().append("x-forwarded-for", value.parse().unwrap());
            }
            super::caller(&request, &proxies).unwrap()
        };
        assert_eq!(caller("192.0.2.1", &[]), ip("192.0.2.1"));
        assert_eq!(caller("192.0.2.1", &["192.0.2.9"]), ip("192.0.2.1"), "not a proxy");
        assert_eq!(caller("10.0.0.1", &[]), ip("10.0.0.1"));
        assert_eq!(caller("10.0.0.1", &["192.0.2.9"]), ip("192.0.2.9"));
        assert_eq!(caller("::ffff:10.0.0.1", &["192.0.2.9"]), ip("192.0.2.9"));
        assert_eq!(caller("10.0.0.1", &["192.0.2.9, 192.0.2.8"]), ip("192.0.2.8"), "the first is hearsay");
        assert_eq!(caller("10.0.0.1", &["192.0.2.9", "192.0.2.8, 10.0.0.2"]), ip("192.0.2.8"));
        assert_eq!(caller("10.0.0.1", &["192.0.2.9, unknown"]), ip("10.0.0.1"));
    }
}
