//! The upgrade, RFC 6455 section 4: a bounded request in, an HTTP answer out.
//!
//! A request is looked at where it was read to, and what is kept of it written out at
//! once: no client has a tree of its headers.

use std::borrow::Cow;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};

use gatewayworker_protocol::php::{ArrayWriter, query};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::door::Door;
use crate::entry::refused::Refused;
use crate::socket::Socket;

/// Header lines that a request may have.
const MAX_HEADERS: usize = 124;

/// A request that may be upgraded, and its answer, not yet sent: the gateway
/// admits a client before it says yes.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// The 101, as bytes.
    pub(crate) response: Vec<u8>,
    /// The body of ON_WEBSOCKET_CONNECT.
    pub(crate) handshake: Vec<u8>,
    /// What the client sent behind its request.
    pub(crate) rest: Vec<u8>,
}

/// Where a request came from and to, as workers are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    pub(crate) server_port: u16,
}

/// A request that is not upgraded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Answer with this status and sentence.
    #[error("{status}: {reason}")]
    Http { why: Refused, status: &'static str, reason: String },
}

impl From<Refused> for Refusal {
    fn from(why: Refused) -> Self {
        Self::of(why, why.sentence())
    }
}

impl Refusal {
    pub(crate) fn http(status: &'static str, reason: impl Into<String>) -> Self {
        Self::Http { why: Refused::NoHandshake, status, reason: reason.into() }
    }

    pub(crate) fn of(why: Refused, reason: impl Into<String>) -> Self {
        Self::Http { why, status: why.status(), reason: reason.into() }
    }

    /// What it counts as.
    pub(crate) fn why(&self) -> Refused {
        match self {
            Self::Io(_) => Refused::Left,
            Self::Http { why, .. } => *why,
        }
    }

    /// The HTTP answer, if there is anybody to read one.
    pub(crate) fn response(&self) -> Option<String> {
        let Self::Http { status, reason, .. } = self else { return None };
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

/// Reads the request of one who comes to `door`, and checks that it can be upgraded.
/// `from` is the peer, and becomes the client that it brings.
///
/// Not cancel safe; the caller gives it a time limit and drops the stream.
pub(crate) async fn read_request(
    socket: &mut Socket,
    door: &Door,
    from: &mut SocketAddr,
) -> Result<Upgrade, Refusal> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some((head, upgrade)) = upgrade(&bytes, door, from)? {
            return Ok(Upgrade { rest: bytes.split_off(head), ..upgrade });
        }
        if bytes.len() >= door.max_header_bytes {
            return Err(too_large());
        }
    }
}

/// The length of the request that `bytes` begin with, and what comes of it; nothing
/// where it is not whole, or longer than it may be.
fn upgrade(bytes: &[u8], door: &Door, from: &mut SocketAddr) -> Result<Option<(usize, Upgrade)>, Refusal> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let head = match parsed.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(head)) if head <= door.max_header_bytes => head,
        Ok(_) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
        Err(error) => return Err(Refusal::http("400 Bad Request", error.to_string())),
    };
    let request = Request::of(&parsed);
    let entry = &door.entry;
    *from = entry.client(*from, |name| request.header(name));
    entry.check_path(request.path())?;
    let subprotocol = entry.subprotocol(request.header("Sec-WebSocket-Protocol"));
    let response = request.answer(&parsed, subprotocol)?;
    entry.check_origin(request.header("Origin"))?;
    let handshake = request.to_php(Ends { client: *from, server_port: door.port });
    Ok(Some((head, Upgrade { response, handshake, rest: Vec::new() })))
}

fn too_large() -> Refusal {
    Refused::TooLong.into()
}

/// A request, borrowed from the bytes that it was read to.
struct Request<'r> {
    /// The path and the query, as they came.
    target: &'r str,
    fields: Vec<Field<'r>>,
}

