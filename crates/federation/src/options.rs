//! [`Options`]: which NATS, as which cluster, with which key; and the errors in them.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;

use async_nats::ServerAddr;
use gatewayworker_client::{ClusterName, SecretKey};
use nkeys::{KeyPair, KeyPairType};
use percent_encoding::percent_decode_str;

/// The prefix of all subjects, unless another is set.
const DEFAULT_PREFIX: &str = "gatewayworker.federation";

/// The shortest key, in bytes.
const MIN_KEY: usize = 16;

/// The options of a [`Federation`](crate::Federation).
#[derive(Clone)]
#[must_use]
pub struct Options {
    pub(crate) urls: Vec<String>,
    pub(crate) cluster: ClusterName,
    pub(crate) key: SecretKey,
    pub(crate) prefix: String,
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) nkey: Option<SecretKey>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) durable: bool,
}

/// Why a federation cannot be joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No URL is given, or this one, of which a password is not shown, cannot be read.
    #[error("federation: {0:?} is not the URL of a nats-server: nats://host:port or tls://host:port is")]
    Url(String),
    /// The key is missing or short.
    #[error("federation_key: it needs {MIN_KEY} bytes at least, the same in all clusters")]
    Key,
    /// The prefix cannot begin a subject.
    #[error(
        "federation_prefix: {0:?} is no prefix of subjects: letters, digits, - and _ are, with dots between them"
    )]
    Prefix(String),
    /// Two ways to authenticate are given.
    #[error(
        "federation: give one of federation_credentials, federation_nkey, and a user in the URLs, and not several"
    )]
    Authentication,
    /// The seed makes no NKey of a user.
    #[error("federation_nkey: it is not the seed of a user's NKey, which begins with SU")]
    Nkey,
    /// A file that is named cannot be read.
    #[error("federation: {file}: {error}", file = file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The error.
        error: std::io::Error,
    },
    /// The file with the credentials, or what is in it, cannot be read.
    #[error("federation_credentials: {file}: {error}", file = file.display())]
    Credentials {
        /// The file.
        file: PathBuf,
        /// The error.
        error: std::io::Error,
    },
    /// The program's configuration makes no options.
    #[error(transparent)]
    Invalid(Box<dyn std::error::Error + Send + Sync>),
    /// The NATS client has ended.
    #[error("federation: the NATS client has ended: start the process again")]
    Ended,
    /// async-nats does not begin to connect.
    #[error("federation: {0}")]
    Connect(#[from] async_nats::ConnectError),
    /// async-nats does not subscribe.
    #[error("federation: {0}")]
    Subscribe(#[from] async_nats::SubscribeError),
}

impl Options {
    /// The options of a process of `cluster` that reaches NATS at one of `urls`, and signs with `key`.
    pub fn new<U: Into<String>>(
        urls: impl IntoIterator<Item = U>,
        cluster: ClusterName,
        key: SecretKey,
    ) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            cluster,
            key,
            prefix: DEFAULT_PREFIX.into(),
            credentials: None,
            nkey: None,
            ca: None,
            certificate: None,
            durable: false,
        }
    }

    /// Sets the prefix of all subjects; `gatewayworker.federation` by default. Only clusters with the same prefix hear each other.
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Authenticates with the JWT and the key in this file (`.creds`).
    pub fn with_credentials(mut self, file: impl Into<Option<PathBuf>>) -> Self {
        self.credentials = file.into();
        self
    }

    /// Authenticates with the NKey that this seed makes.
    pub fn with_nkey(mut self, seed: impl Into<Option<SecretKey>>) -> Self {
        self.nkey = seed.into();
        self
    }

    /// Trusts the authorities in this PEM file, and not those of the system, for TLS with NATS. TLS is required with it, or where the
    /// URL begins with `tls://`; otherwise it is used where the server wants it.
    pub fn with_ca(mut self, file: impl Into<Option<PathBuf>>) -> Self {
        self.ca = file.into();
        self
    }

    /// Shows this certificate and key, PEM files, to NATS. TLS is required with it.
    pub fn with_certificate(mut self, files: impl Into<Option<(PathBuf, PathBuf)>>) -> Self {
        self.certificate = files.into();
        self
    }

    /// Sends through JetStream, which keeps what is sent until each cluster has acknowledged it; off by default. Other clusters are told at
    /// least once, and each process is heard in order. A worker of a durable cluster also reads what others have sent so. All workers of a cluster have
    /// the same.
    pub fn with_durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Checks what needs no server: the values, and that the files can be read.
    ///
    /// # Errors
    /// The first value that cannot work.
    pub fn validate(&self) -> Result<(), Error> {
        let ways = [self.servers()?.login.is_some(), self.credentials.is_some(), self.nkey.is_some()];
        if ways.into_iter().filter(|is_given| *is_given).count() > 1 {
            return Err(Error::Authentication);
        }
        let certificate = self.certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        for file in self.credentials.iter().chain(&self.ca).chain(certificate) {
            File::open(file).map_err(|error| Error::File { file: file.clone(), error })?;
        }
        if let Some(seed) = &self.nkey {
            let pair = KeyPair::from_seed(seed.expose()).map_err(|_| Error::Nkey)?;
            if pair.key_pair_type() != KeyPairType::User {
                return Err(Error::Nkey);
            }
        }
        if self.key.expose().len() < MIN_KEY {
            return Err(Error::Key);
        }
        let is_token = |token: &str| {
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !token.is_empty() && token.bytes().all(is_good)
        };
        if self.prefix.len() > 100 || !self.prefix.split('.').all(is_token) {
            return Err(Error::Prefix(self.prefix.clone()));
        }
        Ok(())
    }

    /// Reads the URLs.
    ///
    /// # Errors
    /// When one of them cannot be read, or they name different users.
    pub(crate) fn servers(&self) -> Result<Servers, Error> {
        if self.urls.is_empty() {
            return Err(Error::Url(String::new()));
        }
        let mut servers = Servers { addresses: Vec::new(), login: None };
        for text in &self.urls {
            let bad = || Error::Url(without_password(text));
            let address = text.parse::<ServerAddr>().map_err(|_| bad())?;
            let has_password_alone = address.username().is_none() && address.password().is_some();
            if address.is_websocket() || has_password_alone {
                return Err(bad());
            }
            if let Some(user) = address.username() {
                let login = Login {
                    user: decoded(user).ok_or_else(bad)?,
                    password: address.password().map(|text| decoded(text).ok_or_else(bad)).transpose()?,
                };
                if *servers.login.get_or_insert_with(|| login.clone()) != login {
                    return Err(Error::Authentication);
                }
            }
            let mut url = address.into_inner();
            url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| bad())?;
            servers.addresses.push(ServerAddr::from_url(url).map_err(|_| bad())?);
        }
        Ok(servers)
    }
}

