//! The settings of signed admission: the table `[auth]` of the gateway's file.
//!
//! It is on where a key is set. Reading the keys is a part of the checks, so that a gateway does not start with a file
//! that it could not use.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use gatewayworker_daemon::one_or_many;
use gatewayworker_protocol::SecretKey;
use reqwest::Url;
use serde::Deserialize;

use crate::claims::Limits;
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
    /// TLS for `jwks_url` cannot be set up.
    #[error("auth.jwks_url: {0}")]
    Tls(String),
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
        let paths = [&mut self.hs256_secret_file, &mut self.public_key_file, &mut self.jwks_file];
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
        self.key_set_url()?;
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

    /// Returns the URL of the key set, where one is set.
    pub(crate) fn key_set_url(&self) -> Result<Option<Url>, ConfigError> {
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
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { max_groups: usize::MAX, max_name_bytes: usize::MAX, max_session_bytes: usize::MAX };

    fn refused(toml: &str) -> String {
        let config: Config = toml::from_str(toml).unwrap();
        config.verifier(LIMITS).unwrap_err().to_string()
    }

    #[test]
    fn it_is_off_without_a_key_and_rules_without_a_key_are_an_error() {
        let off = Config::default();
        assert!(!off.is_on() && off.validate().is_ok());
        assert!(refused("audience = 'a'").starts_with("auth: there is no key: set hs256_secret_file"));
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key_and_a_secret_does_not_show_itself() {
        let secret = "hs256_secret = '0123456789abcdef0123456789abcdef'\n";
        for (toml, says) in [
            ("hs256_secret = 'hunter2'", "auth.hs256_secret: it has 7 bytes, and HS256 needs 32 at least"),
            ("hs256_secret_file = '/nowhere'", "auth.hs256_secret_file: cannot read /nowhere: "),
            ("public_key_file = '/dev/null'", "auth.public_key_file: it has no key"),
            ("jwks_file = '/dev/null'", "auth.jwks_file: it is no JSON Web Key Set"),
            ("jwks_url = 'example.com'", "auth.jwks_url = \"example.com\": write it as https://"),
            ("jwks_url = 'file:///etc/passwd'", "auth.jwks_url = \"file:///etc/passwd\": write it as"),
            (
                "jwks_url = 'http://example.com/'",
                "auth.jwks_url = \"http://example.com/\": whoever is on the way",
            ),
            ("jwks_url = 'https://u:hunter2@example.com/'", "auth.jwks_url has a name or a password"),
            ("jwks_url = 'http://hunter2@example.com/'", "auth.jwks_url has a name or a password"),
            (&format!("{secret}leeway_s = 3601"), "auth.leeway_s = 3601: from 0 to 3600"),
            (&format!("{secret}jwks_refresh_s = 1"), "auth.jwks_refresh_s = 1: from 10"),
            (&format!("{secret}token_in = []"), "auth.token_in is empty"),
            (&format!("{secret}cookie = 'a b'"), "auth.cookie = \"a b\""),
        ] {
            let error = refused(toml);
            assert!(error.starts_with(says) && !error.contains("hunter2"), "{toml}: {error}");
        }
        let config: Config = toml::from_str(secret).unwrap();
        assert!(!format!("{:?}", (&config, config.verifier(LIMITS).unwrap())).contains("0123456789"));
        assert!(toml::from_str::<Config>("token_in = ['body']").is_err());
    }

    #[test]
    fn keys_over_http_are_for_loopback_or_for_whoever_says_so() {
        for url in ["https://example.com/jwks", "http://127.0.0.1:1/", "http://localhost/", "http://[::1]/"] {
            let config = Config { jwks_url: Some(url.into()), ..Config::default() };
            assert!(config.validate().is_ok(), "{url}");
        }
        let open =
            Config { jwks_url: Some("http://10.0.0.1/".into()), allow_insecure: true, ..Config::default() };
        assert!(open.validate().is_ok());
    }

    #[test]
    fn paths_are_relative_to_the_configuration_and_a_file_may_have_a_secret_on_each_line() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("s"), format!("{}\n\n{}\n", "a".repeat(32), "b".repeat(32)))
            .unwrap();
        let config = Config { hs256_secret_file: Some("s".into()), ..Config::default() }
            .with_paths_relative_to(Some(&directory.path().join("gateway.toml")));
        assert_eq!(config.verifier(LIMITS).unwrap().own_keys.len(), 2);
        let secrets: Vec<_> = (b'a'..b'k').map(|letter| char::from(letter).to_string().repeat(32)).collect();
        std::fs::write(directory.path().join("s"), secrets.join("\n")).unwrap();
        assert!(config.verifier(LIMITS).unwrap().own_keys.len() < MAX_TRIES, "all secrets are tried");
        std::fs::write(directory.path().join("s"), "\n").unwrap();
        let error = config.verifier(LIMITS).unwrap_err().to_string();
        assert_eq!(error, "auth.hs256_secret_file: it has 0 lines with a secret: give 1 to 10");
    }

    #[test]
    fn more_keys_without_a_name_than_are_tried_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys.pem");
        let config = Config { public_key_file: Some(file.clone()), ..Config::default() };
        let pem = include_str!("testing/ed.pub.pem");
        std::fs::write(&file, pem.repeat(MAX_TRIES)).unwrap();
        assert_eq!(config.verifier(LIMITS).unwrap().own_keys.len(), MAX_TRIES);
        std::fs::write(&file, pem.repeat(MAX_TRIES + 1)).unwrap();
        let error = config.verifier(LIMITS).unwrap_err().to_string();
        assert!(error.starts_with("auth.public_key_file: there are 17 keys of one kind"), "{error}");
    }
}
