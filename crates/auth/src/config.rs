//! The settings of signed admission: the table `[auth]` of the gateway's file.
//!
//! It is on where a key is set. Reading the keys is a part of the checks, so that a gateway does not start with a file
//! that it could not use.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use gatewayworker_daemon::{ClientTlsError, one_or_many};
use gatewayworker_protocol::SecretKey;
use reqwest::Url;
use serde::Deserialize;

use crate::claims::Limits;
use crate::fetch::{FetchSetupError, Fetcher};
use crate::keys::{Key, KeyProblem};
use crate::verifier::{KeySet, MAX_TRIES, Rules, Verifier};

/// The most secrets of `hs256_secret_file`.
const MAX_SECRETS: usize = 10;

/// The longest leeway, in seconds.
const MAX_LEEWAY_S: u64 = 3600;

/// Where a client may show its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenPlace {
    /// `token=` in the query of the URL.
    Query,
    /// `Authorization: Bearer`, which programs can send and pages cannot.
    Header,
    /// The list of subprotocols: `["gw.token", TOKEN]`. `gw.token` is what is answered.
    Subprotocol,
}

/// The settings. The flags of the same names, with `auth-` before them, document each key ([`Flags`](crate::Flags)).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the flags of the same names are documented")]
pub struct Config {
    pub hs256_secret: SecretKey,
    pub hs256_secret_file: Option<PathBuf>,
    pub public_key_file: Option<PathBuf>,
    pub jwks_url: Option<String>,
    pub jwks_file: Option<PathBuf>,
    pub jwks_refresh_s: u64,
    pub allow_insecure: bool,
    pub ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "one_or_many")]
    pub audience: Vec<String>,
    pub issuer: String,
    pub leeway_s: u64,
    pub allow_without_exp: bool,
    pub token_in: Vec<TokenPlace>,
    pub cookie: String,
    pub required: bool,
    pub max_groups: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hs256_secret: SecretKey::default(),
            hs256_secret_file: None,
            public_key_file: None,
            jwks_url: None,
            jwks_file: None,
            jwks_refresh_s: 300,
            allow_insecure: false,
            ca_file: None,
            audience: Vec::new(),
            issuer: String::new(),
            leeway_s: 10,
            allow_without_exp: false,
            token_in: vec![TokenPlace::Query, TokenPlace::Header, TokenPlace::Subprotocol],
            cookie: String::new(),
            required: true,
            max_groups: 100,
        }
    }
}

/// A setting that cannot work. The text names the key, and has no part of a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Rules are set, and no key.
    #[error("auth: there is no key: set hs256_secret_file, public_key_file, jwks_url or jwks_file in [auth]")]
    NoKey,
    /// A file cannot be read.
    #[error("auth.{key}: cannot read {}: {error}", file.display())]
    Read {
        /// The key.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A key cannot be used. The text says why.
    #[error("auth.{key}: {problem}")]
    Key {
        /// The key of the file.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// `jwks_url` is none.
    #[error("auth.jwks_url = \"{0}\": write it as https://example.com/.well-known/jwks.json")]
    Url(String),
    /// `jwks_url` has a name or a password in it.
    #[error("auth.jwks_url has a name or a password before the host: key sets are public, take it out")]
    UrlCredentials,
    /// `jwks_url` goes over the network unprotected.
    #[error(
        "auth.jwks_url = \"{0}\": whoever is on the way could put keys of his own there: use https, or set \
         auth.allow_insecure = true"
    )]
    Insecure(String),
    /// `ca_file` has no use.
    #[error("auth.ca_file is set, and jwks_url does not begin with https: nothing would be checked with it")]
    UnusedAuthority,
    /// TLS for `jwks_url` cannot be set up: for `ca_file`, or without it.
    #[error("auth.{key}: {why}")]
    Tls {
        /// The key.
        key: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A number is out of its range.
    #[error("auth.{key} = {value}: from {least} to {most}")]
    Range {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The least value.
        least: u64,
        /// The largest value.
        most: u64,
    },
    /// Nobody could show a token.
    #[error("auth.token_in is empty, and no cookie is set: nobody could show a token")]
    NoPlace,
    /// The name of the cookie is none.
    #[error("auth.cookie = \"{0}\": no cookie can have this name")]
    CookieName(String),
}

impl Config {
    /// Returns whether clients are asked for tokens: a key is set.
    pub fn is_on(&self) -> bool {
        let Self { hs256_secret, hs256_secret_file, public_key_file, jwks_url, jwks_file, .. } = self;
        let files = [hs256_secret_file, public_key_file, jwks_file];
        !hs256_secret.is_empty() || files.into_iter().any(Option::is_some) || jwks_url.is_some()
    }

    /// Returns the settings with relative paths relative to the directory of `file`.
    #[must_use]
    pub fn with_paths_relative_to(mut self, file: Option<&Path>) -> Self {
        let paths =
            [&mut self.hs256_secret_file, &mut self.public_key_file, &mut self.jwks_file, &mut self.ca_file];
        if let Some(directory) = file.and_then(Path::parent) {
            for path in paths.into_iter().flatten() {
                *path = directory.join(&path);
            }
        }
        self
    }

