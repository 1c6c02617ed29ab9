//! [`Handshake`]: a WebSocket client's request, as its gateway passes it on.
//!
//! `handler` reads it out of the event and lends it to `on_websocket_connect`.

use std::net::{IpAddr, SocketAddr};

use gatewayworker_protocol::php::{self, Array, Value};
use gatewayworker_protocol::request_target;

/// A WebSocket client's request: path, query, headers, cookies and address, as PHP's
/// `$_GET`, `$_COOKIE` and `$_SERVER` have them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Handshake {
    get: Array,
    server: Array,
    cookie: Array,
}

/// Why the handshake in a gateway's event cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// It is no serialized PHP value.
    #[error("the handshake in the gateway's event cannot be read: {0}")]
    Unreadable(#[from] php::Error),
    /// It is another PHP value than an array; this is its type.
    #[error("the handshake in the gateway's event is {0}, not an array")]
    NotAnArray(&'static str),
}

impl Handshake {
    /// Reads the body of ON_WEBSOCKET_CONNECT.
    ///
    /// # Errors
    /// When it is not a serialized PHP array.
    pub fn parse(body: &[u8]) -> Result<Self, HandshakeError> {
        let mut all = match php::unserialize(body)? {
            Value::Array(array) => array,
            other => return Err(HandshakeError::NotAnArray(other.type_name())),
        };
        let mut part = |name| all.remove(name).and_then(Value::into_array).unwrap_or_default();
        Ok(Self { get: part("get"), server: part("server"), cookie: part("cookie") })
    }

    /// Returns the path of the request without the query, `/chat`; also where a proxy has
    /// written the target as a URL, `http://example.com/chat`.
    pub fn path(&self) -> &str {
        request_target::path(self.text("REQUEST_URI").unwrap_or_default())
    }

    /// Returns the query's variables, as PHP's `$_GET` has them: `b[]=1` is an array.
    pub fn query(&self) -> &Array {
        &self.get
    }

    /// Returns a variable of the query; `None` where it is missing or not text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get.get(name)?.as_str()
    }

    /// Returns the cookies, not url-decoded.
    pub fn cookies(&self) -> &Array {
        &self.cookie
    }

    /// Returns a cookie; `None` where it is missing or not text.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookie.get(name)?.as_str()
    }

    /// Returns a header, whatever the case of its name; `None` where it is missing or not
    /// text. The values of a repeated header are joined with a comma, those of `Cookie` with
    /// `; `.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.text(&format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_")))
    }

    /// Returns all headers that are text, each with its name in lowercase: `user-agent`.
    pub fn headers(&self) -> impl Iterator<Item = (String, &str)> {
        self.server.iter().filter_map(|(key, value)| {
            let key = key.to_bytes();
            let name = std::str::from_utf8(&key).ok()?.strip_prefix("HTTP_")?;
            Some((name.to_ascii_lowercase().replace('_', "-"), value.as_str()?))
        })
    }

    /// Returns the value that PHP's `$_SERVER` has under `key`: `REQUEST_URI`,
    /// `HTTP_USER_AGENT`, …
    pub fn server(&self, key: &str) -> Option<&Value> {
        self.server.get(key)
    }

    /// Returns the client's address, IPv4 or IPv6. ([`Client::remote_addr`] is IPv4 only.)
    ///
    /// [`Client::remote_addr`]: crate::Client::remote_addr
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        let ip = self.text("REMOTE_ADDR")?;
        let ip: IpAddr = ip.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        let port = self.server("REMOTE_PORT")?.as_int()?.try_into().ok()?;
        Some(SocketAddr::new(ip, port))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.server.get(key)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn handshake(ip: &str) -> Handshake {
        let value = json!({
            "get": {"token": "t", "list": ["a"]},
            "server": {
                "REQUEST_URI": "/chat?token=t", "REMOTE_ADDR": ip, "REMOTE_PORT": 5000,
                "CONTENT_TYPE": null, "HTTP_USER_AGENT": "test/1",
            },
            "cookie": {"id": "7"},
        });
        Handshake::parse(&php::serialize(&Value::from_json(value))).unwrap()
    }

    #[test]
    fn has_the_parts_of_the_browsers_request() {
        let handshake = handshake("127.0.0.1");
        assert_eq!(handshake.path(), "/chat");
        assert_eq!(handshake.get("token"), Some("t"));
        assert_eq!(handshake.get("list"), None);
        assert!(handshake.query().contains_key("list"));
        assert_eq!(handshake.header("User-Agent"), Some("test/1"));
        assert_eq!(handshake.header("Origin"), None);
        assert_eq!(handshake.cookie("id"), Some("7"));
        assert_eq!(handshake.headers().collect::<Vec<_>>(), [("user-agent".to_owned(), "test/1")]);
        assert_eq!(handshake.server("CONTENT_TYPE"), Some(&Value::Null));
    }

    #[test]
    fn a_request_target_that_is_a_url_has_its_path() {
        let value = json!({"server": {"REQUEST_URI": "http://localhost:8289/chat?token=t"}});
        let handshake = Handshake::parse(&php::serialize(&Value::from_json(value))).unwrap();
        assert_eq!(handshake.path(), "/chat");
    }

    #[test]
    fn the_address_may_be_ipv6() {
        assert_eq!(handshake("127.0.0.1").remote_addr(), Some("127.0.0.1:5000".parse().unwrap()));
        assert_eq!(handshake("[::1]").remote_addr(), Some("[::1]:5000".parse().unwrap()));
        assert_eq!(handshake("somewhere").remote_addr(), None);
    }

    #[test]
    fn refuses_a_body_that_is_no_array() {
        assert!(matches!(Handshake::parse(b"i:1;"), Err(HandshakeError::NotAnArray("int"))));
        assert!(matches!(Handshake::parse(b"junk"), Err(HandshakeError::Unreadable(_))));
        assert_eq!(Handshake::parse(b"a:0:{}").unwrap(), Handshake::default());
        assert_eq!(Handshake::default().path(), "/");
    }
}
