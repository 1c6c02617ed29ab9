//! The upgrade, RFC 6455 section 4: a bounded request in, an HTTP answer out.

use std::io;
use std::net::SocketAddr;

use gatewayworker_protocol::php::{self, Array, Value, query};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};

use crate::socket::Socket;

/// A request that may be upgraded, and its answer, not yet sent: the gateway
/// admits a client before it says yes.
#[derive(Debug)]
pub(crate) struct Upgrade {
    request: Request,
    /// The 101, as bytes.
    pub(crate) response: Vec<u8>,
    /// What the client sent behind its request.
    pub(crate) rest: Vec<u8>,
}

/// A request that is not upgraded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Answer with this status and sentence.
    #[error("{status}: {reason}")]
    Http { status: &'static str, reason: String },
}

impl Refusal {
    pub(crate) fn http(status: &'static str, reason: impl Into<String>) -> Self {
        Self::Http { status, reason: reason.into() }
    }

    /// The HTTP answer, if there is anybody to read one.
    pub(crate) fn response(&self) -> Option<String> {
        let Self::Http { status, reason } = self else { return None };
        let upgrade = if status.starts_with("426") {
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        } else {
            ""
        };
        Some(format!(
            "HTTP/1.1 {status}\r\n{upgrade}Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\n\r\n{reason}\n",
            reason.len() + 1
        ))
    }
}

/// Reads a request of at most `limit` bytes and checks that it can be upgraded.
///
/// Not cancel safe; the caller gives it a time limit and drops the stream.
pub(crate) async fn read_request(socket: &mut Socket, limit: usize) -> Result<Upgrade, Refusal> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let parsed = Request::try_parse(&bytes).map_err(refusal)?;
        if let Some((head, request)) = parsed
            && head <= limit
        {
            let response = answer(&request)?;
            return Ok(Upgrade { request, response, rest: bytes.split_off(head) });
        }
        if bytes.len() >= limit {
            return Err(Refusal::http(
                "431 Request Header Fields Too Large",
                "the request's headers are too long",
            ));
        }
    }
}

fn answer(request: &Request) -> Result<Vec<u8>, Refusal> {
    let response = create_response(request).map_err(refusal)?;
    let mut bytes = Vec::with_capacity(160);
    write_response(&mut bytes, &response).map_err(refusal)?;
    Ok(bytes)
}

/// What HTTP says to a request that is not the beginning of a WebSocket.
fn refusal(error: tungstenite::Error) -> Refusal {
    let upgrade = "this is a WebSocket server (RFC 6455, version 13)";
    match error {
        tungstenite::Error::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingSecWebSocketVersionHeader,
        ) => Refusal::http("426 Upgrade Required", upgrade),
        tungstenite::Error::Protocol(ProtocolError::WrongHttpMethod) => {
            Refusal::http("405 Method Not Allowed", upgrade)
        }
        error => Refusal::http("400 Bad Request", error.to_string()),
    }
}

impl Upgrade {
    /// The body of ON_WEBSOCKET_CONNECT: what PHP's worker finds in `$data`, laid
    /// out as the original's `Gateway::onWebsocketConnect` does.
    pub(crate) fn to_php(&self, client: SocketAddr, server_port: u16) -> Vec<u8> {
        let uri = self.request.uri();
        let query_string = uri.query().unwrap_or_default();
        let headers = self.request.headers();
        let joined = |name: &str| {
            let mut values = headers.get_all(name).iter().map(|v| v.as_bytes());
            let first = values.next().map(<[u8]>::to_vec);
            first.map(|first| values.fold(first, |all, next| [&all, &b","[..], next].concat()))
        };
        // As the frame's address has it: no IPv4 in IPv6's clothes.
        let ip = match client.ip().to_canonical() {
            std::net::IpAddr::V6(v6) => format!("[{v6}]"),
            v4 => v4.to_string(),
        };

        let mut server = Array::with_capacity(9 + headers.keys_len());
        server.insert("QUERY_STRING", query_string);
        server.insert("REQUEST_METHOD", self.request.method().as_str());
        server.insert("REQUEST_URI", uri.to_string());
        server.insert("SERVER_PROTOCOL", "HTTP/1.1");
        server.insert("SERVER_NAME", joined("host").map_or(Value::Null, string));
        server.insert("CONTENT_TYPE", joined("content-type").map_or(Value::Null, string));
        server.insert("REMOTE_ADDR", ip);
        server.insert("REMOTE_PORT", i64::from(client.port()));
        server.insert("SERVER_PORT", i64::from(server_port));
        for name in headers.keys() {
            let key = format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_"));
            server.insert(key.as_str(), joined(name.as_str()).map_or(Value::Null, string));
        }

        let mut data = Array::with_capacity(3);
        data.insert("get", query::parse_str(query_string.as_bytes()));
        data.insert("server", server);
        data.insert("cookie", query::parse_cookies(&joined("cookie").unwrap_or_default()));
        php::serialize(&data.into())
    }
}