/// A header field. One that was sent several times is here once, its values joined
/// with commas (RFC 9110 section 5.3), as in Workerman's `Request::header()`.
struct Field<'r> {
    name: &'r str,
    value: Cow<'r, [u8]>,
}

impl<'r> Request<'r> {
    fn of(parsed: &httparse::Request<'_, 'r>) -> Self {
        let mut fields: Vec<Field<'_>> = Vec::with_capacity(parsed.headers.len());
        for &httparse::Header { name, value } in &*parsed.headers {
            match fields.iter_mut().find(|field| field.name.eq_ignore_ascii_case(name)) {
                Some(known) => {
                    let joined = known.value.to_mut();
                    joined.push(b',');
                    joined.extend_from_slice(value);
                }
                None => fields.push(Field { name, value: value.into() }),
            }
        }
        Self { target: parsed.path.unwrap_or_default(), fields }
    }

    /// The value of a header, whatever the case of its name.
    fn header(&self, name: &str) -> Option<&[u8]> {
        let field = self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| &*field.value)
    }

    /// Whether a header that is a list has this element.
    fn lists(&self, name: &str, element: &str) -> bool {
        let mut elements = self.header(name).unwrap_or_default().split(|byte| b" \t,".contains(byte));
        elements.any(|listed| listed.eq_ignore_ascii_case(element.as_bytes()))
    }

    /// What stands before the `?`.
    fn path(&self) -> &'r str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }

    /// What stands behind the `?`.
    fn query(&self) -> &'r str {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query.split_once('#').map_or(query, |(query, _)| query)
    }

    /// The 101, if all is there that RFC 6455 section 4.2.1 asks for.
    fn answer(
        &self,
        parsed: &httparse::Request<'_, '_>,
        subprotocol: Option<&str>,
    ) -> Result<Vec<u8>, Refusal> {
        let wanted = "this is a WebSocket server (RFC 6455, version 13)";
        if parsed.method != Some("GET") {
            return Err(Refusal::http("405 Method Not Allowed", wanted));
        }
        if parsed.version != Some(1) {
            return Err(Refusal::http("400 Bad Request", "HTTP/1.1 or later is needed"));
        }
        if !self.lists("Connection", "Upgrade")
            || !self.lists("Upgrade", "websocket")
            || self.header("Sec-WebSocket-Version") != Some(b"13")
        {
            return Err(Refusal::http("426 Upgrade Required", wanted));
        }
        let Some(key) = self.header("Sec-WebSocket-Key").filter(|key| is_key(key)) else {
            return Err(Refusal::http("400 Bad Request", "Sec-WebSocket-Key has to be 16 bytes in base64"));
        };
        let status = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        let accept = derive_accept_key(key);
        let mut answer = [status, "Sec-WebSocket-Accept: ", &accept, "\r\n"].concat();
        if let Some(name) = subprotocol {
            answer.extend(["Sec-WebSocket-Protocol: ", name, "\r\n"]);
        }
        answer.push_str("\r\n");
        Ok(answer.into_bytes())
    }

    /// The body of ON_WEBSOCKET_CONNECT: what PHP's worker finds in `$data`, laid
    /// out as the original's `Gateway::onWebsocketConnect` does.
    fn to_php(&self, ends: Ends) -> Vec<u8> {
        // As the frame's address has it: no IPv4 in IPv6's clothes.
        let ip = match ends.client.ip().to_canonical() {
            IpAddr::V6(v6) => format!("[{v6}]"),
            IpAddr::V4(v4) => v4.to_string(),
        };
        let headers = self.server_keys();

        let mut out = Vec::with_capacity(1024);
        let mut data = ArrayWriter::new(3, &mut out);
        data.value("get", &query::parse_str(self.query().as_bytes()).into());

        let mut server = data.array("server", 9 + headers.len());
        server.string("QUERY_STRING", self.query());
        server.string("REQUEST_METHOD", "GET");
        server.string("REQUEST_URI", self.target);
        server.string("SERVER_PROTOCOL", "HTTP/1.1");
        server.string_or_null("SERVER_NAME", self.header("Host"));
        server.string_or_null("CONTENT_TYPE", self.header("Content-Type"));
        server.string("REMOTE_ADDR", ip);
        server.int("REMOTE_PORT", ends.client.port().into());
        server.int("SERVER_PORT", ends.server_port.into());
        let mut key = Vec::with_capacity(64);
        for field in headers {
            key.clear();
            key.extend_from_slice(b"HTTP_");
            key.extend(field.name.bytes().map(in_key));
            server.string(&*key, &field.value);
        }
        server.end();

        let cookies = query::parse_cookies(self.header("Cookie").unwrap_or_default());
        data.value("cookie", &cookies.into());
        data.end();
        out
    }

    /// The fields with a key of their own in `$_SERVER`. Of two names with the same key
    /// (`X-A` and `X_A`) the later has it, in the earlier one's place.
    fn server_keys(&self) -> Vec<&Field<'r>> {
        let mut keys: Vec<&Field<'_>> = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            match keys.iter_mut().find(|known| have_one_key(known.name, field.name)) {
                Some(known) => *known = field,
                None => keys.push(field),
            }
        }
        keys
    }
}

