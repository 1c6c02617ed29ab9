//! The access rules of a listener: which connections may become clients.
//!
//! `client` and `websocket::handshake` ask them before a worker is told of the client. Whether the
//! application admits the client is decided later, in `core::admission`.
//!
//! - [`AccessPolicy`]: the rules of one listener,
//! - `rejections`: the reasons for a rejection, and how often each occurred,
//! - `origins`: the pages that may connect,
//! - `proxies`: the trusted proxies, and the client's address behind them,
//! - `proxy_header`: the PROXY protocol,
//! - `connect_rates`: how often an address may connect.

pub(crate) mod connect_rates;
mod origins;
mod proxies;
pub(crate) mod proxy_header;
pub(crate) mod rejections;

use std::net::{IpAddr, SocketAddr};

use crate::config::{Config, ConfigError, RealIpHeader};
use origins::{AllowedOrigin, AllowedOriginError};
use proxies::Proxies;
use rejections::RejectReason;

/// The access rules of one listener.
#[derive(Debug, Default)]
pub(crate) struct AccessPolicy {
    origins: Vec<AllowedOrigin>,
    /// The paths that are upgraded; all if empty.
    paths: Vec<String>,
    /// The path of health checks; none if empty.
    health_path: String,
    subprotocols: Vec<String>,
    proxies: Proxies,
    real_ip_header: RealIpHeader,
    /// Every connection begins with a PROXY header.
    pub(crate) proxy_protocol: bool,
}

impl AccessPolicy {
    /// Reads the rules from a listener's configuration.
    ///
    /// # Errors
    /// When a value is malformed, or no connection could ever satisfy it.
    pub(crate) fn of(config: &Config) -> Result<Self, ConfigError> {
        let origins = config.allowed_origins.iter().map(|origin| {
            origin.parse().map_err(|error: AllowedOriginError| ConfigError::AllowedOrigin(error.to_string()))
        });
        if let Some(path) = config.path.iter().find(|path| !is_path(path)) {
            return Err(ConfigError::Path { key: "path", path: path.clone(), example: "/ws" });
        }
        let health_path = &config.health_path;
        if !health_path.is_empty() && !is_path(health_path) {
            let (key, path) = ("health_path", health_path.clone());
            return Err(ConfigError::Path { key, path, example: "/healthz" });
        }
        if let Some(name) = config.subprotocols.iter().find(|name| !is_token(name)) {
            return Err(ConfigError::Subprotocol(name.clone()));
        }
        let proxies = Proxies::parse(&config.trusted_proxies)
            .map_err(|error| ConfigError::TrustedProxy(error.to_string()))?;
        if config.proxy_protocol && config.trusted_proxies.is_empty() {
            return Err(ConfigError::NoTrustedProxies);
        }
        Ok(Self {
            origins: origins.collect::<Result<_, _>>()?,
            paths: config.path.clone(),
            health_path: health_path.clone(),
            subprotocols: config.subprotocols.clone(),
            proxies,
            real_ip_header: config.real_ip_header,
            proxy_protocol: config.proxy_protocol,
        })
    }

