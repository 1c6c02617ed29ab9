//! Who may make a request: two middlewares, around all paths and around those that need the token. Also the headers of
//! every answer.
//!
//! A page of somebody else's, in an operator's browser, reaches loopback, too. So a request counts only under a name
//! that no other page can have (`Host`, against DNS rebinding), and with no other page's `Origin`. The token is in a header
//! that no page sends by itself, and never in a cookie or a URL.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gatewayworker_http::api::error::{BUSY, ErrorKind, ORIGIN_NOT_ALLOWED};
use gatewayworker_http::api::{ApiError, TokenError};

use crate::shared::{Shared, peer};

const NO_TOKEN: ErrorKind =
    ErrorKind { code: "no_token", status: StatusCode::FORBIDDEN, when: "No token is set." };

const HOST_NOT_ALLOWED: ErrorKind = ErrorKind {
    code: "host_not_allowed",
    status: StatusCode::FORBIDDEN,
    when: "The page was called by a name that is not in `admin.hosts`.",
};

/// Scripts, styles and data come from here alone; nothing may frame the page, and it sends no forms.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The headers of every answer.
const HEADERS: [(header::HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Whether a request shows the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenState {
    /// None is set.
    None,
    /// It does not, or shows a wrong one.
    Needed,
    /// Its address has shown too many wrong ones, so that the right one is refused for a while, too.
    LockedOut,
    /// It does.
    Good,
}

impl TokenState {
    /// Checks a request for which the token is not needed. A wrong one counts all the same: nobody is to try tokens
    /// here.
    pub(crate) fn of(shared: &Shared, request: &Request) -> Self {
        let Some(token) = &shared.token else { return Self::None };
        match token.check(request.headers(), peer(request)) {
            Ok(()) => Self::Good,
            Err(TokenError::LockedOut { .. }) => Self::LockedOut,
            Err(TokenError::Missing | TokenError::Wrong) => Self::Needed,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Needed => "needed",
            Self::LockedOut => "locked_out",
            Self::Good => "good",
        }
    }
}

/// The middleware around all paths: refuses requests under other names, and those of other pages.
pub(crate) async fn check_request(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let checked = check(request.headers(), &shared.hosts);
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_api {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn check(headers: &HeaderMap, hosts: &[String]) -> Result<(), ApiError> {
    let mut named = headers.get_all(header::HOST).iter();
    let host = named.next().and_then(|host| host.to_str().ok()).filter(|host| is_allowed(host, hosts));
    let (Some(host), None) = (host, named.next()) else {
        let why = "the page answers under an IP address and localhost: list other names in admin.hosts";
        return Err(HOST_NOT_ALLOWED.because(why));
    };
    let is_own = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or_default();
        let origin = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    };
    if !headers.get_all(header::ORIGIN).iter().all(is_own) {
        return Err(ORIGIN_NOT_ALLOWED.because("pages from another origin may not call this"));
    }
    Ok(())
}

/// Whether a `Host` is an IP address, localhost, or one of `hosts`, with any port.
fn is_allowed(host: &str, hosts: &[String]) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        // A colon within an address of IPv6 is before no port.
        Some((name, port)) if is_port(port) && (!name.starts_with('[') || name.ends_with(']')) => name,
        _ => host,
    };
    let ip = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    ip.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
}

/// The middleware around what is about single clients, and around actions: requires the token, and limits how many
/// requests run at once.
pub(crate) async fn require_token(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(token) = &shared.token else {
        let why = "no token is set here: set admin.token, GATEWAYWORKER_ADMIN_TOKEN or admin.token_file, and start again";
        return Err(NO_TOKEN.because(why));
    };
    token.check(request.headers(), peer(&request)).map_err(|error| {
        error.into_api_error(
            "send the page's token as `Authorization: Bearer <token>`",
            "the token is wrong: it must be the admin.token of what serves this page",
        )
    })?;
    let Ok(_permit) = shared.request_permits.try_acquire() else {
        return Err(BUSY.because("too many requests are running: try again in a moment").retry_after(1));
    };
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &[(&str, &str)]) -> Result<(), u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap());
        }
        let hosts = ["Admin.example.com".to_owned()];
        check(&map, &hosts).map_err(|error| error.into_response().status().as_u16())
    }

    #[test]
    fn a_host_is_an_ip_address_or_localhost_or_listed() {
        for good in [
            "127.0.0.1:9600",
            "127.0.0.1",
            "[::1]:9600",
            "[::1]",
            "10.0.0.1:9600",
            "localhost:9600",
            "LOCALHOST",
            "admin.example.com",
            "admin.example.com:443",
        ] {
            assert_eq!(checked(&[("host", good)]), Ok(()), "{good}");
        }
        for bad in [
            "evil.example.com",
            "evil.example.com:9600",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "",
            "127.0.0.1:x",
            "[::1",
            "x.admin.example.com",
            "user@127.0.0.1",
            "127.0.0.1:9600:9600",
        ] {
            assert_eq!(checked(&[("host", bad)]), Err(403), "{bad}");
        }
        assert_eq!(checked(&[]), Err(403));
        assert_eq!(checked(&[("host", "127.0.0.1"), ("host", "127.0.0.1")]), Err(403));
    }

    #[test]
    fn an_origin_is_the_pages_own() {
        let from = |origin: &str| checked(&[("host", "localhost:9600"), ("origin", origin)]);
        assert_eq!(from("http://localhost:9600"), Ok(()));
        // A proxy has ended the TLS.
        assert_eq!(from("https://localhost:9600"), Ok(()));
        for foreign in [
            "http://localhost",
            "http://localhost:9601",
            "http://127.0.0.1:9600",
            "null",
            "",
            "https://evil.com",
            "file://localhost:9600",
            "http://localhost:9600.evil.com",
        ] {
            assert_eq!(from(foreign), Err(403), "{foreign}");
        }
        let own = ("origin", "http://localhost:9600");
        assert_eq!(checked(&[("host", "localhost:9600"), own, ("origin", "https://evil.com")]), Err(403));
    }
}
