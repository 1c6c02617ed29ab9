//! Who comes in at a listener, as far as the listener can tell before anybody is asked.
//!
//! - [`AccessPolicy`]: a listener's rules, all in one,
//! - `refused`: the reasons for which a connection is turned away, and how often,
//! - `origins`: which pages may connect,
//! - `proxies`: whose word is taken for where a client comes from,
//! - `proxy_header`: the PROXY protocol, in which a proxy says so,
//! - `places`: how many may be in from one address.
//!
//! What is not here: whether the application lets a client in (`shard::admission`).

pub(crate) mod connection_limits;
mod origins;
mod proxies;
pub(crate) mod proxy_header;
pub(crate) mod rejections;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, ensure};

use crate::config::Config;
use origins::AllowedOrigin;
use proxies::Proxies;
pub use proxies::RealIpHeader;
use rejections::RejectReason;

/// The rules of a listener.
#[derive(Debug, Default)]
pub(crate) struct AccessPolicy {
    origins: Vec<AllowedOrigin>,
    /// None, and any will do.
    paths: Vec<String>,
    /// Where balancers ask how the gateway is; empty for nowhere.
    health_path: String,
    subprotocols: Vec<String>,
    proxies: Proxies,
    real_ip_header: RealIpHeader,
    /// Whoever comes has to say in the PROXY protocol whom it brings.
    pub(crate) proxy_protocol: bool,
}

impl AccessPolicy {
    /// Those of a configuration.
    ///
    /// # Errors
    /// When one of them could never be kept.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        let origins = config.allowed_origins.iter().map(|origin| origin.parse());
        for path in &config.path {
            ensure!(is_path(path), "path = \"{path}\": write it as /ws, without a query");
        }
        let health_path = &config.health_path;
        ensure!(
            health_path.is_empty() || is_path(health_path),
            "health_path = \"{health_path}\": write it as /healthz, without a query"
        );
        for name in &config.subprotocols {
            ensure!(is_token(name), "subprotocols: \"{name}\" is no name that a header can carry");
        }
        let proxies = Proxies::parse(&config.trusted_proxies).context("trusted_proxies")?;
        ensure!(
            !config.proxy_protocol || !config.trusted_proxies.is_empty(),
            "proxy_protocol = true without trusted_proxies: nobody could connect"
        );
        Ok(Self {
            origins: origins.collect::<Result<_, _>>().context("allowed_origins")?,
            paths: config.path.clone(),
            health_path: health_path.clone(),
            subprotocols: config.subprotocols.clone(),
            proxies,
            real_ip_header: config.real_ip_header,
            proxy_protocol: config.proxy_protocol,
        })
    }

    /// Whether `peer` may speak for others.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.proxies.trusts(peer)
    }

    /// Whether a request for `path`, without its query, may be upgraded.
    pub(crate) fn check_path(&self, path: &str) -> Result<(), RejectReason> {
        let may = self.paths.is_empty() || self.paths.iter().any(|listed| listed == path);
        may.then_some(()).ok_or(RejectReason::Path)
    }

    /// Whether a request for `path` that is no WebSocket handshake asks how the gateway is.
    pub(crate) fn is_health_path(&self, path: &str) -> bool {
        !self.health_path.is_empty() && self.health_path == path
    }

    /// Whether a page of this origin may connect.
    pub(crate) fn check_origin(&self, header: Option<&[u8]>) -> Result<(), RejectReason> {
        origins::allows(&self.origins, header).then_some(()).ok_or(RejectReason::Origin)
    }

    /// The subprotocol for a client that offers these: the first of ours that is among
    /// them (RFC 6455 section 4.2.2); none where there is none.
    pub(crate) fn subprotocol(&self, offered: Option<&[u8]>) -> Option<&str> {
        let offered = offered?;
        let is_offered = |ours: &&String| {
            offered.split(|byte| *byte == b',').any(|name| name.trim_ascii() == ours.as_bytes())
        };
        self.subprotocols.iter().find(is_offered).map(String::as_str)
    }

    /// Where a client comes from that `peer` brings. `header` looks one up.
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

/// RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(toml: &str) -> anyhow::Result<AccessPolicy> {
        AccessPolicy::of(&toml::from_str(toml).unwrap())
    }

    #[test]
    fn the_first_of_our_subprotocols_that_is_offered_is_spoken() {
        let entry = entry("subprotocols = ['chat.v2', 'chat.v1']").unwrap();
        for (offered, expected) in [
            ("chat.v1, chat.v2", Some("chat.v2")),
            ("other,chat.v1", Some("chat.v1")),
            ("CHAT.V1", None),
            ("chat.v10", None),
            ("", None),
        ] {
            assert_eq!(entry.subprotocol(Some(offered.as_bytes())), expected, "{offered}");
        }
        assert_eq!(entry.subprotocol(None), None);
        assert_eq!(AccessPolicy::default().subprotocol(Some(b"chat.v1")), None);
    }

    #[test]
    fn only_listed_paths_are_there() {
        let listed = entry("path = ['/ws', '/']").unwrap();
        assert!(listed.check_path("/ws").is_ok() && listed.check_path("/").is_ok());
        for path in ["/ws/", "/WS", "/other", "", "*"] {
            assert_eq!(listed.check_path(path), Err(RejectReason::Path), "{path}");
        }
        assert!(entry("path = '/ws'").unwrap().check_path("/").is_err());
        assert!(AccessPolicy::default().check_path("/anything").is_ok());
    }

    #[test]
    fn only_the_header_that_is_configured_is_looked_at() {
        let peer = "127.0.0.1:5".parse().unwrap();
        let header = |name: &str| Some(if name == "x-real-ip" { &b"192.0.2.1"[..] } else { b"192.0.2.2" });
        for (key, expected) in [("x-real-ip", "192.0.2.1:0"), ("x-forwarded-for", "192.0.2.2:0")] {
            let text = format!("trusted_proxies = '127.0.0.1'\nreal_ip_header = '{key}'");
            assert_eq!(entry(&text).unwrap().client(peer, header).to_string(), expected);
        }
        assert_eq!(AccessPolicy::default().client(peer, header), peer);
    }

    #[test]
    fn rules_that_could_never_be_kept_are_refused() {
        for (text, says) in [
            ("path = 'ws'", "path"),
            ("path = '/ws?a=1'", "path"),
            ("health_path = 'healthz'", "health_path = \"healthz\": write it as /healthz"),
            ("allowed_origins = 'example.com'", "allowed_origins"),
            ("subprotocols = ['a b']", "subprotocols"),
            ("trusted_proxies = 'localhost'", "trusted_proxies"),
            ("proxy_protocol = true", "nobody could connect"),
        ] {
            let error = format!("{:#}", entry(text).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }
}
