//! The settings of one listener: a URL, and what is different behind it.
//!
//! What a listener speaks is told by its URL's scheme. Every other setting is the gateway's own of
//! the same name, unless the listener's table has it too.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use gatewayworker_daemon::one_or_many;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::Config;
use super::listen_url::{ListenUrl, WEBSOCKET};
use crate::access::RealIpHeader;
use crate::core::listener_policy::{Framing, OtherProtocol, SlowConsumer};
use crate::core::outgoing::WebSocketType;
use crate::tls::{Certificate, Files, TlsVersion};

macro_rules! listener {
    ($($(#[$read:meta])? $name:ident: $type:ty,)*) => {
        /// A listener. What is `None` is as in the [`Config`] around it.
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct ListenerConfig {
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

        impl ListenerConfig {
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

impl ListenerConfig {
    /// Returns what the listener speaks.
    ///
    /// # Errors
    /// When the gateway does not speak it.
    pub(crate) fn framing(&self, config: &Config) -> anyhow::Result<Framing> {
        let scheme = self.url.scheme();
        if scheme == WEBSOCKET {
            return Ok(Framing::WebSocket(config.websocket_type));
        }
        let (index, protocol) = config.protocols.find(scheme).with_context(|| {
            let known: Vec<_> = config.protocols.schemes().collect();
            format!("listen = \"{}\": this gateway speaks {WEBSOCKET}, {}", self.url, known.join(", "))
        })?;
        Ok(Framing::Other(OtherProtocol { protocol, index, of: config.protocols.len() }))
    }

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
pub(crate) fn listeners<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ListenerConfig>, D::Error> {
    struct List;

    impl<'de> Visitor<'de> for List {
        type Value = Vec<ListenerConfig>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a URL, or a list of URLs and [[listen]] tables")
        }

        fn visit_str<E: serde::de::Error>(self, url: &str) -> Result<Self::Value, E> {
            Item.visit_str(url).map(|listener| vec![listener])
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
            let mut listeners = Vec::new();
            while let Some(Wrapped(listener)) = seq.next_element()? {
                listeners.push(listener);
            }
            Ok(listeners)
        }
    }

    struct Wrapped(ListenerConfig);

    impl<'de> Deserialize<'de> for Wrapped {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Item).map(Self)
        }
    }

    struct Item;

    impl<'de> Visitor<'de> for Item {
        type Value = ListenerConfig;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a URL or a table with a url")
        }

        fn visit_str<E: serde::de::Error>(self, url: &str) -> Result<Self::Value, E> {
            url.parse().map(ListenerConfig::new).map_err(E::custom)
        }

        fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
            ListenerConfig::deserialize(MapAccessDeserializer::new(map)).map_err(M::Error::custom)
        }
    }

    deserializer.deserialize_any(List)
}

#[cfg(test)]
mod tests {
    use super::*;

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
