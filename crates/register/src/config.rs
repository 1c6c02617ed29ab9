//! What can be set, by flag, by environment and in `config/register.toml`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use gatewayworker_daemon::{CommonFlags, check_address, check_exposure, take_negative_numbers};
use gatewayworker_protocol::SecretKey;
use serde::{Deserialize, Serialize};

/// Tells workers and client libraries where the gateways are.
#[derive(Debug, clap::Parser)]
#[command(name = "register", version, mut_args(take_negative_numbers))]
pub struct Cli {
    /// What this daemon has.
    #[command(flatten)]
    pub flags: Flags,
    /// What every daemon has.
    #[command(flatten)]
    pub common: CommonFlags,
}

/// The register's flags; what is not set here is left to the file.
#[derive(Debug, Default, clap::Args, Serialize)]
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
}

/// The register's configuration, the keys of its file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen, `ip:port` or `host:port`.
    pub listen: String,
    /// The cluster's key, empty for none.
    pub secret_key: SecretKey,
    /// Whether `listen` may be open to other machines while there is no key.
    pub allow_insecure: bool,
    /// How many connections are held at most; more are closed at once.
    pub max_connections: usize,
    /// How many of them may be without the key; each of those can take up to 64 KiB.
    pub max_unauthenticated: usize,
    /// How long the register is patient; part of the protocol, so no key of the file.
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
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// The configuration, if it can work.
    ///
    /// # Errors
    /// When a limit lets nobody in, or the address is open and there is no key.
    pub fn validated(self) -> anyhow::Result<Self> {
        ensure!(self.max_connections > 0, "max_connections = 0: nobody could connect");
        ensure!(self.max_unauthenticated > 0, "max_unauthenticated = 0: nobody could connect");
        check_address("listen", &self.listen)?;
        // A host's name is looked up, and checked, when the register starts.
        if let Ok(address) = self.listen.parse::<SocketAddr>() {
            check_exposure("the register", address.ip(), &self.secret_key, self.allow_insecure)?;
        }
        Ok(self)
    }
}

/// How long the register waits for a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For its first valid line that shows the key; a ping does not count.
    pub introduction: Duration,
    /// For its next line, once it has pinged. One that never pinged is believed
    /// as long as its connection stands.
    pub silence: Duration,
    /// For it to take a line.
    pub write: Duration,
}

impl Default for Limits {
    /// The original's 10 s for an introduction, more than two of the 25 s between
    /// pings for silence.
    fn default() -> Self {
        Self {
            introduction: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            write: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_is_shipped_says_every_default() {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/register.toml"))
                .unwrap();
        let keys: Vec<String> = toml::from_str::<toml::Table>(&text).unwrap().keys().cloned().collect();
        assert_eq!(
            keys,
            ["allow_insecure", "listen", "max_connections", "max_unauthenticated", "secret_key"]
        );
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
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
        ])
        .unwrap();
        let expected = Config {
            listen: "0.0.0.0:7".into(),
            secret_key: SecretKey::new("k"),
            allow_insecure: true,
            max_connections: 5,
            max_unauthenticated: 6,
            limits: Limits::default(),
        };
        assert_eq!(gatewayworker_daemon::load::<_, Config>(&cli.common, &cli.flags).unwrap(), expected);
    }

    #[test]
    fn an_open_door_and_a_limit_of_nothing_are_refused() {
        assert!(Config { listen: "0.0.0.0:1236".into(), ..Config::default() }.validated().is_err());
        assert!(Config { max_connections: 0, ..Config::default() }.validated().is_err());
        assert!(Config::default().validated().is_ok());
    }
}
