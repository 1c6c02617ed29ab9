//! Takes a client's token out of its request, wherever the settings let it be: what is left goes to workers and logs.
//!
//! Nothing here says what a token is worth: `identity` does. Where a request has several, the first of header,
//! subprotocol, query and cookie counts, and all of them are taken out.

use gatewayworker_auth::{Config, TokenPlace};
use gatewayworker_protocol::php::query::url_decode;

use super::request::Request;

/// The subprotocol that stands before a token in the list of subprotocols, and that is answered.
pub(super) const SUBPROTOCOL: &str = "gw.token";

/// The variable of the query that is a token.
const VARIABLE: &str = "token";

/// Where the clients of a listener show their tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenPlaces {
    header: bool,
    subprotocol: bool,
    query: bool,
    /// The name of a cookie; empty for none.
    cookie: String,
    /// A client without a token is refused.
    pub(crate) is_required: bool,
}

impl TokenPlaces {
    pub(crate) fn of(config: &Config) -> Self {
        let has = |place| config.token_in.contains(&place);
        Self {
            header: has(TokenPlace::Header),
            subprotocol: has(TokenPlace::Subprotocol),
            query: has(TokenPlace::Query),
            cookie: config.cookie.clone(),
            is_required: config.required,
        }
    }

    /// Takes the tokens out of a request, and returns the one that counts.
    pub(super) fn take(&self, request: &mut Request<'_>) -> Option<Vec<u8>> {
        let found = [
            self.header.then(|| take_bearer(request)).flatten(),
            self.subprotocol.then(|| take_subprotocol(request)).flatten(),
            self.query.then(|| take_variable(request)).flatten(),
            (!self.cookie.is_empty()).then(|| take_cookie(request, &self.cookie)).flatten(),
        ];
        found.into_iter().flatten().find(|token| !token.is_empty())
    }
}

/// Takes the header `Authorization: Bearer TOKEN`; another scheme is the application's own.
fn take_bearer(request: &mut Request<'_>) -> Option<Vec<u8>> {
    let value = request.header("Authorization")?;
    let (scheme, token) = value.split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return None;
    }
    let token = token.trim_ascii().to_vec();
    request.set_header("Authorization", None);
    Some(token)
}

/// Takes the names behind each `gw.token` out of the list of subprotocols; the first one counts.
fn take_subprotocol(request: &mut Request<'_>) -> Option<Vec<u8>> {
    let mut token = None;
    let mut rest: Vec<&[u8]> = Vec::new();
    let list = request.header("Sec-WebSocket-Protocol")?;
    let mut names = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    while let Some(name) = names.next() {
        rest.push(name);
        if name == SUBPROTOCOL.as_bytes()
            && let Some(behind) = names.next()
        {
            token.get_or_insert_with(|| behind.to_vec());
        }
    }
    let token = token?;
    let rest = rest.join(&b", "[..]);
    request.set_header("Sec-WebSocket-Protocol", Some(rest));
    Some(token)
}

/// Takes all variables `token` out of the query; the last one counts, as in PHP.
fn take_variable(request: &mut Request<'_>) -> Option<Vec<u8>> {
    let mut token = None;
    let mut rest: Vec<&str> = Vec::new();
    for pair in request.query().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // PHP takes spaces before a name away.
        if url_decode(name.as_bytes()).trim_ascii_start() == VARIABLE.as_bytes() {
            token = Some(url_decode(value.as_bytes()).into_owned());
        } else {
            rest.push(pair);
        }
    }
    let token = token?;
    let rest = rest.join("&");
    request.set_query(&rest);
    Some(token)
}

/// Takes all cookies of a name; the last one counts, as in Workerman.
fn take_cookie(request: &mut Request<'_>, name: &str) -> Option<Vec<u8>> {
    let mut token = None;
    let mut rest: Vec<&[u8]> = Vec::new();
    for part in request.header("Cookie")?.split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
        let equals = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
        if part[..equals].trim_ascii() == name.as_bytes() {
            token = part.get(equals + 1..).map(<[u8]>::to_vec);
        } else {
            rest.push(part);
        }
    }
    let token = token?;
    let rest = rest.join(&b"; "[..]);
    request.set_header("Cookie", (!rest.is_empty()).then_some(rest));
    Some(token)
}
