//! The settings of the register: flags, environment, and the keys of `config/register.toml`.
//!
//! Reads and checks them; `server` and `roster` follow them.

use std::net::SocketAddr;
use std::time::Duration;

use gatewayworker_daemon::{
    AddressError, CommonFlags, ExposureError, LinkTlsFlags, check_address, check_exposure,
    take_negative_numbers,
};
use gatewayworker_net::{LinkTlsConfig, LinkTlsError};
use gatewayworker_protocol::SecretKey;
use serde::{Deserialize, Serialize};

/// Tells workers and client libraries where the gateways are.
#[derive(Debug, clap::Parser)]
#[command(name = "register", version = gatewayworker_daemon::VERSION, mut_args(take_negative_numbers))]
pub struct Cli {
    /// The register's own flags.
    #[command(flatten)]
    pub flags: Flags,
    /// The flags of every daemon.
    #[command(flatten)]
    pub common: CommonFlags,
}

/// The register's flags. What is not set here is left to the file.
#[derive(Debug, Default, clap::Args, Serialize)]
#[command(mut_arg("admin_listen", |flag| flag.env("GATEWAYWORKER_REGISTER_ADMIN_LISTEN")))]
pub struct Flags {
    /// Listen on ADDRESS for gateways, workers and client libraries [default: 127.0.0.1:1236]
    #[arg(long, value_name = "ADDRESS", env = "GATEWAYWORKER_REGISTER_LISTEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,

    /// The key that all daemons of a cluster share; better set in the environment, where other users do not see it [default: none]
    #[arg(long, value_name = "KEY", env = "GATEWAYWORKER_SECRET_KEY", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<SecretKey>,

    /// Listen on an address that is not loopback even without a secret key [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        env = "GATEWAYWORKER_ALLOW_INSECURE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_insecure: Option<bool>,

    /// Hold at most N connections [default: 100000]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_REGISTER_MAX_CONNECTIONS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<usize>,

    /// Hold at most N of them that have not shown the secret key yet [default: 4000]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_REGISTER_MAX_UNAUTHENTICATED")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unauthenticated: Option<usize>,

    /// Show metrics and health at ADDRESS, host:port, over HTTP [default: none]
    #[arg(long, value_name = "ADDRESS", env = "GATEWAYWORKER_REGISTER_METRICS_LISTEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<String>,

    /// A page for operators.
    #[command(flatten)]
    pub admin: gatewayworker_admin::Flags,

    /// TLS between daemons.
    #[command(flatten)]
    pub link_tls: LinkTlsFlags,
}

/// The register's configuration, the keys of its file.
///
/// In code it is made from its default: `Config::default().with_secret_key(key)`, or by setting
/// fields.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The address to listen on, `ip:port` or `host:port`.
    pub listen: String,
    /// The cluster's key, empty for none.
    pub secret_key: SecretKey,
    /// Whether `listen` may be reachable from other machines without a key.
    pub allow_insecure: bool,
    /// The most connections; more are closed at once.
    pub max_connections: usize,
    /// The most connections that have not shown the key; each can take up to 64 KiB of memory.
    pub max_unauthenticated: usize,
    /// Where metrics and health are shown over HTTP, `host:port`; `None` for nowhere, the default.
    pub metrics_listen: Option<String>,
    /// A page for operators; off by default. [`run`](crate::run) serves it; a program that calls
    /// [`serve`](crate::serve) does so by itself.
    pub admin: gatewayworker_admin::Config,
    /// TLS with its peers; off by default.
    pub link_tls: LinkTlsConfig,
    /// How long the register waits for a peer. It is a part of the protocol, and no key of the file.
    #[serde(skip)]
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:1236".into(),
            secret_key: SecretKey::default(),
            allow_insecure: false,
            max_connections: 100_000,
            max_unauthenticated: 4_000,
            metrics_listen: None,
            admin: gatewayworker_admin::Config::default(),
            link_tls: LinkTlsConfig::default(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Sets the address to listen on, `ip:port` or `host:port`.
    #[must_use]
    pub fn with_listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Sets the cluster's key; an empty one stands for none.
    #[must_use]
    pub fn with_secret_key(mut self, key: SecretKey) -> Self {
        self.secret_key = key;
        self
    }

    /// Sets whether `listen` may be reachable from other machines without a key.
    #[must_use]
    pub fn with_allow_insecure(mut self, allow: bool) -> Self {
        self.allow_insecure = allow;
        self
    }

    /// Sets the most connections, at least 1.
    #[must_use]
    pub fn with_max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets the most connections that have not shown the key, at least 1.
    #[must_use]
    pub fn with_max_unauthenticated(mut self, connections: usize) -> Self {
        self.max_unauthenticated = connections;
        self
    }

    /// Sets where metrics and health are shown over HTTP, `host:port`.
    #[must_use]
    pub fn with_metrics_listen(mut self, address: impl Into<String>) -> Self {
        self.metrics_listen = Some(address.into());
        self
    }

    /// Sets TLS with its peers.
    #[must_use]
    pub fn with_link_tls(mut self, tls: LinkTlsConfig) -> Self {
        self.link_tls = tls;
        self
    }

    /// Returns the configuration if it can work.
    ///
    /// # Errors
    /// The first value that cannot work, in one line that names its key.
    pub fn validated(self) -> Result<Self, ConfigError> {
        if self.max_connections == 0 {
            return Err(ConfigError::NoConnections);
        }
        if self.max_unauthenticated == 0 {
            return Err(ConfigError::NoUnauthenticated);
        }
        check_address("listen", &self.listen)?;
        // A host name is resolved, and checked, when the register starts.
        if let Ok(address) = self.listen.parse::<SocketAddr>() {
            check_exposure("the register", address.ip(), &self.secret_key, self.allow_insecure)?;
        }
        gatewayworker_metrics::check(self.metrics_listen.as_deref())?;
        self.admin.validate(&self.secret_key)?;
        self.link_tls.load_for_accepting()?;
        Ok(self)
    }
}