/// A byte of a header's name, as it stands in its key in `$_SERVER`.
fn in_key(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }
}

fn have_one_key(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().map(in_key).eq(b.bytes().map(in_key))
}

/// Whether this is the base64 of 16 bytes: then the last of its 22 digits stands for
/// two bits only.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    match key {
        [digits @ .., b'A' | b'Q' | b'g' | b'w', b'=', b'='] => {
            digits.len() == 21 && digits.iter().all(is_digit)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker_protocol::php::{self, Array, Value};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Config;
    use crate::shard::testing;

    const UPGRADE: &str = "GET /?auth=abc&room=9 HTTP/1.1\r\nHost: 127.0.0.1:8289\r\nUpgrade: websocket\r\n\
         Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Cookie: sid=s1\r\nX-Twice: a\r\nX-Twice: b\r\n\r\n";

    async fn read(request: &str, limit: usize) -> Result<Upgrade, Refusal> {
        read_from("203.0.113.7:54321", request, limit).await
    }

    async fn read_from(peer: &str, request: &str, limit: usize) -> Result<Upgrade, Refusal> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let config = Config { max_header_bytes: limit, ..Config::default() };
        let door = testing::place_at("websocket://127.0.0.1:8289", &config);
        read_request(&mut Socket::Plain(server), &door, &mut peer.parse().unwrap()).await
    }

    /// `$_SERVER`, and the whole of what a worker is told.
    fn server_of(upgrade: &Upgrade) -> (Array, Array) {
        let data = php::unserialize(&upgrade.handshake).unwrap().into_array().unwrap();
        (data.get("server").and_then(Value::as_array).unwrap().clone(), data)
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
        let (server, data) = server_of(&upgrade);
        let part = |name: &str| data.get(name).and_then(Value::as_array).unwrap().clone();
        assert_eq!(part("get").get("room").and_then(Value::as_str), Some("9"));
        assert_eq!(part("cookie").get("sid").and_then(Value::as_str), Some("s1"));
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
    async fn what_the_worker_sees_is_what_serialize_makes_of_it() {
        let upgrade = read(UPGRADE, 8192).await.unwrap();
        let strings = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Array>();
        let mut server = strings(&[
            ("QUERY_STRING", "auth=abc&room=9"),
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/?auth=abc&room=9"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_NAME", "127.0.0.1:8289"),
        ]);
        server.insert("CONTENT_TYPE", Value::Null);
        server.insert("REMOTE_ADDR", "203.0.113.7");
        server.insert("REMOTE_PORT", 54321);
        server.insert("SERVER_PORT", 8289);
        for (key, value) in [
            ("HTTP_HOST", "127.0.0.1:8289"),
            ("HTTP_UPGRADE", "websocket"),
            ("HTTP_CONNECTION", "keep-alive, Upgrade"),
            ("HTTP_SEC_WEBSOCKET_VERSION", "13"),
            ("HTTP_SEC_WEBSOCKET_KEY", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("HTTP_COOKIE", "sid=s1"),
            ("HTTP_X_TWICE", "a,b"),
        ] {
            server.insert(key, value);
        }
        let mut data = Array::new();
        data.insert("get", strings(&[("auth", "abc"), ("room", "9")]));
        data.insert("server", server);
        data.insert("cookie", strings(&[("sid", "s1")]));
        let expected = php::serialize(&data.into());
        assert_eq!(String::from_utf8(upgrade.handshake).unwrap(), String::from_utf8(expected).unwrap());
    }

    #[tokio::test]
    async fn of_two_names_with_one_key_the_later_has_it() {
        let request =
            UPGRADE.replace("X-Twice: a\r\n", "X-Real_IP: no\r\nx-real-ip: yes\r\nX-REAL-IP: and\r\n");
        let (server, _) = server_of(&read(&request, 8192).await.unwrap());
        assert_eq!(server.get("HTTP_X_REAL_IP").and_then(Value::as_str), Some("yes,and"));
        assert_eq!(server.len(), 9 + 8);
    }

    #[tokio::test]
    async fn a_fragment_is_no_part_of_the_query() {
        let upgrade = read(&UPGRADE.replace("room=9", "room=9#top"), 8192).await.unwrap();
        let (server, _) = server_of(&upgrade);
        assert_eq!(server.get("QUERY_STRING").and_then(Value::as_str), Some("auth=abc&room=9"));
        assert_eq!(server.get("REQUEST_URI").and_then(Value::as_str), Some("/?auth=abc&room=9#top"));
    }

    #[tokio::test]
    async fn an_ipv4_client_at_an_ipv6_door_has_its_ipv4_address() {
        for (client, shown) in
            [("[::ffff:203.0.113.7]:1", "203.0.113.7"), ("[2001:db8::1]:1", "[2001:db8::1]")]
        {
            let (server, _) = server_of(&read_from(client, UPGRADE, 8192).await.unwrap());
            assert_eq!(server.get("REMOTE_ADDR").and_then(Value::as_str), Some(shown));
        }
    }

    #[tokio::test]
    async fn what_is_no_upgrade_gets_an_http_answer() {
        let plain = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let changed = |from: &str, to: &str| {
            assert!(UPGRADE.contains(from));
            UPGRADE.replace(from, to)
        };
        for (request, status) in [
            (plain, "426"),
            (&changed("Upgrade: websocket", "Upgrade: h2c"), "426"),
            (&changed("keep-alive, Upgrade", "keep-alive"), "426"),
            (&changed("Version: 13", "Version: 8"), "426"),
            (&changed("GET", "POST"), "405"),
            (&changed("HTTP/1.1", "HTTP/1.0"), "400"),
            (&changed("Sec-WebSocket-Key", "X-Key"), "400"),
            // Too short, too long, no base64, and of more than 16 bytes.
            (&changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="), "400"),
            (&changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZSBhbmQ="), "400"),
            (&changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j!Q=="), "400"),
            (&changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZR=="), "400"),
            ("\0\0\0\0\r\n\r\n", "400"),
            (&changed("Cookie", &"X: y\r\n".repeat(MAX_HEADERS)), "431"),
        ] {
            let answer = read(request, 8192).await.unwrap_err().response().unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
        }
    }

    #[tokio::test]
    async fn names_and_tokens_are_taken_in_any_case() {
        let request = UPGRADE.replace("Connection: keep-alive, Upgrade", "CONNECTION: UPGRADE,Keep-Alive");
        let request = request.replace("Upgrade: websocket", "upgrade: WebSocket").replace("Sec-", "sec-");
        assert!(read(&request, 8192).await.is_ok());
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