    /// Checks what the types cannot. Reads no file.
    ///
    /// # Errors
    /// The first value that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !self.is_on() {
            return if *self == Self::default() { Ok(()) } else { Err(ConfigError::NoKey) };
        }
        let url = self.key_set_url()?;
        if self.ca_file.is_some() && url.is_none_or(|url| url.scheme() != "https") {
            return Err(ConfigError::UnusedAuthority);
        }
        for (key, value, least, most) in [
            ("jwks_refresh_s", self.jwks_refresh_s, 10, 86_400),
            ("leeway_s", self.leeway_s, 0, MAX_LEEWAY_S),
            ("max_groups", self.max_groups as u64, 0, 10_000),
        ] {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::Range { key, value, least, most });
            }
        }
        if self.token_in.is_empty() && self.cookie.is_empty() {
            return Err(ConfigError::NoPlace);
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !self.cookie.bytes().all(is_name) {
            return Err(ConfigError::CookieName(self.cookie.clone()));
        }
        Ok(())
    }

    /// Checks what [`validate`](Self::validate) does, and reads all files.
    ///
    /// # Errors
    /// The first value that cannot work, or file that cannot be used.
    pub fn check_files(&self, limits: Limits) -> Result<(), ConfigError> {
        self.verifier(limits)?;
        self.fetcher()?;
        Ok(())
    }

    /// Returns the verifier with the keys of all files. Those of `jwks_url` are not there yet.
    ///
    /// # Errors
    /// When a file cannot be read, or a key in it cannot be used.
    pub fn verifier(&self, limits: Limits) -> Result<Verifier, ConfigError> {
        self.validate()?;
        let max_groups = limits.max_groups.min(self.max_groups);
        let rules = Rules {
            audience: self.audience.clone(),
            issuer: self.issuer.clone(),
            leeway_s: self.leeway_s,
            allow_without_exp: self.allow_without_exp,
            limits: Limits { max_groups, ..limits },
        };
        let key_set = if self.jwks_url.is_some() { KeySet::Away } else { KeySet::Unused };
        Ok(Verifier::new(rules, self.own_keys()?, key_set))
    }

    /// Returns the keys of the settings and the files.
    pub(crate) fn own_keys(&self) -> Result<Vec<Key>, ConfigError> {
        let mut keys = Vec::new();
        let problem = |key| move |problem: KeyProblem| ConfigError::Key { key, problem: problem.to_string() };
        if !self.hs256_secret.is_empty() {
            keys.push(Key::of_secret(self.hs256_secret.expose()).map_err(problem("hs256_secret"))?);
        }
        if let Some(text) = read("hs256_secret_file", self.hs256_secret_file.as_deref())? {
            let mistake = problem("hs256_secret_file");
            let secrets: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            if !(1..=MAX_SECRETS).contains(&secrets.len()) {
                let problem =
                    format!("it has {} lines with a secret: give 1 to {MAX_SECRETS}", secrets.len());
                return Err(ConfigError::Key { key: "hs256_secret_file", problem });
            }
            for secret in secrets {
                keys.push(Key::of_secret(secret).map_err(mistake)?);
            }
        }
        if let Some(text) = read("public_key_file", self.public_key_file.as_deref())? {
            keys.extend(Key::of_pem(&text).map_err(problem("public_key_file"))?);
            check_tries("public_key_file", &keys)?;
        }
        if let Some(text) = read("jwks_file", self.jwks_file.as_deref())? {
            keys.extend(Key::of_key_set(text.as_bytes()).map_err(problem("jwks_file"))?);
            check_tries("jwks_file", &keys)?;
        }
        Ok(keys)
    }

    /// Returns what fetches the key set, where one is set.
    pub(crate) fn fetcher(&self) -> Result<Option<Fetcher>, ConfigError> {
        let Some(url) = self.key_set_url()? else { return Ok(None) };
        let fetcher = Fetcher::new(url, self.ca_file.as_deref());
        let key = |error: &FetchSetupError| match error {
            FetchSetupError::Tls(ClientTlsError::File { .. }) => "ca_file",
            _ => "jwks_url",
        };
        fetcher.map(Some).map_err(|error| ConfigError::Tls { key: key(&error), why: error.to_string() })
    }

    /// Returns the URL of the key set, where one is set.
    fn key_set_url(&self) -> Result<Option<Url>, ConfigError> {
        let Some(text) = &self.jwks_url else { return Ok(None) };
        let url = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        let Some(url) = url.filter(Url::has_host) else {
            // A name and a password stand before an @.
            let shown = text.rsplit_once('@').map_or(text.as_str(), |(_, host)| host);
            return Err(ConfigError::Url(shown.to_owned()));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ConfigError::UrlCredentials);
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        if url.scheme() == "http" && !is_loopback && !self.allow_insecure {
            return Err(ConfigError::Insecure(text.clone()));
        }
        Ok(Some(url))
    }
}

/// Checks that all keys without a name are tried. `key` names the file that was read last.
fn check_tries(key: &'static str, keys: &[Key]) -> Result<(), ConfigError> {
    let nameless = |key: &&Key| key.kid.is_none();
    let alike = |key: &Key| keys.iter().filter(nameless).filter(|it| it.algorithm == key.algorithm).count();
    let most = keys.iter().filter(nameless).map(alike).max().unwrap_or(0);
    if most > MAX_TRIES {
        let problem = format!(
            "there are {most} keys of one kind without a name (kid), and a token is tried with {MAX_TRIES}: take old \
             ones out, or name them in a key set"
        );
        return Err(ConfigError::Key { key, problem });
    }
    Ok(())
}

fn read(key: &'static str, file: Option<&Path>) -> Result<Option<String>, ConfigError> {
    let read = |file: &Path| {
        std::fs::read_to_string(file).map_err(|error| ConfigError::Read { key, file: file.to_owned(), error })
    };
    file.map(read).transpose()
}

#[cfg(test)]
mod tests;
