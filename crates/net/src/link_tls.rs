//! TLS for the links between daemons: the settings, and what rustls makes of them.
//!
//! Without it, the secret key and everything else crosses the network in the clear, as in the
//! original. With it, a daemon of ours speaks TLS 1.3 on its inner port, and in every connection
//! to a gateway or register; a peer of the original cannot be in such a cluster. `link_stream`
//! moves the bytes of links; connections to registers use tokio-rustls.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};

/// The name that a daemon's certificate is for, unless another is set. Daemons find each other by
/// addresses that a register lists, so one name stands for all of them.
pub(crate) const DEFAULT_NAME: &str = "gatewayworker";

/// The settings: the table `[link_tls]` of each daemon.
///
/// A gateway and a register need `certificate` and `key`. Everybody who connects to them needs `ca`.
/// With `ca`, a gateway or register accepts only peers that show a certificate of that authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LinkTlsConfig {
    /// This daemon's certificate and its chain, a PEM file.
    pub certificate: Option<PathBuf>,
    /// Its private key, a PEM file.
    pub key: Option<PathBuf>,
    /// The certificates of the authorities that have signed those of the peers, a PEM file.
    pub ca: Option<PathBuf>,
    /// The name that the certificates of gateways and registers are for: `gatewayworker` by default.
    pub server_name: Option<String>,
}

/// TLS for links, ready to use. It is cheap to clone.
#[derive(Clone)]
pub struct LinkTls {
    server: Option<Arc<ServerConfig>>,
    client: Option<Arc<ClientConfig>>,
    server_name: ServerName<'static>,
}

/// Why the settings are of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkTlsError {
    /// One of the two is set without the other.
    #[error("link_tls: certificate and key belong together: set both or none")]
    Incomplete,
    /// Neither a certificate nor a CA is set.
    #[error(
        "link_tls: nothing is set: a gateway or register needs certificate and key, and whoever connects to one needs ca"
    )]
    Empty,
    /// A gateway or register has no certificate.
    #[error("link_tls: a gateway or register needs certificate and key")]
    NoCertificate,
    /// A daemon that connects to others has no CA.
    #[error("link_tls: ca is needed to connect to a gateway or register")]
    NoCa,
    /// A file cannot be read, or is no PEM of the right kind.
    #[error("link_tls: {what} {path}: {why}")]
    File {
        /// The setting.
        what: &'static str,
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The name is no host name.
    #[error("link_tls: server_name {0:?} is no host name")]
    Name(String),
    /// rustls does not accept it, for example a key that is another certificate's.
    #[error("link_tls: {0}")]
    Rustls(String),
}

