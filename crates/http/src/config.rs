//! The settings of HTTP push: the table `[http]` of the worker's file, and the flags `--http-…`.
//!
//! Reads and checks them; [`server`](crate::serve) and `authorization` follow them. The worker's
//! configuration contains them.

use std::net::IpAddr;
use std::time::Duration;

use gatewayworker_client::SecretKey;
use gatewayworker_daemon::FormerKeys;
use serde::{Deserialize, Serialize};

use crate::api::TokenProblem;
use crate::config_error::{ConfigError, DAY_MS};

/// The former names of the keys, without a table: `http_listen`.
pub const FORMER_KEYS: FormerKeys = FormerKeys {
    table: "http",
    keys: &[
        "listen",
        "token",
        "allowed_origins",
        "trusted_proxies",
        "max_auth_failures_per_minute",
        "max_connections",
        "concurrency",
        "max_body_bytes",
        "max_batch",
        "read_timeout_ms",
        "request_timeout_ms",
    ],
};

/// The flags, which serialize as the keys of the table `[http]`; what is not set is left to the file.
#[derive(Debug, Default, clap::Args, Serialize)]
// The flags that contain these are called Flags, too, and clap takes each name once.
#[group(skip)]
pub struct Flags {
    /// Take calls over HTTP at ADDRESS, host:port; needs a token [default: none]
    #[arg(long, value_name = "ADDRESS", env = "GATEWAYWORKER_HTTP_LISTEN")]
    #[serde(rename = "listen", skip_serializing_if = "Option::is_none")]
    pub http_listen: Option<String>,

    /// The token that callers over HTTP have to show; better set in the environment, where other users do not see it
    #[arg(long, value_name = "TOKEN", env = "GATEWAYWORKER_HTTP_TOKEN", hide_env_values = true)]
    #[serde(rename = "token", skip_serializing_if = "Option::is_none")]
    pub http_token: Option<SecretKey>,

    /// Let pages from ORIGIN call, `https://example.com`; may be given several times [default: none]
    #[arg(long, value_name = "ORIGIN", env = "GATEWAYWORKER_HTTP_ALLOWED_ORIGINS", value_delimiter = ',')]
    #[serde(rename = "allowed_origins", skip_serializing_if = "Option::is_none")]
    pub http_allowed_origins: Option<Vec<String>>,

    /// Believe the proxy at IP whom it calls for; may be given several times [default: none]
    #[arg(long, value_name = "IP", env = "GATEWAYWORKER_HTTP_TRUSTED_PROXIES", value_delimiter = ',')]
    #[serde(rename = "trusted_proxies", skip_serializing_if = "Option::is_none")]
    pub http_trusted_proxies: Option<Vec<IpAddr>>,

    /// Refuse an address for a minute after N wrong tokens, 0 for never [default: 10]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_HTTP_MAX_AUTH_FAILURES_PER_MINUTE")]
    #[serde(rename = "max_auth_failures_per_minute", skip_serializing_if = "Option::is_none")]
    pub http_max_auth_failures_per_minute: Option<u32>,

    /// Hold at most N connections of HTTP callers [default: 1024]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_HTTP_MAX_CONNECTIONS")]
    #[serde(rename = "max_connections", skip_serializing_if = "Option::is_none")]
    pub http_max_connections: Option<usize>,

    /// Run at most N requests at once [default: 256]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_HTTP_CONCURRENCY")]
    #[serde(rename = "concurrency", skip_serializing_if = "Option::is_none")]
    pub http_concurrency: Option<usize>,

    /// Take requests of at most N bytes [default: 8388608]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_HTTP_MAX_BODY_BYTES")]
    #[serde(rename = "max_body_bytes", skip_serializing_if = "Option::is_none")]
    pub http_max_body_bytes: Option<usize>,

    /// Take at most N calls in a batch [default: 100]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_HTTP_MAX_BATCH")]
    #[serde(rename = "max_batch", skip_serializing_if = "Option::is_none")]
    pub http_max_batch: Option<usize>,

    /// Wait at most MS milliseconds for a request's head, for its body, and for an answer to be read [default: 10000]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_HTTP_READ_TIMEOUT_MS")]
    #[serde(rename = "read_timeout_ms", skip_serializing_if = "Option::is_none")]
    pub http_read_timeout_ms: Option<u64>,

    /// Run a request for at most MS milliseconds [default: 30000]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_HTTP_REQUEST_TIMEOUT_MS")]
    #[serde(rename = "request_timeout_ms", skip_serializing_if = "Option::is_none")]
    pub http_request_timeout_ms: Option<u64>,
}

/// The settings of HTTP push: the keys of the table `[http]` of a worker's file.
///
/// In code, [`Config::new`] makes them, and fields may be set after that.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen, `host:port`; `None` for nowhere.
    pub listen: Option<String>,
    /// What callers have to show.
    pub token: SecretKey,
    /// The origins whose pages may call, `https://example.com`.
    pub allowed_origins: Vec<String>,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// After how many wrong tokens within a minute an address is refused; 0 for never.
    pub max_auth_failures_per_minute: u32,
    /// How many connections are held.
    pub max_connections: usize,
    /// How many requests run at once.
    pub concurrency: usize,
    /// The longest body, in bytes. By default a good deal less than a frame of the
    /// inner protocol may have, into which the message has to go.
    pub max_body_bytes: usize,
    /// How many calls a batch may have.
    pub max_batch: usize,
    /// How long a request's head may take to come, its body as long again, and a piece
    /// of the answer to be taken, in milliseconds. An idle connection ends after it too.
    pub read_timeout_ms: u64,
    /// How long a request may run, in milliseconds.
    pub request_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: None,
            token: SecretKey::default(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            max_auth_failures_per_minute: 10,
            max_connections: 1024,
            concurrency: 256,
            max_body_bytes: 8 * 1024 * 1024,
            max_batch: 100,
            read_timeout_ms: 10_000,
            request_timeout_ms: 30_000,
        }
    }
}

