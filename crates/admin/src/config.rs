//! The settings of the page: the table `[admin]` of a daemon's file, and the flags `--admin-…` of daemons and of
//! `gatewayworker start`. `page` follows them.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use gatewayworker_client::SecretKey;
use gatewayworker_daemon::{AddressError, SecretFileError, check_address, read_secret_file};
use gatewayworker_http::api::TokenProblem;
use serde::{Deserialize, Serialize};

/// The name of the setting of the address.
pub(crate) const LISTEN: &str = "admin.listen";

/// The flags, which serialize as the keys of the table `[admin]`; what is not set is left to the file.
///
/// The variable of `--admin-listen` is `gatewayworker start`'s; a daemon gives the flag a variable of its own, since the
/// daemons of a machine have the same environment and cannot have the same port.
#[derive(Debug, Clone, Default, clap::Args, Serialize)]
// The flags that contain these are called Flags, too, and clap takes each name once.
#[group(skip)]
pub struct Flags {
    /// Serve a page for operators at ADDRESS, host:port; beyond loopback it needs a token [default: none]
    #[arg(long, value_name = "ADDRESS", env = "GATEWAYWORKER_ADMIN_LISTEN")]
    #[serde(rename = "listen", skip_serializing_if = "Option::is_none")]
    pub admin_listen: Option<String>,

    /// The token that the page asks for before it shows single clients and makes calls; better set in the environment, where other users do not see it [default: none]
    #[arg(long, value_name = "TOKEN", env = "GATEWAYWORKER_ADMIN_TOKEN", hide_env_values = true)]
    #[serde(rename = "token", skip_serializing_if = "Option::is_none")]
    pub admin_token: Option<SecretKey>,

    /// Read that token from FILE, its first line; it wins over --admin-token [default: none]
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_ADMIN_TOKEN_FILE")]
    #[serde(rename = "token_file", skip_serializing_if = "Option::is_none")]
    pub admin_token_file: Option<PathBuf>,

    /// Serve the page under the name HOST, too, as behind a proxy; may be given several times [default: IP addresses and localhost]
    #[arg(long, value_name = "HOST", env = "GATEWAYWORKER_ADMIN_HOSTS", value_delimiter = ',')]
    #[serde(rename = "hosts", skip_serializing_if = "Option::is_none")]
    pub admin_hosts: Option<Vec<String>>,
}

/// The settings of the page: the keys of the table `[admin]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Where it is served, `host:port`; `None` for nowhere.
    pub listen: Option<String>,
    /// What a caller has to show for everything that is about single clients; empty for none: then nobody may.
    pub token: SecretKey,
    /// The file with the token in its first line; it wins over `token`.
    pub token_file: Option<PathBuf>,
    /// The names under which the page may be called, beside IP addresses and localhost.
    pub hosts: Vec<String>,
}

/// A setting of the page that cannot work. The text names the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `listen` is not an address with a port.
    #[error(transparent)]
    Listen(#[from] AddressError),
    /// The token cannot be used.
    #[error("admin.token: {0}")]
    Token(TokenProblem),
    /// The file with the token cannot be read.
    #[error("admin.token_file: {0}")]
    TokenFile(SecretFileError),
    /// Other machines may reach the page, and there is no token.
    #[error(
        "admin.listen: the page would be open to everybody who reaches {0}: set admin.token, or listen on 127.0.0.1"
    )]
    Open(IpAddr),
    /// An entry of `hosts` is no name.
    #[error("admin.hosts: \"{0}\" is no host: write admin.example.com, without a scheme, a port and a path")]
    Host(String),
}

impl Config {
    /// The settings of a page at `listen`, `host:port`.
    pub fn new(listen: impl Into<String>) -> Self {
        Self { listen: Some(listen.into()), ..Self::default() }
    }

    /// Sets the token.
    #[must_use]
    pub fn with_token(mut self, token: SecretKey) -> Self {
        self.token = token;
        self
    }

