//! A listener's certificate: two PEM files, loaded at the start and at each reload.
//!
//! Open connections keep the certificate of their handshake. `server` reloads; `client` takes the
//! current one for each new connection. A key never appears in an error or a log.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, anyhow, bail};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::version::TLS13;
use rustls::{ServerConfig, SupportedProtocolVersion};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::traffic_keys;
use super::validity::Validity;

/// The oldest TLS that a listener speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 alone.
    #[serde(rename = "1.3")]
    Tls13,
}

impl TlsVersion {
    fn and_newer(self) -> &'static [&'static SupportedProtocolVersion] {
        static NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];
        match self {
            Self::Tls12 => rustls::ALL_VERSIONS,
            Self::Tls13 => NEWEST,
        }
    }
}

/// The files of a listener's certificate, and the settings of its TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// The certificate and its chain, as PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, as PEM.
    pub(crate) key: PathBuf,
    pub(crate) min_version: TlsVersion,
    /// The only protocol of ALPN.
    pub(crate) alpn: Option<&'static str>,
}

/// The certificate of a listener.
pub(crate) struct Certificate {
    files: Files,
    current: RwLock<Loaded>,
}

/// What was read from the files.
#[derive(Debug, Clone)]
struct Loaded {
    config: Arc<ServerConfig>,
    validity: Validity,
    /// When the certificate is valid no more, in seconds since 1970; `None` where that could not be read.
    not_after: Option<i64>,
}

impl Certificate {
    /// Reads the files, and warns of a certificate that has expired or is not valid yet.
    ///
    /// # Errors
    /// When a file cannot be read or is invalid, or when the key is not the certificate's.
    pub(crate) fn load(files: Files) -> anyhow::Result<Self> {
        let loaded = files.load()?;
        Ok(Self { files, current: RwLock::new(loaded) })
    }

    /// Returns the configuration for a new connection.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// Returns when the certificate is valid no more, in seconds since 1970; `None` where that could not be read.
    pub(crate) fn not_after(&self) -> Option<i64> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).not_after
    }

    /// Reads the files again, for connections from now on.
    ///
    /// # Errors
    /// What is wrong with a file, which is logged, too. Then the certificate from before stays in
    /// use.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let file = self.files.certificate.display();
        match self.files.load() {
            Ok(loaded) => {
                let days_left = if let Validity::Days(days) = loaded.validity { Some(days) } else { None };
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                info!(certificate = %file, days_left, "the certificate is loaded again");
                Ok(())
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "the certificate cannot be loaded again: the one before stays in use");
                Err(error)
            }
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Files {
    fn load(&self) -> anyhow::Result<Loaded> {
        let chain = self.chain()?;
        let key = self.key()?;
        let validity = chain.first().map_or(Validity::Unknown, |certificate| Validity::of(certificate));
        let not_after = chain.first().and_then(|certificate| Validity::end_of(certificate));
        let mut config = ServerConfig::builder_with_provider(Arc::new(traffic_keys::provider()))
            .with_protocol_versions(self.min_version.and_newer())
            .context("TLS")?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| self.mismatch(error))?;
        // Tickets: a returning client needs no full handshake, and the gateway stores nothing for it.
        config.ticketer = ring::Ticketer::new().context("TLS")?;
        config.alpn_protocols = self.alpn.map(|protocol| protocol.as_bytes().to_vec()).into_iter().collect();
        let file = self.certificate.display();
        match validity {
            Validity::Expired => {
                warn!(certificate = %file, "the certificate has expired: clients will refuse it")
            }
            Validity::NotYet => {
                warn!(certificate = %file, "the certificate is not valid yet: clients will refuse it");
            }
            Validity::Days(_) | Validity::Unknown => {}
        }
        Ok(Loaded { config: Arc::new(config), validity, not_after })
    }

    fn chain(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let what = || format!("tls_certificate = {:?}", self.certificate);
        let text = read(&self.certificate).with_context(what)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.map_err(not_pem).with_context(what)?;
        if chain.is_empty() {
            bail!("{}: it has no BEGIN CERTIFICATE: a PEM file with the whole chain is needed", what());
        }
        Ok(chain)
    }

    fn key(&self) -> anyhow::Result<PrivateKeyDer<'static>> {
        let what = || format!("tls_key = {:?}", self.key);
        let text = read(&self.key).with_context(what)?;
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                anyhow!("{}: it has no BEGIN PRIVATE KEY: a PEM file without a pass phrase is needed", what())
            }
            error => not_pem(error).context(what()),
        })
    }

    /// Returns what is wrong with files that are valid PEM.
    fn mismatch(&self, error: rustls::Error) -> anyhow::Error {
        let (certificate, key) = (&self.certificate, &self.key);
        match error {
            rustls::Error::InconsistentKeys(_) => {
                anyhow!("tls_key = {key:?}: it is not the key of the certificate in {certificate:?}")
            }
            rustls::Error::InvalidCertificate(_) => anyhow!("tls_certificate = {certificate:?}: {error}"),
            error => anyhow!("tls_key = {key:?}: {error}"),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).context("cannot read it")
}

/// Returns an error that shows nothing of the file, which may hold the key.
fn not_pem(_: pem::Error) -> anyhow::Error {
    anyhow!("it is no PEM file, or not all of one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{files, pair};

    fn error(files: &Files) -> String {
        format!("{:#}", files.load().unwrap_err())
    }

    #[test]
    fn an_error_of_a_file_is_one_line_with_its_name() {
        let (directory, good) = files();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let nowhere = directory.path().join("nowhere.pem");
        let nothing = write("nothing.pem", "hello\n");
        let cut = write("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n");
        let garbage = write("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let key = write("garbage-key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        let other = write("other-key.pem", &pair().1);
        for (key_name, path, reason) in [
            ("tls_certificate", &nowhere, "cannot read it: "),
            ("tls_certificate", &nothing, "it has no BEGIN CERTIFICATE"),
            ("tls_certificate", &good.key, "it has no BEGIN CERTIFICATE"),
            ("tls_certificate", &cut, "it is no PEM file"),
            ("tls_certificate", &garbage, "invalid peer certificate"),
            ("tls_key", &nowhere, "cannot read it: "),
            ("tls_key", &nothing, "it has no BEGIN PRIVATE KEY"),
            ("tls_key", &good.certificate, "it has no BEGIN PRIVATE KEY"),
            ("tls_key", &key, ""),
            ("tls_key", &other, "it is not the key of the certificate in "),
        ] {
            let files = match key_name {
                "tls_key" => Files { key: path.clone(), ..good.clone() },
                _ => Files { certificate: path.clone(), ..good.clone() },
            };
            let error = error(&files);
            assert!(error.starts_with(&format!("{key_name} = {path:?}: {reason}")), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn an_invalid_file_leaves_the_old_certificate_in_use_and_a_valid_one_replaces_it() {
        let (_directory, files) = files();
        let certificate = Certificate::load(files.clone()).unwrap();
        let first = certificate.current();
        std::fs::write(&files.key, "no key").unwrap();
        assert!(certificate.reload().is_err());
        assert!(Arc::ptr_eq(&first, &certificate.current()));
        let (chain, key) = pair();
        std::fs::write(&files.certificate, chain).unwrap();
        std::fs::write(&files.key, key).unwrap();
        certificate.reload().unwrap();
        assert!(!Arc::ptr_eq(&first, &certificate.current()));
    }
}