    /// Returns whether `peer` is a trusted proxy.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.proxies.trusts(peer)
    }

    /// Checks that a request for `path`, given without its query, may be upgraded.
    pub(crate) fn check_path(&self, path: &str) -> Result<(), RejectReason> {
        let is_allowed = self.paths.is_empty() || self.paths.iter().any(|listed| listed == path);
        is_allowed.then_some(()).ok_or(RejectReason::Path)
    }

    /// Returns whether a request for `path` is a health check, unless it asks for an upgrade.
    pub(crate) fn is_health_path(&self, path: &str) -> bool {
        !self.health_path.is_empty() && self.health_path == path
    }

    /// Checks that a page with this `Origin` header may connect.
    pub(crate) fn check_origin(&self, header: Option<&[u8]>) -> Result<(), RejectReason> {
        origins::allows(&self.origins, header).then_some(()).ok_or(RejectReason::Origin)
    }

    /// Returns the subprotocol for a client that offers these: the first configured one that is
    /// among them (RFC 6455 section 4.2.2).
    pub(crate) fn subprotocol(&self, offered: Option<&[u8]>) -> Option<&str> {
        let offered = offered?;
        let is_offered = |ours: &&String| {
            offered.split(|byte| *byte == b',').any(|name| name.trim_ascii() == ours.as_bytes())
        };
        self.subprotocols.iter().find(is_offered).map(String::as_str)
    }

    /// Returns the subprotocol to answer to a client that offers `gw.1`, alone or together with one of the listener's.
    pub(crate) fn resumable_subprotocol(&self, offered: Option<&[u8]>) -> Option<String> {
        const NAME: &str = "gw.1";
        let offers: Vec<&[u8]> = offered?.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
        let both = self.subprotocols.iter().map(|ours| format!("{NAME}+{ours}"));
        both.chain([NAME.to_owned()]).find(|name| offers.contains(&name.as_bytes()))
    }

    /// Returns the address of the client behind `peer`: that of the real-IP header where `peer` is a
    /// trusted proxy, else `peer` itself. `header` looks a header up.
    pub(crate) fn client<'r>(
        &self,
        peer: SocketAddr,
        header: impl FnOnce(&str) -> Option<&'r [u8]>,
    ) -> SocketAddr {
        if !self.trusts(peer.ip()) {
            return peer;
        }
        header(self.real_ip_header.name()).map_or(peer, |value| self.proxies.client(peer, value))
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.contains(['?', '#', ' '])
}

/// Returns whether a name is a token: RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(toml: &str) -> Result<AccessPolicy, ConfigError> {
        AccessPolicy::of(&toml::from_str(toml).unwrap())
    }

    #[test]
    fn the_first_configured_subprotocol_that_is_offered_is_chosen() {
        let policy = policy("subprotocols = ['chat.v2', 'chat.v1']").unwrap();
        for (offered, expected) in [
            ("chat.v1, chat.v2", Some("chat.v2")),
            ("other,chat.v1", Some("chat.v1")),
            ("CHAT.V1", None),
            ("chat.v10", None),
            ("", None),
        ] {
            assert_eq!(policy.subprotocol(Some(offered.as_bytes())), expected, "{offered}");
        }
        assert_eq!(policy.subprotocol(None), None);
        assert_eq!(AccessPolicy::default().subprotocol(Some(b"chat.v1")), None);
    }

    #[test]
    fn only_listed_paths_are_upgraded() {
        let listed = policy("path = ['/ws', '/']").unwrap();
        assert!(listed.check_path("/ws").is_ok() && listed.check_path("/").is_ok());
        for path in ["/ws/", "/WS", "/other", "", "*"] {
            assert_eq!(listed.check_path(path), Err(RejectReason::Path), "{path}");
        }
        assert!(policy("path = '/ws'").unwrap().check_path("/").is_err());
        assert!(AccessPolicy::default().check_path("/anything").is_ok());
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let peer = "127.0.0.1:5".parse().unwrap();
        let header = |name: &str| Some(if name == "x-real-ip" { &b"192.0.2.1"[..] } else { b"192.0.2.2" });
        for (key, expected) in [("x-real-ip", "192.0.2.1:0"), ("x-forwarded-for", "192.0.2.2:0")] {
            let text = format!("trusted_proxies = '127.0.0.1'\nreal_ip_header = '{key}'");
            assert_eq!(policy(&text).unwrap().client(peer, header).to_string(), expected);
        }
        assert_eq!(AccessPolicy::default().client(peer, header), peer);
    }

    #[test]
    fn rules_that_no_connection_could_satisfy_are_refused() {
        for (text, says) in [
            ("path = 'ws'", "path"),
            ("path = '/ws?a=1'", "path"),
            ("health_path = 'healthz'", "health_path = \"healthz\": write it as /healthz"),
            ("allowed_origins = 'example.com'", "allowed_origins"),
            ("subprotocols = ['a b']", "subprotocols"),
            ("trusted_proxies = 'localhost'", "trusted_proxies"),
            ("proxy_protocol = true", "nobody could connect"),
        ] {
            let error = format!("{:#}", policy(text).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }
}