impl Config {
    /// The settings of a worker that takes calls at `listen`, `host:port`, from callers with `token`,
    /// and has the default limits.
    pub fn new(listen: impl Into<String>, token: SecretKey) -> Self {
        Self { listen: Some(listen.into()), token, ..Self::default() }
    }

    /// Checks what the types cannot; `secret_key` is the cluster's.
    ///
    /// # Errors
    /// The first value that cannot work, in one line that begins with its key.
    pub fn validate(&self, secret_key: &SecretKey) -> Result<(), ConfigError> {
        if let Some(address) = &self.listen {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() {
                return Err(ConfigError::Listen(address.clone()));
            }
            self.validate_token(secret_key)?;
        }
        if let Some(origin) = self.allowed_origins.iter().find(|origin| !is_origin(origin)) {
            return Err(ConfigError::Origin(origin.clone()));
        }
        let limits = [
            ("max_connections", self.max_connections),
            ("concurrency", self.concurrency),
            ("max_body_bytes", self.max_body_bytes),
            ("max_batch", self.max_batch),
        ];
        if let Some((key, _)) = limits.into_iter().find(|(_, limit)| *limit == 0) {
            return Err(ConfigError::Zero(key));
        }
        let timeouts =
            [("read_timeout_ms", self.read_timeout_ms), ("request_timeout_ms", self.request_timeout_ms)];
        if let Some((key, _)) = timeouts.into_iter().find(|(_, ms)| !(1..=DAY_MS).contains(ms)) {
            return Err(ConfigError::Timeout(key));
        }
        Ok(())
    }

    fn validate_token(&self, secret_key: &SecretKey) -> Result<(), ConfigError> {
        if self.token.is_empty() {
            return Err(ConfigError::NoToken);
        }
        TokenProblem::check(&self.token, secret_key).map_err(ConfigError::Token)
    }

    pub(crate) fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.read_timeout_ms)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

/// Whether a text is an origin as browsers write it: a scheme, a host and perhaps a port.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let plain = |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase() && !"/?#@*\\".contains(c);
    !scheme.is_empty()
        && scheme.chars().all(|c| c.is_ascii_lowercase() || "+-.".contains(c))
        && !host.is_empty()
        && host.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn listening() -> Config {
        Config { listen: Some("127.0.0.1:0".into()), token: SecretKey::new(TOKEN), ..Config::default() }
    }

    fn refused(config: &Config) -> String {
        config.validate(&SecretKey::new("the cluster's key")).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key() {
        let wrong = |key: &str, change: fn(&mut Config)| {
            let mut config = listening();
            change(&mut config);
            let error = refused(&config);
            assert!(error.starts_with(&format!("{key}: ")), "{error}");
        };
        wrong("http.listen", |c| c.listen = Some("nowhere".into()));
        wrong("http.token", |c| c.token = SecretKey::default());
        wrong("http.allowed_origins", |c| c.allowed_origins = vec!["*".into()]);
        wrong("http.max_connections", |c| c.max_connections = 0);
        wrong("http.concurrency", |c| c.concurrency = 0);
        wrong("http.max_body_bytes", |c| c.max_body_bytes = 0);
        wrong("http.max_batch", |c| c.max_batch = 0);
        wrong("http.read_timeout_ms", |c| c.read_timeout_ms = 0);
        wrong("http.read_timeout_ms", |c| c.read_timeout_ms = u64::MAX);
        wrong("http.request_timeout_ms", |c| c.request_timeout_ms = 0);
        listening().validate(&SecretKey::default()).unwrap();
        Config::default().validate(&SecretKey::default()).unwrap();
    }

    #[test]
    fn a_token_is_long_enough_and_fits_a_header_and_is_not_the_inner_key() {
        for token in ["0123456789abcde", "a token with spaces in it", "ein-schlüssel-mit-umlaut"] {
            let error = refused(&Config { token: SecretKey::new(token), ..listening() });
            assert!(error.starts_with("http.token: ") && !error.contains(token), "{error}");
        }
        let error = listening().validate(&SecretKey::new(TOKEN)).unwrap_err().to_string();
        assert!(error.starts_with("http.token: must not be the secret_key"), "{error}");
    }

    #[test]
    fn a_token_does_not_show_itself() {
        assert!(!format!("{:?}", listening()).contains(TOKEN));
        let flags = Flags { http_token: Some(SecretKey::new(TOKEN)), ..Flags::default() };
        assert!(!format!("{flags:?}").contains(TOKEN));
    }

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for origin in ["https://example.com", "http://localhost:3000", "http://[::1]:8080", "app://x"] {
            assert!(is_origin(origin), "{origin}");
        }
        for wrong in ["*", "null", "example.com", "https://", "https://Example.com", "https://a/", "://a"] {
            assert!(!is_origin(wrong), "{wrong}");
        }
    }
}
