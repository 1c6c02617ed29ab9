//! The URL of a listener: its protocol and its address. Parsing says what is wrong and what to write.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The URL of a listener: `websocket://127.0.0.1:8289`, or the same without the scheme.
///
/// `ws` and the original's `Websocket` are the same as `websocket`; `wss` is `websocket` over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenUrl {
    pub(super) scheme: String,
    pub(super) address: String,
    pub(super) is_tls: bool,
}

/// The scheme of WebSocket, with the original's name.
pub(crate) const WEBSOCKET: &str = "websocket";

impl ListenUrl {
    /// Returns the protocol: `websocket`, `text`, …
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Returns the `host:port` part.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the URL with the bound address in place of its own.
    #[must_use]
    pub fn bound_to(&self, address: SocketAddr) -> Self {
        Self { address: address.to_string(), ..self.clone() }
    }
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls && self.scheme == WEBSOCKET { "wss" } else { &self.scheme };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// The error of a text that is no listener's URL. Its sentence says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no listener: {why}")]
pub struct ListenUrlError {
    text: String,
    why: String,
}

/// The URL of a WebSocket listener at an address.
impl From<SocketAddr> for ListenUrl {
    fn from(address: SocketAddr) -> Self {
        Self { scheme: WEBSOCKET.to_owned(), address: address.to_string(), is_tls: false }
    }
}

impl FromStr for ListenUrl {
    type Err = ListenUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, address) = text.split_once("://").unwrap_or((WEBSOCKET, text));
        let scheme = scheme.to_ascii_lowercase();
        check_address(&scheme, address).map_err(|why| ListenUrlError { text: text.to_owned(), why })?;
        let is_tls = scheme == "wss";
        let scheme = if ["ws", "wss"].contains(&&*scheme) { WEBSOCKET.to_owned() } else { scheme };
        Ok(Self { scheme, address: address.to_owned(), is_tls })
    }
}

/// Checks that the part behind a listener's scheme is a host and a port.
///
/// # Errors
/// A sentence that says what is wrong and what to write.
fn check_address(scheme: &str, address: &str) -> Result<(), String> {
    const FORM: &str = "write SCHEME://HOST:PORT, like websocket://127.0.0.1:8289 or text://[::1]:8290";

    if let Some((authority, path)) = address.split_once(['/', '?', '#']) {
        return Err(match (check_address(scheme, authority), path) {
            (Err(why), _) => why,
            (Ok(()), "") => format!("write {scheme}://{authority}, without what follows the port"),
            (Ok(()), path) => format!(
                "write {scheme}://{authority}, and the path of WebSocket requests as path = \"/{path}\""
            ),
        });
    }
    let is_ipv6 = |host: &str| host.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok();
    let (host, port) = match address.rsplit_once(':') {
        _ if is_ipv6(address) && !address.starts_with('[') => {
            return Err(format!("an IPv6 address stands in brackets, before the port: {FORM}"));
        }
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ if scheme == WEBSOCKET && address.parse::<u16>().is_ok() => {
            return Err(format!(
                "it has no host: write 127.0.0.1:{address}, or 0.0.0.0:{address} for everybody"
            ));
        }
        _ if address.is_empty() => return Err(FORM.to_owned()),
        _ => return Err(format!("it has no port: {FORM}")),
    };
    match port.parse::<u64>() {
        _ if host.is_empty() => {
            Err(format!("it has no host: write {scheme}://127.0.0.1:{port}, or 0.0.0.0 for everybody"))
        }
        _ if host.contains([' ', '@']) => Err(FORM.to_owned()),
        _ if host.contains(':') && !(host.starts_with('[') && is_ipv6(host)) => {
            Err(format!("an IPv6 address stands in brackets: {FORM}"))
        }
        Ok(0..=65535) => Ok(()),
        Err(_) if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.is_empty() => {
            Err(format!("its port is {port:?}, which is not a number: {FORM}"))
        }
        _ => Err(format!("its port is {port}, and a port is from 1 to 65535, or 0 for any that is free")),
    }
}

impl TryFrom<String> for ListenUrl {
    type Error = ListenUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ListenUrl> for String {
    fn from(url: ListenUrl) -> Self {
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_or_without_its_scheme_is_a_url() {
        for (text, url) in [
            ("websocket://0.0.0.0:8289", "websocket://0.0.0.0:8289"),
            ("0.0.0.0:8289", "websocket://0.0.0.0:8289"),
            ("Websocket://0.0.0.0:8289", "websocket://0.0.0.0:8289"),
            ("ws://localhost:1", "websocket://localhost:1"),
            ("wss://localhost:1", "wss://localhost:1"),
            ("text://[::1]:23", "text://[::1]:23"),
            ("device://0.0.0.0:9000", "device://0.0.0.0:9000"),
        ] {
            assert_eq!(text.parse::<ListenUrl>().unwrap().to_string(), url);
        }
    }

    #[test]
    fn an_invalid_url_is_refused_with_what_to_write() {
        for (text, says) in [
            ("websocket://127.0.0.1", "it has no port: write "),
            ("text://[::1]", "it has no port: write "),
            ("localhost", "it has no port: write "),
            ("websocket://127.0.0.1:", "its port is \"\", which is not a number: "),
            ("websocket://127.0.0.1:http", "its port is \"http\", which is not a number: "),
            ("websocket://127.0.0.1:-1", "its port is \"-1\", which is not a number: "),
            ("127.0.0.1:80000", "its port is 80000, and a port is from 1 to 65535, or 0 for any"),
            ("text://[::1]:66000", "its port is 66000, and "),
            ("a:99999999999999999999999", "its port is 99999999999999999999999, and "),
            ("websocket://:80", "it has no host: write websocket://127.0.0.1:80, or 0.0.0.0 "),
            ("8289", "it has no host: write 127.0.0.1:8289, or 0.0.0.0:8289 for everybody"),
            ("", "write SCHEME://HOST:PORT, like "),
            ("websocket://", "write SCHEME://HOST:PORT, like "),
            ("a b:1", "write SCHEME://HOST:PORT, like "),
            ("text://::1:8290", "an IPv6 address stands in brackets"),
            ("text://::1", "an IPv6 address stands in brackets"),
            (
                "ws://0.0.0.0:8289/ws",
                "write ws://0.0.0.0:8289, and the path of WebSocket requests as path = \"/ws\"",
            ),
            ("ws://0.0.0.0:8289/", "write ws://0.0.0.0:8289, without "),
            ("ws://0.0.0.0/ws", "it has no port: write "),
        ] {
            let error = text.parse::<ListenUrl>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is no listener: {says}")), "{error}");
        }
    }
}
