//! A listener as it is configured: a URL, and what is different behind it.
//!
//! What it speaks is told by the URL's scheme; every other setting is the gateway's
//! own of the same name, unless the listener's table has it too.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use gatewayworker_daemon::one_or_many;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::core::listener_policy::SlowConsumer;
use crate::core::outgoing::WebSocketType;
use crate::entry::RealIpHeader;
use crate::tls::{Certificate, Files, TlsVersion};

/// A listener's URL: `websocket://127.0.0.1:8289`, or without the scheme.
///
/// `ws` and, as the original's users write it, `Websocket` are `websocket` too; `wss` is
/// `websocket` over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenUrl {
    scheme: String,
    address: String,
    is_tls: bool,
}

/// The scheme of RFC 6455, by the name that it has in the original.
pub(crate) const WEBSOCKET: &str = "websocket";

impl ListenUrl {
    /// What is spoken there: `websocket`, `text`, …
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The `host:port` part.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same with the address that was bound.
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

/// Text that is no listener's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no listener: {why}")]
pub struct ListenUrlError {
    text: String,
    why: String,
}

/// A WebSocket listener there.
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

/// Checks that what stands behind a listener's scheme is a host and a port.
///
/// # Errors
/// With what is wrong and what to write.
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

macro_rules! listener {
    ($($(#[$read:meta])? $name:ident: $type:ty,)*) => {
        /// A listener. What is `None` is as in the [`Config`] around it.
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Listener {
            /// What it speaks, and where.
            pub url: ListenUrl,
            /// The most clients that it holds; those of all listeners together are
            /// limited by the gateway's `max_connections`.
            pub max_connections: Option<usize>,
            /// The file with the certificate for TLS and those behind it, as PEM. Read
            /// again when the gateway is asked to reload.
            pub tls_certificate: Option<PathBuf>,
            /// The file with its private key, as PEM.
            pub tls_key: Option<PathBuf>,
            /// The oldest TLS that is spoken; 1.2 if `None`.
            pub tls_min_version: Option<TlsVersion>,
            $(
                #[doc = concat!("In place of [`Config::", stringify!($name), "`].")]
                $(#[$read])?
                pub $name: Option<$type>,
            )*
        }

        impl Listener {
            /// One without settings of its own.
            pub fn new(url: ListenUrl) -> Self {
                Self {
                    url,
                    max_connections: None,
                    tls_certificate: None,
                    tls_key: None,
                    tls_min_version: None,
                    $($name: None,)*
                }
            }

            /// The configuration as it is for this listener.
            pub(crate) fn view(&self, config: &Config) -> Config {
                let mut view = config.clone();
                $(
                    if let Some(own) = &self.$name {
                        view.$name = own.clone();
                    }
                )*
                view
            }
        }
    };
}

listener! {
    websocket_type: WebSocketType,
    ping_interval: f64,
    ping_not_response_limit: u32,
    ping_data: String,
    ping_frame: bool,
    handshake_timeout_ms: u64,
    max_header_bytes: usize,
    max_message_bytes: usize,
    outbox_bytes: usize,
    slow_consumer: SlowConsumer,
    #[serde(default, deserialize_with = "some_or_many")]
    path: Vec<String>,
    health_path: String,
    #[serde(default, deserialize_with = "some_or_many")]
    allowed_origins: Vec<String>,
    #[serde(default, deserialize_with = "some_or_many")]
    subprotocols: Vec<String>,
    max_connections_per_address: usize,
    #[serde(default, deserialize_with = "some_or_many")]
    trusted_proxies: Vec<String>,
    real_ip_header: RealIpHeader,
    proxy_protocol: bool,
}

fn some_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    one_or_many(deserializer).map(Some)
}

impl Listener {
    /// Where the files for TLS are, if it is spoken.
    ///
    /// # Errors
    /// When one of them is not named.
    pub(crate) fn tls(&self) -> anyhow::Result<Option<Files>> {
        let (certificate, key) = match (&self.tls_certificate, &self.tls_key) {
            (None, None) if self.url.is_tls => bail!(
                "TLS needs tls_certificate and tls_key: give this listener a [[listen]] table with both in the configuration file"
            ),
            (None, None) => {
                ensure!(
                    self.tls_min_version.is_none(),
                    "tls_min_version is of no use without tls_certificate and tls_key"
                );
                return Ok(None);
            }
            (Some(_), None) => bail!("tls_certificate needs its tls_key"),
            (None, Some(_)) => bail!("tls_key needs its tls_certificate"),
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        };
        let min_version = self.tls_min_version.unwrap_or_default();
        let alpn = (self.url.scheme == WEBSOCKET).then_some("http/1.1");
        Ok(Some(Files { certificate, key, min_version, alpn }))
    }

    /// Loads its certificate, if TLS is spoken.
    ///
    /// # Errors
    /// When a file is missing, or not what it should be.
    pub(crate) fn load_certificate(&self) -> anyhow::Result<Option<Certificate>> {
        let load = || self.tls()?.map(Certificate::load).transpose();
        load().with_context(|| format!("listen = \"{}\"", self.url))
    }

    /// Lets paths begin at `directory`, where the configuration file is.
    pub(crate) fn settle_in(&mut self, directory: &Path) {
        for path in [&mut self.tls_certificate, &mut self.tls_key].into_iter().flatten() {
            *path = directory.join(&path);
        }
    }

    /// Its URL with the address that was bound, by which clients reach it.
    pub(crate) fn bound_to(&self, address: SocketAddr) -> ListenUrl {
        let is_tls = self.url.is_tls || self.tls_certificate.is_some();
        ListenUrl { is_tls, ..self.url.bound_to(address) }
    }
}

/// Reads `listen`: a URL, or a list of URLs and tables; for `deserialize_with`.
pub(crate) fn listeners<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Listener>, D::Error> {
    struct List;

    impl<'de> Visitor<'de> for List {
        type Value = Vec<Listener>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a URL, or a list of URLs and [[listen]] tables")
        }

        fn visit_str<E: serde::de::Error>(self, url: &str) -> Result<Self::Value, E> {
            Entry.visit_str(url).map(|listener| vec![listener])
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
            let mut listeners = Vec::new();
            while let Some(Wrapped(listener)) = seq.next_element()? {
                listeners.push(listener);
            }
            Ok(listeners)
        }
    }

    struct Wrapped(Listener);

    impl<'de> Deserialize<'de> for Wrapped {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Entry).map(Self)
        }
    }

