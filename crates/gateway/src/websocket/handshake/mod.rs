//! The WebSocket upgrade, RFC 6455 section 4: reads a bounded request and makes its HTTP answer.
//!
//! It does not write the answer: `client` calls [`read_request`], and sends the 101 once a worker is
//! there. A request is parsed in the buffer it was read into, and converted at once into the
//! worker's form, so that no client owns a tree of headers.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;

use gatewayworker_protocol::TraceContext;
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::access::rejections::RejectReason;
use crate::core::websocket::compression::Compression;
use crate::listener::Listener;
use crate::socket::Socket;
use crate::websocket::health_check::HealthCheck;
use crate::websocket::rejection::Rejection;
use crate::websocket::request::{Endpoints, Request};
use crate::websocket::token;

pub(crate) mod extensions;
#[cfg(test)]
mod tests;

/// The most header lines of a request.
const MAX_HEADERS: usize = 124;

/// A request that may be upgraded, with its answer, which has not been sent yet.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// The 101.
    pub(crate) response: Vec<u8>,
    /// The body of ON_WEBSOCKET_CONNECT.
    pub(crate) handshake: Vec<u8>,
    /// The bytes that the client sent behind its request.
    pub(crate) rest: Vec<u8>,
    /// What is agreed on about compression.
    pub(crate) compression: Compression,
    /// The client's token, which nobody has checked yet, and which is not in `handshake`.
    pub(crate) token: Option<Vec<u8>>,
    /// The client's own span, where the listener accepts one.
    pub(crate) trace_parent: Option<TraceContext>,
    /// The answer names `gw.1`.
    pub(crate) is_resumable: bool,
}

/// Reads the request of a connection to `listener`, and checks that it can be upgraded.
/// `client_address` is the peer; a trusted proxy's header replaces it with the client's address.
///
/// Not cancel safe; the caller gives it a time limit and drops the stream.
pub(crate) async fn read_request(
    socket: &mut Socket,
    listener: &Listener,
    client_address: &mut SocketAddr,
) -> Result<Upgrade, Rejection> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some((head, upgrade)) = upgrade(&bytes, listener, client_address)? {
            return Ok(Upgrade { rest: bytes.split_off(head), ..upgrade });
        }
        if bytes.len() >= listener.max_header_bytes {
            return Err(too_large());
        }
    }
}

/// Parses the request at the front of `bytes`: returns its length and its upgrade, or `None` where
/// it is not complete or over the limit.
fn upgrade(
    bytes: &[u8],
    listener: &Listener,
    client_address: &mut SocketAddr,
) -> Result<Option<(usize, Upgrade)>, Rejection> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let head = match parsed.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(head)) if head <= listener.max_header_bytes => head,
        Ok(_) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
        Err(error) => return Err(Rejection::http("400 Bad Request", error.to_string())),
    };
    let mut request = Request::of(&parsed);
    *client_address = listener.access.client(*client_address, |name| request.header(name));
    let token = listener.tokens.as_ref().and_then(|places| places.take(&mut request));
    match accept(&request, token, listener, *client_address) {
        Ok(upgrade) => Ok(Some((head, upgrade))),
        Err(rejection) if request.method == "HEAD" => Err(rejection.for_head()),
        Err(rejection) => Err(rejection),
    }
}

/// Checks a request against RFC 6455 section 4.2.1 and the listener's rules.
fn accept(
    request: &Request<'_>,
    token: Option<Vec<u8>>,
    listener: &Listener,
    client: SocketAddr,
) -> Result<Upgrade, Rejection> {
    let Listener { access, policy, .. } = listener;
    request.check().map_err(|error| Rejection::http("400 Bad Request", error))?;
    if let Some(check) = HealthCheck::of(request, listener) {
        return Err(Rejection::HealthCheck(check));
    }
    let path = request.path();
    access.check_path(path).map_err(|reason| Rejection::from(reason).with_value(path.as_bytes()))?;
    let offered = request.header("Sec-WebSocket-Protocol");
    let shows_token =
        || listener.tokens.is_some() && request.lists("Sec-WebSocket-Protocol", token::SUBPROTOCOL);
    // A page is only connected where one of its subprotocols is answered.
    let for_token = || shows_token().then_some(token::SUBPROTOCOL);
    let subprotocol = access.subprotocol(offered).or_else(for_token);
    let offers = request.header("Sec-WebSocket-Extensions");
    let (compression, extensions) = extensions::negotiate(offers, policy.compression.is_some());
    let resumable = policy.resume.and_then(|_| access.resumable_subprotocol(offered));
    let response = answer(request, resumable.as_deref().or(subprotocol), extensions.as_deref())?;
    let origin = request.header("Origin");
    access
        .check_origin(origin)
        .map_err(|reason| Rejection::from(reason).with_value(origin.unwrap_or_default()))?;
    Ok(Upgrade {
        response,
        handshake: request.to_php(Endpoints { client, server_port: policy.port }),
        rest: Vec::new(),
        token,
        compression,
        trace_parent: match cfg!(feature = "otel") && listener.accepts_trace_parent {
            true => request.header("traceparent").and_then(TraceContext::from_traceparent),
            false => None,
        },
        is_resumable: resumable.is_some(),
    })
}

/// Returns the 101.
///
/// # Errors
/// When the request is no handshake of version 13.
fn answer(
    request: &Request<'_>,
    subprotocol: Option<&str>,
    extensions: Option<&str>,
) -> Result<Vec<u8>, Rejection> {
    let wanted = "this is a WebSocket server (RFC 6455, version 13)";
    if !["GET", "HEAD"].contains(&request.method) {
        return Err(Rejection::http("405 Method Not Allowed", wanted));
    }
    if request.method != "GET"
        || !request.asks_for_websocket()
        || request.header("Sec-WebSocket-Version") != Some(b"13")
    {
        return Err(Rejection::http("426 Upgrade Required", wanted));
    }
    if request.has_content() {
        return Err(Rejection::http("400 Bad Request", "a handshake has no content"));
    }
    let Some(key) = request.header("Sec-WebSocket-Key").filter(|key| is_key(key)) else {
        return Err(Rejection::http("400 Bad Request", "Sec-WebSocket-Key has to be 16 bytes in base64"));
    };
    let status = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    let accept = derive_accept_key(key);
    let mut answer = [status, "Sec-WebSocket-Accept: ", &accept, "\r\n"].concat();
    if let Some(name) = subprotocol {
        answer.extend(["Sec-WebSocket-Protocol: ", name, "\r\n"]);
    }
    if let Some(value) = extensions {
        answer.extend(["Sec-WebSocket-Extensions: ", value, "\r\n"]);
    }
    answer.push_str("\r\n");
    Ok(answer.into_bytes())
}

fn too_large() -> Rejection {
    RejectReason::TooLong.into()
}

/// Returns whether this is the base64 of 16 bytes. The last of its 22 digits then carries two bits
/// only.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    match key {
        [digits @ .., b'A' | b'Q' | b'g' | b'w', b'=', b'='] => {
            digits.len() == 21 && digits.iter().all(is_digit)
        }
        _ => false,
    }
}