/// The servers of the URLs. async-nats does not use the user and the password in a URL, and writes URLs to its log, so they are taken out.
pub(crate) struct Servers {
    pub(crate) addresses: Vec<ServerAddr>,
    pub(crate) login: Option<Login>,
}

/// The user that URLs name.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    /// Without a password the user is a token.
    pub(crate) password: Option<String>,
}

/// The text of which this is the percent-encoding.
fn decoded(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("cluster", &self.cluster)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// What may be shown of a URL that cannot be read: its scheme, and the host behind `@`. A URL without `@` may be the first part of one whose
/// password has a comma.
fn without_password(url: &str) -> String {
    let scheme = url.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
    match url.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}***@{host}"),
        None if url.contains("://") && url[scheme.len()..].contains(':') => format!("{scheme}***"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str, key: &str) -> Options {
        Options::new([url], "sh-1".parse().unwrap(), SecretKey::new(key))
    }

    #[test]
    fn what_cannot_work_is_said_without_a_secret() {
        let good = || options("nats://me:hunter2@10.0.0.1:4222", "0123456789abcdef");
        assert!(good().validate().is_ok());
        let short = options("nats://10.0.0.1", "0123456789abcde").validate().unwrap_err();
        assert!(matches!(short, Error::Key));
        for prefix in ["", "a.", ".a", "a b", "a.*", "a.>"] {
            let refused = good().with_prefix(prefix).validate();
            assert!(matches!(refused, Err(Error::Prefix(_))), "{prefix}");
        }
        let wrong = options("nats://me:hunter2@host:port", "0123456789abcdef").validate().unwrap_err();
        assert!(matches!(wrong, Error::Url(_)) && !wrong.to_string().contains("hunter2"), "{wrong}");
        assert!(!format!("{:?}", good()).contains("hunter2"));
        // A password with a comma, of which a list has cut the URL into two.
        let first = options("nats://me:hunter2", "0123456789abcdef").validate().unwrap_err();
        assert!(matches!(first, Error::Url(_)) && !first.to_string().contains("hunter2"), "{first}");
    }

    #[test]
    fn the_user_of_the_urls_is_taken_out_of_them() {
        let options = |urls: &[&str]| {
            Options::new(urls.to_vec(), "sh-1".parse().unwrap(), SecretKey::new("0123456789abcdef"))
        };
        let servers = options(&["nats://me:p%40ss@10.0.0.1:4222", "tls://10.0.0.2:4223"]).servers().unwrap();
        let login = servers.login.unwrap();
        assert_eq!((login.user.as_str(), login.password.as_deref()), ("me", Some("p@ss")));
        let urls: Vec<_> = servers.addresses.iter().map(ServerAddr::as_url_str).collect();
        assert_eq!(urls, ["nats://10.0.0.1:4222", "tls://10.0.0.2:4223"]);
        let token = options(&["nats://secret@10.0.0.1"]).servers().unwrap().login.unwrap();
        assert_eq!((token.user.as_str(), token.password), ("secret", None));
        let differ = options(&["nats://me:one@10.0.0.1", "nats://me:two@10.0.0.2"]).validate();
        assert!(matches!(differ, Err(Error::Authentication)));
    }

    #[test]
    fn contradictions_and_files_that_are_not_there_are_found_without_a_server() {
        let options = |url| options(url, "0123456789abcdef");
        for url in ["ws://10.0.0.1", "wss://10.0.0.1", "http://10.0.0.1", "nats://:secret@10.0.0.1"] {
            assert!(matches!(options(url).validate(), Err(Error::Url(_))), "{url}");
        }
        let nkey = SecretKey::new(KeyPair::new_user().seed().unwrap());
        for bad in ["SU", "nonsense", &KeyPair::new_account().seed().unwrap()] {
            let refused = options("nats://10.0.0.1").with_nkey(SecretKey::new(bad)).validate();
            assert!(matches!(refused, Err(Error::Nkey)), "{bad}");
        }
        let two = options("nats://me:secret@10.0.0.1").with_nkey(nkey.clone()).validate();
        assert!(matches!(two, Err(Error::Authentication)));
        assert!(options("nats://10.0.0.1").with_nkey(nkey).validate().is_ok());
        let missing = PathBuf::from("/nowhere/ca.pem");
        let refused = options("tls://10.0.0.1").with_ca(missing.clone()).validate();
        assert!(matches!(refused, Err(Error::File { file, .. }) if file == missing));
    }
}