    struct Entry;

    impl<'de> Visitor<'de> for Entry {
        type Value = Listener;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a URL or a table with a url")
        }

        fn visit_str<E: serde::de::Error>(self, url: &str) -> Result<Self::Value, E> {
            url.parse().map(Listener::new).map_err(E::custom)
        }

        fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
            Listener::deserialize(MapAccessDeserializer::new(map)).map_err(M::Error::custom)
        }
    }

    deserializer.deserialize_any(List)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_an_address_with_or_without_its_scheme() {
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
    fn what_is_no_listener_is_refused_with_what_to_write() {
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

    #[test]
    fn the_file_may_say_a_url_a_list_or_tables() {
        let urls = |text: &str| {
            let config: Config = toml::from_str(text).unwrap();
            config.listen.iter().map(|listener| listener.url.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(urls("listen = 'text://a:1'"), ["text://a:1"]);
        assert_eq!(urls("listen = ['text://a:1', { url = 'tcp://b:2' }]"), ["text://a:1", "tcp://b:2"]);
        assert_eq!(
            urls("[[listen]]\nurl = 'text://a:1'\n[[listen]]\nurl = 'b:2'"),
            ["text://a:1", "websocket://b:2"]
        );
    }

    #[test]
    fn what_is_no_listener_is_said_to_be_none() {
        for (text, says) in [
            ("listen = 7", "a list of URLs"),
            ("listen = ['8289']", "\"8289\" is no listener"),
            ("[[listen]]\nmax_connections = 1", "url"),
            ("[[listen]]\nurl = 'a:1'\nnothing = 1", "nothing"),
        ] {
            let error = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn tls_needs_both_files_and_is_shown_in_the_url() {
        let listener = |text: &str| {
            let config: Config = toml::from_str(&format!("[[listen]]\n{text}")).unwrap();
            config.listen.into_iter().next().unwrap()
        };
        let both = "tls_certificate = 'a.pem'\ntls_key = '/b.pem'";
        let bound = "127.0.0.1:443".parse().unwrap();
        for (scheme, shown, alpn) in
            [("wss", "wss", Some("http/1.1")), ("ws", "wss", Some("http/1.1")), ("text", "text", None)]
        {
            let mut listener = listener(&format!("url = '{scheme}://a:1'\n{both}"));
            assert_eq!(listener.bound_to(bound).to_string(), format!("{shown}://127.0.0.1:443"));
            listener.settle_in(Path::new("/etc/gateway"));
            let files = listener.tls().unwrap().unwrap();
            assert_eq!((files.certificate, files.key), ("/etc/gateway/a.pem".into(), "/b.pem".into()));
            assert_eq!((files.alpn, files.min_version), (alpn, TlsVersion::Tls12));
        }
        assert_eq!(listener("url = 'a:1'").tls().unwrap(), None);
        for (text, says) in [
            ("url = 'wss://a:1'", "TLS needs tls_certificate and tls_key: "),
            ("url = 'a:1'\ntls_certificate = 'a.pem'", "tls_certificate needs its tls_key"),
            ("url = 'wss://a:1'\ntls_key = 'a.pem'", "tls_key needs its tls_certificate"),
            ("url = 'a:1'\ntls_min_version = '1.3'", "tls_min_version is of no use without "),
        ] {
            let error = listener(text).tls().unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }

    #[test]
    fn a_listener_has_the_gateways_settings_but_for_its_own() {
        let text =
            "max_message_bytes = 7\nping_data = 'ping'\n[[listen]]\nurl = 'a:1'\nmax_message_bytes = 8";
        let config: Config = toml::from_str(text).unwrap();
        let view = config.listen[0].view(&config);
        assert_eq!((view.max_message_bytes, view.ping_data.as_str()), (8, "ping"));
    }
}
