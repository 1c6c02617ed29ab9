//! The settings of one listener: its URL, and the settings of its `[[listen]]` table.
//!
//! The URL's scheme is the protocol. Every setting that the table lacks is the gateway's setting of
//! the same name. `crate::listener` makes the open listener of it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use gatewayworker_daemon::one_or_many;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::listen_url::{ListenUrl, WEBSOCKET};
use super::real_ip_header::RealIpHeader;
use super::{Config, ConfigError};
use crate::core::listener_policy::{Framing, OtherProtocol, SlowConsumer};
use crate::core::outgoing::WebSocketType;
use crate::core::rate_limits::RateLimitPolicy;
use crate::tls::{Certificate, Files, TlsVersion};

macro_rules! listener {
    ($($(#[$read:meta])? $name:ident: $type:ty,)*) => {
        /// The settings of a listener. `None` stands for the setting of the [`Config`] around it. Made
        /// with [`ListenerConfig::new`], and by setting fields.
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[non_exhaustive]
        pub struct ListenerConfig {
            /// Its protocol and address.
            pub url: ListenUrl,
            /// The most clients of this listener. The gateway's `max_connections` limits those of all
            /// listeners together.
            pub max_connections: Option<usize>,
            /// The PEM file with the certificate for TLS and its chain. The gateway reads it again at a
            /// reload.
            pub tls_certificate: Option<PathBuf>,
            /// The PEM file with its private key.
            pub tls_key: Option<PathBuf>,
            /// The oldest accepted version of TLS; 1.2 if `None`.
            pub tls_min_version: Option<TlsVersion>,
            /// Whether its clients are asked for tokens, where [`Config::auth`] has a key; they are if `None`.
            pub auth: Option<bool>,
            $(
                #[doc = concat!("In place of [`Config::", stringify!($name), "`].")]
                $(#[$read])?
                pub $name: Option<$type>,
            )*
        }

        impl ListenerConfig {
            /// Returns a listener without settings of its own.
            pub fn new(url: ListenUrl) -> Self {
                Self {
                    url,
                    max_connections: None,
                    tls_certificate: None,
                    tls_key: None,
                    tls_min_version: None,
                    auth: None,
                    $($name: None,)*
                }
            }

            /// Returns the configuration with the settings of this listener in place of the gateway's.
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
    max_messages_per_second: u64,
    message_burst: u64,
    max_bytes_per_second: u64,
    byte_burst: u64,
    rate_limit_policy: RateLimitPolicy,
    outbox_bytes: usize,
    slow_consumer: SlowConsumer,
    compression: bool,
    compression_min_bytes: usize,
    compression_level: u8,
    resume: bool,
    resume_ms: u64,
    resume_bytes: usize,
    resume_ping_ms: u64,
    #[serde(default, deserialize_with = "some_or_many")]
    path: Vec<String>,
    health_path: String,
    #[serde(default, deserialize_with = "some_or_many")]
    allowed_origins: Vec<String>,
    #[serde(default, deserialize_with = "some_or_many")]
    subprotocols: Vec<String>,
    max_connections_per_address: usize,
    max_connects_per_second_per_address: u64,
    connect_burst_per_address: u64,
    #[serde(default, deserialize_with = "some_or_many")]
    trusted_proxies: Vec<String>,
    real_ip_header: RealIpHeader,
    proxy_protocol: bool,
}

fn some_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    one_or_many(deserializer).map(Some)
}

impl ListenerConfig {
    /// Returns the protocol of the listener.
    ///
    /// # Errors
    /// When the gateway does not know it.
    pub(crate) fn framing(&self, config: &Config) -> Result<Framing, ConfigError> {
        let scheme = self.url.scheme();
        if scheme == WEBSOCKET {
            return Ok(Framing::WebSocket(config.websocket_type));
        }
        let (index, protocol) = config.protocols.find(scheme).ok_or_else(|| {
            let known = config.protocols.schemes().collect::<Vec<_>>().join(", ");
            ConfigError::UnknownProtocol { url: self.url.clone(), known }
        })?;
        Ok(Framing::Other(OtherProtocol { protocol, index, of: config.protocols.len() }))
    }

    /// Returns whether its clients are asked for tokens, which only WebSocket clients can show.
    pub(crate) fn asks_for_tokens(&self, config: &Config) -> bool {
        config.auth.is_on() && self.auth.unwrap_or(true) && self.url.scheme() == WEBSOCKET
    }

    /// Checks that its clients could show tokens, and that pages of others could not use a cookie of theirs. `view` is
    /// the configuration with its own settings.
    pub(super) fn validate_auth(&self, view: &Config) -> Result<(), ConfigError> {
        if !view.auth.is_on() || self.auth == Some(false) {
            return Ok(());
        }
        if self.url.scheme() != WEBSOCKET {
            let must_show = view.auth.required || self.auth == Some(true);
            return if must_show { Err(ConfigError::NoTokens(self.url.scheme().to_owned())) } else { Ok(()) };
        }
        let is_any = |origin: &String| origin == "*";
        let is_open = view.allowed_origins.is_empty() || view.allowed_origins.iter().any(is_any);
        if !view.auth.cookie.is_empty() && is_open {
            return Err(ConfigError::CookieForAnyPage(view.auth.cookie.clone()));
        }
        Ok(())
    }

    /// Checks that its clients could compress, if its table asks for that.
    pub(super) fn validate_compression(&self) -> Result<(), ConfigError> {
        let scheme = self.url.scheme();
        match self.compression {
            Some(true) if scheme != WEBSOCKET => Err(ConfigError::NoCompression(scheme.to_owned())),
            _ => Ok(()),
        }
    }

    /// Returns the files of TLS; `None` for a listener without TLS.
    ///
    /// # Errors
    /// When one of the two files is not set.
    pub(crate) fn tls(&self) -> Result<Option<Files>, ConfigError> {
        let incomplete = |sentence| Err(ConfigError::IncompleteTls(sentence));
        let (certificate, key) = match (&self.tls_certificate, &self.tls_key) {
            (None, None) if self.url.is_tls => return Err(ConfigError::NoCertificate),
            (None, None) if self.tls_min_version.is_none() => return Ok(None),
            (None, None) => {
                return incomplete("tls_min_version is of no use without tls_certificate and tls_key");
            }
            (Some(_), None) => return incomplete("tls_certificate needs its tls_key"),
            (None, Some(_)) => return incomplete("tls_key needs its tls_certificate"),
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        };
        let min_version = self.tls_min_version.unwrap_or_default();
        let alpn = (self.url.scheme == WEBSOCKET).then_some("http/1.1");
        Ok(Some(Files { certificate, key, min_version, alpn }))
    }

    /// Loads its certificate; `None` for a listener without TLS.
    ///
    /// # Errors
    /// When a file is missing or invalid.
    pub(crate) fn load_certificate(&self) -> Result<Option<Certificate>, ConfigError> {
        let load =
            |files| Certificate::load(files).map_err(|error| ConfigError::TlsFile(format!("{error:#}")));
        let loaded = self.tls().and_then(|files| files.map(load).transpose());
        loaded.map_err(|error| error.of_listener(&self.url))
    }

    /// Makes relative paths relative to `directory`, the folder of the configuration file.
    pub(crate) fn resolve_paths(&mut self, directory: &Path) {
        for path in [&mut self.tls_certificate, &mut self.tls_key].into_iter().flatten() {
            *path = directory.join(&path);
        }
    }

    /// Returns its URL with the bound address: the URL by which clients reach it.
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
    fn listen_is_a_url_a_list_or_tables() {
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
    fn an_invalid_listener_is_refused_with_a_reason() {
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
    fn tls_needs_both_files_and_shows_in_the_url() {
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
            listener.resolve_paths(Path::new("/etc/gateway"));
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
    fn a_listener_has_the_gateways_settings_except_its_own() {
        let text =
            "max_message_bytes = 7\nping_data = 'ping'\n[[listen]]\nurl = 'a:1'\nmax_message_bytes = 8";
        let config: Config = toml::from_str(text).unwrap();
        let view = config.listen[0].view(&config);
        assert_eq!((view.max_message_bytes, view.ping_data.as_str()), (8, "ping"));
    }
}
