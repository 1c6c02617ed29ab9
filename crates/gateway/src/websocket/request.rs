//! An HTTP request, borrowed from the bytes that it was read to.
//!
//! It knows what a request says: its method, target and headers, and the form in which a
//! worker is told of them. What follows from that is `handshake`'s business.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use gatewayworker_protocol::php::{ArrayWriter, query};
use gatewayworker_protocol::request_target;

/// Where a request came from and to, as workers are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) server_port: u16,
}

/// A request.
pub(super) struct Request<'r> {
    pub(super) method: &'r str,
    /// As it came: a path and a query, or a URL.
    target: &'r str,
    is_http_1_1: bool,
    /// How many `Host` lines there are.
    hosts: usize,
    fields: Vec<Field<'r>>,
}

/// A header field. One that was sent several times is here once, its values joined: those of
/// `Cookie` with a semicolon (RFC 9113 section 8.2.3), all others with a comma (RFC 9110
/// section 5.3), as in Workerman's `Request::header()`.
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
            target: parsed.path.unwrap_or_default(),
            is_http_1_1: parsed.version == Some(1),
            hosts,
            fields,
        }
    }

    /// Checks what a server has to refuse with 400, whatever is asked for.
    ///
    /// # Errors
    /// With a sentence that says what is wrong.
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

    /// Whether something follows the request. Nobody reads it here: a client that waits for
    /// that would wait for ever.
    pub(super) fn has_content(&self) -> bool {
        let has_length = self.header("Content-Length").is_some_and(|length| {
            let mut lengths = length.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            lengths.any(|length| length.is_empty() || length.iter().any(|digit| *digit != b'0'))
        });
        has_length || self.header("Transfer-Encoding").is_some()
    }

    /// Whether it asks to be upgraded to WebSocket. HTTP/1.0 knows no upgrade: RFC 9110
    /// section 7.8.
    pub(super) fn asks_for_websocket(&self) -> bool {
        self.is_http_1_1 && self.lists("Connection", "Upgrade") && self.lists("Upgrade", "websocket")
    }

    /// The value of a header, whatever the case of its name.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        let field = self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| &*field.value)
    }

    /// Whether a header that is a list has this element.
    fn lists(&self, name: &str, element: &str) -> bool {
        let mut elements = self.header(name).unwrap_or_default().split(|byte| b" \t,".contains(byte));
        elements.any(|listed| listed.eq_ignore_ascii_case(element.as_bytes()))
    }

    pub(super) fn path(&self) -> &'r str {
        request_target::path(self.target)
    }

    /// The body of ON_WEBSOCKET_CONNECT: what PHP's worker finds in `$data`, laid
    /// out as the original's `Gateway::onWebsocketConnect` does.
    pub(super) fn to_php(&self, ends: Ends) -> Vec<u8> {
        // As the frame's address has it: no IPv4 in IPv6's clothes.
        let ip = match ends.client.ip().to_canonical() {
            IpAddr::V6(v6) => format!("[{v6}]"),
            IpAddr::V4(v4) => v4.to_string(),
        };
        let headers = self.server_keys();

        let mut out = Vec::with_capacity(1024);
        let mut data = ArrayWriter::new(3, &mut out);
        data.value("get", &query::parse_str(request_target::query(self.target).as_bytes()).into());

        let mut server = data.array("server", 9 + headers.len());
        server.string("QUERY_STRING", request_target::query(self.target));
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

/// Whether a byte may stand in a Host header: RFC 3986 section 3.2.
fn is_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(&byte)
}

fn have_one_key(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().map(in_key).eq(b.bytes().map(in_key))
}