/// A setting of the register that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `max_connections` is 0.
    #[error("max_connections = 0: nobody could connect")]
    NoConnections,
    /// `max_unauthenticated` is 0.
    #[error("max_unauthenticated = 0: nobody could connect")]
    NoUnauthenticated,
    /// `listen` or `metrics_listen` is not an address with a port.
    #[error(transparent)]
    Listen(#[from] AddressError),
    /// `listen` is reachable from other machines, and there is no `secret_key`.
    #[error(transparent)]
    Exposed(#[from] ExposureError),
    /// `admin` cannot work.
    #[error(transparent)]
    Admin(#[from] gatewayworker_admin::ConfigError),
    /// `link_tls` cannot work.
    #[error(transparent)]
    LinkTls(#[from] LinkTlsError),
}

/// How long the register waits for a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The wait for the first line with the key; a ping does not count.
    pub introduction: Duration,
    /// The wait for the next line of a peer that has pinged. A peer that never pinged may be silent
    /// for as long as its connection stands. A last look of up to a second follows both waits, and a
    /// register that was stopped meanwhile waits anew.
    pub silence: Duration,
    /// The wait until the peer has read a line.
    pub write: Duration,
    /// For how long after its start the register says that its list may not have all gateways yet.
    pub gathering: Duration,
}

impl Default for Limits {
    /// The original's 10 s for an introduction. 55 s for silence: more than two of the 25 s between
    /// the original's pings, and a gateway that lost power is off the list within 60 s. 30 s for
    /// gathering: gateways of ours try to connect each 5 s at least, and those of the original notice
    /// within 25 s that a register on another host was away.
    fn default() -> Self {
        Self {
            introduction: Duration::from_secs(10),
            silence: Duration::from_secs(55),
            write: Duration::from_secs(10),
            gathering: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_has_every_key_with_its_default() {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/register.toml"))
                .unwrap();
        let keys: Vec<String> = toml::from_str::<toml::Table>(&text).unwrap().keys().cloned().collect();
        assert_eq!(
            keys,
            [
                "allow_insecure",
                "listen",
                "max_connections",
                "max_unauthenticated",
                "metrics_listen",
                "secret_key"
            ]
        );
        let shipped = toml::from_str::<Config>(&text).unwrap();
        assert_eq!(shipped, Config::default().with_metrics_listen("127.0.0.1:9601"));
    }

    #[test]
    fn every_flag_is_a_key_of_the_file() {
        use clap::Parser;
        let cli = Cli::try_parse_from([
            "register",
            "--listen=0.0.0.0:7",
            "--secret-key=k",
            "--allow-insecure",
            "--max-connections=5",
            "--max-unauthenticated=6",
            "--metrics-listen=127.0.0.1:7",
            "--admin-listen=127.0.0.1:8",
            "--link-tls-ca=ca.pem",
            "--link-tls-server-name=cluster",
        ])
        .unwrap();
        let expected = Config {
            listen: "0.0.0.0:7".into(),
            secret_key: SecretKey::new("k"),
            allow_insecure: true,
            max_connections: 5,
            max_unauthenticated: 6,
            metrics_listen: Some("127.0.0.1:7".into()),
            admin: gatewayworker_admin::Config::new("127.0.0.1:8"),
            link_tls: LinkTlsConfig::default().with_ca("ca.pem").with_server_name("cluster"),
            limits: Limits::default(),
        };
        assert_eq!(gatewayworker_daemon::load::<_, Config>(&cli.common, &cli.flags).unwrap(), expected);
    }

    #[test]
    fn an_exposed_address_without_a_key_and_a_limit_of_0_are_errors() {
        assert!(Config { listen: "0.0.0.0:1236".into(), ..Config::default() }.validated().is_err());
        assert!(Config { max_connections: 0, ..Config::default() }.validated().is_err());
        assert!(Config::default().validated().is_ok());
    }
}