    /// Returns the settings with the path of the token, where it is relative, relative to the directory of `file`.
    #[must_use]
    pub fn with_paths_relative_to(mut self, file: Option<&Path>) -> Self {
        if let (Some(token), Some(directory)) = (&mut self.token_file, file.and_then(Path::parent)) {
            *token = directory.join(&*token);
        }
        self
    }

    /// Checks what the types cannot; `secret_key` is the cluster's. Reads the file with the token.
    ///
    /// # Errors
    /// The first value that cannot work, in one line that names its key.
    pub fn validate(&self, secret_key: &SecretKey) -> Result<(), ConfigError> {
        if let Some(host) = self.hosts.iter().find(|host| !is_host(host)) {
            return Err(ConfigError::Host(host.clone()));
        }
        let Some(listen) = &self.listen else { return Ok(()) };
        check_address(LISTEN, listen)?;
        let token = self.read_token(secret_key)?;
        // A host name is resolved, and checked, when the page is opened.
        if let Ok(address) = listen.parse::<SocketAddr>() {
            check_exposure(address.ip(), token.as_ref())?;
        }
        Ok(())
    }

    /// Returns the token; `None` where none is set.
    ///
    /// # Errors
    /// When it cannot be read, or used.
    pub(crate) fn read_token(&self, secret_key: &SecretKey) -> Result<Option<SecretKey>, ConfigError> {
        let token = match &self.token_file {
            Some(file) => read_secret_file(file).map_err(ConfigError::TokenFile)?,
            None => self.token.clone(),
        };
        if token.is_empty() {
            return Ok(None);
        }
        TokenProblem::check(&token, secret_key).map_err(ConfigError::Token)?;
        Ok(Some(token))
    }
}

/// Checks that the page may be served at `ip`: on loopback, or with a token.
///
/// # Errors
/// When it may not.
pub(crate) fn check_exposure(ip: IpAddr, token: Option<&SecretKey>) -> Result<(), ConfigError> {
    if ip.to_canonical().is_loopback() || token.is_some() { Ok(()) } else { Err(ConfigError::Open(ip)) }
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn refused(config: &Config) -> String {
        config.validate(&SecretKey::new("the cluster's key")).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key_and_a_token_does_not_show_itself() {
        let token = SecretKey::new(TOKEN);
        let page = || Config::new("127.0.0.1:9600").with_token(token.clone());
        assert!(refused(&Config::new("nowhere")).starts_with("admin.listen"));
        assert!(refused(&Config::new("0.0.0.0:9600")).starts_with("admin.listen: the page would be open"));
        assert!(
            Config::new("0.0.0.0:9600").with_token(token.clone()).validate(&SecretKey::default()).is_ok()
        );
        assert!(Config::new("127.0.0.1:9600").validate(&SecretKey::default()).is_ok());
        for wrong in ["0123456789abcde", "a token with spaces", "the cluster's key"] {
            let error = refused(&page().with_token(SecretKey::new(wrong)));
            assert!(error.starts_with("admin.token: ") && !error.contains(wrong), "{error}");
        }
        for wrong in ["https://example.com", "example.com:80", "", "*"] {
            let mut config = page();
            config.hosts = vec![wrong.into()];
            assert!(refused(&config).starts_with("admin.hosts: "), "{wrong}");
        }
        assert!(!format!("{:?}", page()).contains(TOKEN));
    }

    #[test]
    fn a_token_in_a_file_wins_and_its_path_is_relative_to_the_configuration() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let mut config = Config::new("127.0.0.1:9600").with_token(SecretKey::new("another token, wrong"));
        config.token_file = Some("token".into());
        let config = config.with_paths_relative_to(Some(&directory.path().join("gateway.toml")));
        assert_eq!(config.read_token(&SecretKey::default()).unwrap(), Some(SecretKey::new(TOKEN)));
        std::fs::remove_file(directory.path().join("token")).unwrap();
        assert!(refused(&config).starts_with("admin.token_file: cannot read "));
    }
}
