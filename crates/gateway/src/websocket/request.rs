//! An HTTP request, borrowed from the bytes it was read into.
//!
//! It gives its method, path and headers, and writes the body of ON_WEBSOCKET_CONNECT. It decides
//! nothing about the answer: `handshake` does.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use gatewayworker_protocol::php::{ArrayWriter, query};
use gatewayworker_protocol::request_target;

/// The endpoints of a connection, as workers are told them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endpoints {
    pub(super) client: SocketAddr,
    pub(super) server_port: u16,
}

/// A request.
pub(super) struct Request<'r> {
    pub(super) method: &'r str,
    /// The request target as received: a path and a query, or a URL.
    target: Cow<'r, str>,
    is_http_1_1: bool,
    /// The number of `Host` lines.
    hosts: usize,
    fields: Vec<Field<'r>>,
}

/// A header field. The values of a repeated field are joined: of `Cookie` with a semicolon
/// (RFC 9113 section 8.2.3), of any other with a comma (RFC 9110 section 5.3), as in Workerman's
/// `Request::header()`.
struct Field<'r> {
    name: &'r str,
    value: Cow<'r, [u8]>,
}

impl<'r> Request<'r> {
    pub(super) fn of(parsed: &httparse::Request<'_, 'r>) -> Self {
        let mut fields: Vec<Field<'_>> = Vec::with_capacity(parsed.headers.len());
        let mut hosts = 0;
        for &httparse::Header { name, value } in &*parsed.headers {
            hosts += usize::from(name.eq_ignore_ascii_case("Host"));
            match fields.iter_mut().find(|field| field.name.eq_ignore_ascii_case(name)) {
                Some(known) => {
                    let separator: &[u8] = if name.eq_ignore_ascii_case("Cookie") { b"; " } else { b"," };
                    let joined = known.value.to_mut();
                    joined.extend_from_slice(separator);
                    joined.extend_from_slice(value);
                }
                None => fields.push(Field { name, value: value.into() }),
            }
        }
        Self {
            method: parsed.method.unwrap_or_default(),
            target: parsed.path.unwrap_or_default().into(),
            is_http_1_1: parsed.version == Some(1),
            hosts,
            fields,
        }
    }

    /// Checks the rules whose breach a server has to answer with 400, whatever the request asks
    /// for.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        // RFC 9112 section 3.2.
        match (self.hosts, self.header("Host")) {
            (0, _) if !self.is_http_1_1 => {}
            (1, Some(host)) if host.iter().all(|byte| is_in_host(*byte)) => {}
            (0, _) => return Err("a request has to have a Host header"),
            (1, _) => return Err("the Host header is not a host"),
            _ => return Err("a request has one Host header"),
        }
        Ok(())
    }

    /// Returns whether a body follows the request. Nobody reads one here, so its sender would wait
    /// for ever.
    pub(super) fn has_content(&self) -> bool {
        let has_length = self.header("Content-Length").is_some_and(|length| {
            let mut lengths = length.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            lengths.any(|length| length.is_empty() || length.iter().any(|digit| *digit != b'0'))
        });
        has_length || self.header("Transfer-Encoding").is_some()
    }

    /// Returns whether it asks for an upgrade to WebSocket. HTTP/1.0 has no upgrade: RFC 9110
    /// section 7.8.
    pub(super) fn asks_for_websocket(&self) -> bool {
        self.is_http_1_1 && self.lists("Connection", "Upgrade") && self.lists("Upgrade", "websocket")
    }

    /// Returns the value of a header; its name in any case.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        let field = self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| &*field.value)
    }

    /// Returns whether a header that is a list has this element.
    pub(super) fn lists(&self, name: &str, element: &str) -> bool {
        let mut elements = self.header(name).unwrap_or_default().split(|byte| b" \t,".contains(byte));
        elements.any(|listed| listed.eq_ignore_ascii_case(element.as_bytes()))
    }

    pub(super) fn path(&self) -> &str {
        request_target::path(&self.target)
    }

    /// Returns the query, without `?`.
    pub(super) fn query(&self) -> &str {
        request_target::query(&self.target)
    }

    /// Puts another query into the request; an empty one takes the `?` away.
    pub(super) fn set_query(&mut self, query: &str) {
        let old = self.query();
        let from = old.as_ptr() as usize - self.target.as_ptr() as usize;
        let (before, after) = (&self.target[..from], &self.target[from + old.len()..]);
        let before = if query.is_empty() { before.strip_suffix('?').unwrap_or(before) } else { before };
        self.target = [before, query, after].concat().into();
    }

    /// Puts another value into a header that the request has; `None` takes the header away.
    pub(super) fn set_header(&mut self, name: &str, value: Option<Vec<u8>>) {
        let Some(at) = self.fields.iter().position(|field| field.name.eq_ignore_ascii_case(name)) else {
            return;
        };
        match value {
            Some(value) => self.fields[at].value = value.into(),
            None => drop(self.fields.remove(at)),
        }
    }

    /// Returns the body of ON_WEBSOCKET_CONNECT, `$data` of a PHP worker, in the order of the
    /// original's `Gateway::onWebsocketConnect`.
    pub(super) fn to_php(&self, endpoints: Endpoints) -> Vec<u8> {
        // An IPv4-mapped IPv6 address is IPv4 in the frame's address, and so it is here.
        let ip = match endpoints.client.ip().to_canonical() {
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
        server.string("REQUEST_URI", &*self.target);
        server.string("SERVER_PROTOCOL", "HTTP/1.1");
        server.string_or_null("SERVER_NAME", self.header("Host"));
        server.string_or_null("CONTENT_TYPE", self.header("Content-Type"));
        server.string("REMOTE_ADDR", ip);
        server.int("REMOTE_PORT", endpoints.client.port().into());
        server.int("SERVER_PORT", endpoints.server_port.into());
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

    /// Returns the fields of `$_SERVER`. Of two names with the same key (`X-A` and `X_A`) the later
    /// field is kept, at the earlier one's position.
    fn server_keys(&self) -> Vec<&Field<'r>> {
        let mut keys: Vec<&Field<'_>> = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            match keys.iter_mut().find(|known| have_same_key(known.name, field.name)) {
                Some(known) => *known = field,
                None => keys.push(field),
            }
        }
        keys
    }
}

/// Returns a byte of a header's name as it stands in the key of `$_SERVER`.
fn in_key(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }
}

/// Returns whether a byte may stand in a Host header: RFC 3986 section 3.2.
fn is_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(&byte)
}

fn have_same_key(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().map(in_key).eq(b.bytes().map(in_key))
}