impl LinkTlsConfig {
    /// Whether TLS is wanted at all.
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }

    /// Reads the files for a daemon that accepts links and connects to others. `None` where nothing is
    /// set.
    ///
    /// # Errors
    /// As [`load`](Self::load), and without a certificate or a CA.
    pub fn load_for_both(&self) -> Result<Option<LinkTls>, LinkTlsError> {
        let tls = self.load_for_connecting()?;
        tls.as_ref().map_or(Ok(()), LinkTls::check_accepts)?;
        Ok(tls)
    }

    /// Reads the files for a daemon that accepts links only. `None` where nothing is set.
    ///
    /// # Errors
    /// As [`load`](Self::load), and without a certificate.
    pub fn load_for_accepting(&self) -> Result<Option<LinkTls>, LinkTlsError> {
        let tls = self.is_set().then(|| self.load()).transpose()?;
        tls.as_ref().map_or(Ok(()), LinkTls::check_accepts)?;
        Ok(tls)
    }

    /// Reads the files for a daemon that connects only. `None` where nothing is set.
    ///
    /// # Errors
    /// As [`load`](Self::load), and without a CA.
    pub fn load_for_connecting(&self) -> Result<Option<LinkTls>, LinkTlsError> {
        let tls = self.is_set().then(|| self.load()).transpose()?;
        tls.as_ref().map_or(Ok(()), LinkTls::check_connects)?;
        Ok(tls)
    }

    /// Makes relative paths relative to the folder of `file`, the configuration that they were read from.
    #[must_use]
    pub fn with_paths_relative_to(mut self, file: Option<&Path>) -> Self {
        if let Some(directory) = file.and_then(Path::parent) {
            for path in [&mut self.certificate, &mut self.key, &mut self.ca].into_iter().flatten() {
                *path = directory.join(&*path);
            }
        }
        self
    }

    /// Settings with a certificate and its key.
    #[must_use]
    pub fn with_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        (self.certificate, self.key) = (Some(certificate.into()), Some(key.into()));
        self
    }

    /// Settings with the authorities of the peers' certificates.
    #[must_use]
    pub fn with_ca(mut self, ca: impl Into<PathBuf>) -> Self {
        self.ca = Some(ca.into());
        self
    }

    /// Settings with another name than `gatewayworker`.
    #[must_use]
    pub fn with_server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Reads the files.
    ///
    /// # Errors
    /// When a file cannot be read, or the settings do not go together.
    pub fn load(&self) -> Result<LinkTls, LinkTlsError> {
        let identity = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some((chain("certificate", certificate)?, private_key(key)?)),
            (None, None) => None,
            _ => return Err(LinkTlsError::Incomplete),
        };
        let roots = self.ca.as_deref().map(roots).transpose()?.map(Arc::new);
        if identity.is_none() && roots.is_none() {
            return Err(LinkTlsError::Empty);
        }
        let name = self.server_name.as_deref().unwrap_or(DEFAULT_NAME);
        let server_name =
            ServerName::try_from(name.to_owned()).map_err(|_| LinkTlsError::Name(name.to_owned()))?;
        let server = identity.as_ref().map(|identity| server(identity, roots.clone())).transpose()?;
        let client = roots.map(|roots| client(identity.as_ref(), roots)).transpose()?;
        Ok(LinkTls { server, client, server_name })
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn server(
    (chain, key): &Identity,
    roots: Option<Arc<RootCertStore>>,
) -> Result<Arc<ServerConfig>, LinkTlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(rustls_error)?;
    let builder = match roots {
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| LinkTlsError::Rustls(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain.clone(), key.clone_key()).map_err(rustls_error)?;
    // Links stand for days: there is nothing to resume, and a ticket would be sent before the first frame.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn client(identity: Option<&Identity>, roots: Arc<RootCertStore>) -> Result<Arc<ClientConfig>, LinkTlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(rustls_error)?
        .with_root_certificates(roots);
    let config = match identity {
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(rustls_error)?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn rustls_error(error: rustls::Error) -> LinkTlsError {
    LinkTlsError::Rustls(error.to_string())
}

fn chain(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkTlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| file_error(what, path, &error))?;
    if certificates.is_empty() {
        return Err(file_error(what, path, &pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, LinkTlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| file_error("key", path, &error))
}

fn roots(path: &Path) -> Result<RootCertStore, LinkTlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain("ca", path)? {
        roots.add(certificate).map_err(rustls_error)?;
    }
    Ok(roots)
}

/// The text never has a line of the file in it: that might be a key.
fn file_error(what: &'static str, path: &Path, error: &pem::Error) -> LinkTlsError {
    let why = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is no such PEM section in it".to_owned(),
        _ => "it is no valid PEM".to_owned(),
    };
    LinkTlsError::File { what, path: path.display().to_string(), why }
}

impl LinkTls {
    /// Checks that it can accept connections.
    ///
    /// # Errors
    /// When it has no certificate.
    pub(crate) fn check_accepts(&self) -> Result<(), LinkTlsError> {
        self.server.as_ref().map(|_| ()).ok_or(LinkTlsError::NoCertificate)
    }

    /// Checks that it can connect.
    ///
    /// # Errors
    /// When it has no CA.
    pub(crate) fn check_connects(&self) -> Result<(), LinkTlsError> {
        self.client.as_ref().map(|_| ()).ok_or(LinkTlsError::NoCa)
    }

    /// The side that accepts.
    pub(crate) fn acceptor(&self) -> io::Result<rustls::Connection> {
        let config = self.server.clone().ok_or_else(|| io::Error::other(LinkTlsError::NoCertificate))?;
        let connection = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(connection.into())
    }

    /// The side that connects.
    pub(crate) fn connector(&self) -> io::Result<rustls::Connection> {
        let config = self.client.clone().ok_or_else(|| io::Error::other(LinkTlsError::NoCa))?;
        let connection =
            rustls::ClientConnection::new(config, self.server_name.clone()).map_err(io::Error::other)?;
        Ok(connection.into())
    }
}

/// Without the key.
impl fmt::Debug for LinkTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}