fn string(bytes: Vec<u8>) -> Value {
    Value::String(bytes.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const UPGRADE: &str = "GET /?auth=abc&room=9 HTTP/1.1\r\nHost: 127.0.0.1:8289\r\nUpgrade: websocket\r\n\
         Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Cookie: sid=s1\r\nX-Twice: a\r\nX-Twice: b\r\n\r\n";

    async fn read(request: &str, limit: usize) -> Result<Upgrade, Refusal> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        read_request(&mut Socket::Plain(server), limit).await
    }

    #[tokio::test]
    async fn an_upgrade_is_answered_with_the_accept_key_of_the_rfc() {
        let upgrade = read(&format!("{UPGRADE}rest"), 8192).await.unwrap();
        let response = String::from_utf8(upgrade.response).unwrap().to_lowercase();
        assert!(response.starts_with("http/1.1 101 "), "{response}");
        assert!(response.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{response}");
        assert_eq!(upgrade.rest, b"rest");
    }

    #[tokio::test]
    async fn the_worker_sees_what_php_would_show_it() {
        let upgrade = read(UPGRADE, 8192).await.unwrap();
        let data = php::unserialize(&upgrade.to_php("203.0.113.7:54321".parse().unwrap(), 8289)).unwrap();
        let data = data.as_array().unwrap();
        let part = |name: &str| data.get(name).and_then(Value::as_array).unwrap().clone();
        assert_eq!(part("get").get("room").and_then(Value::as_str), Some("9"));
        assert_eq!(part("cookie").get("sid").and_then(Value::as_str), Some("s1"));
        let server = part("server");
        for (key, value) in [
            ("QUERY_STRING", "auth=abc&room=9"),
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/?auth=abc&room=9"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_NAME", "127.0.0.1:8289"),
            ("REMOTE_ADDR", "203.0.113.7"),
            ("HTTP_HOST", "127.0.0.1:8289"),
            ("HTTP_SEC_WEBSOCKET_VERSION", "13"),
            ("HTTP_X_TWICE", "a,b"),
        ] {
            assert_eq!(server.get(key).and_then(Value::as_str), Some(value), "{key}");
        }
        assert_eq!(server.get("REMOTE_PORT").and_then(Value::as_int), Some(54321));
        assert_eq!(server.get("CONTENT_TYPE"), Some(&Value::Null));
    }

    #[tokio::test]
    async fn an_ipv4_client_at_an_ipv6_door_has_its_ipv4_address() {
        let upgrade = read(UPGRADE, 8192).await.unwrap();
        for (client, shown) in
            [("[::ffff:203.0.113.7]:1", "203.0.113.7"), ("[2001:db8::1]:1", "[2001:db8::1]")]
        {
            let data = php::unserialize(&upgrade.to_php(client.parse().unwrap(), 8289)).unwrap();
            let server = data.as_array().unwrap().get("server").unwrap().as_array().unwrap();
            assert_eq!(server.get("REMOTE_ADDR").and_then(Value::as_str), Some(shown));
        }
    }

    #[tokio::test]
    async fn what_is_no_upgrade_gets_an_http_answer() {
        let plain = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let post = UPGRADE.replace("GET", "POST");
        let no_key = UPGRADE.replace("Sec-WebSocket-Key", "X-Key");
        for (request, status) in
            [(plain, "426"), (&post, "405"), (&no_key, "400"), ("\0\0\0\0\r\n\r\n", "400")]
        {
            let answer = read(request, 8192).await.unwrap_err().response().unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
    }

    #[tokio::test]
    async fn headers_without_an_end_are_refused_at_the_limit() {
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(9000));
        // Nor does it help to have ended by the time the limit is looked at.
        let whole = UPGRADE.replace("X-Twice: a", &format!("X-Twice: {}", "a".repeat(700)));
        for (request, limit) in [(&long, 8192), (&whole, 800)] {
            let answer = read(request, limit).await.unwrap_err().response().unwrap();
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
    }

    #[tokio::test]
    async fn half_a_request_gets_no_answer() {
        assert!(read("GET / HT", 8192).await.unwrap_err().response().is_none());
    }
}
