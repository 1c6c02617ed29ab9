//! TLS for the HTTP clients of daemons: whose certificates they accept.
//!
//! `gatewayworker-auth` gives it to reqwest (`tls_backend_preconfigured`). TLS between daemons is `link_tls` of
//! `gatewayworker-net`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

/// Why there is no TLS for an HTTP client. No text has a line of a file in it: that might be a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientTlsError {
    /// The file of certificates cannot be used.
    #[error("{}: {why}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// rustls, or the system, does not make it.
    #[error(
        "TLS cannot be used: {0}: does the system have certificates? Debian's are in the package ca-certificates; \
         SSL_CERT_FILE names a file of others"
    )]
    System(#[from] rustls::Error),
}

/// Returns the TLS of a client for https, with HTTP/2 offered. It accepts certificates of the system's authorities, and
/// of those in `ca_file` (PEM, one or several). It reads files, so it blocks for some milliseconds.
///
/// # Errors
/// When `ca_file` cannot be read or has no certificate of an authority, or, without one, the system has no authorities.
pub fn https_client_config(ca_file: Option<&Path>) -> Result<ClientConfig, ClientTlsError> {
    let own = ca_file.map(authorities).transpose()?.unwrap_or_default();
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(own, provider.clone())?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Returns the TLS of a client for http alone: it accepts no certificate, and needs none of the system, which an empty
/// container does not have.
///
/// # Errors
/// None that is known; rustls has them in its signatures.
pub fn http_client_config() -> Result<ClientConfig, ClientTlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Reads the certificates of authorities in a PEM file.
fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, ClientTlsError> {
    let mistake = |why: String| ClientTlsError::File { file: file.to_owned(), why };
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| {
        mistake(match error {
            pem::Error::Io(error) => error.to_string(),
            _ => "it is no valid PEM".to_owned(),
        })
    })?;
    if certificates.is_empty() {
        return Err(mistake(
            "it has no certificate, which begins with -----BEGIN CERTIFICATE-----".to_owned(),
        ));
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| mistake(format!("a certificate in it: {error}")))?;
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake_in(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, text).unwrap();
        let error = https_client_config(Some(&file)).unwrap_err().to_string();
        error.strip_prefix(&format!("{}: ", file.display())).expect("it names the file").to_owned()
    }

    #[test]
    fn a_file_without_a_usable_certificate_is_named_and_no_line_of_it_is_shown() {
        let missing = https_client_config(Some(Path::new("/nowhere/ca.pem"))).unwrap_err().to_string();
        assert!(missing.starts_with("/nowhere/ca.pem: No such file"), "{missing}");
        assert!(mistake_in("").starts_with("it has no certificate"));
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert!(mistake_in(&key).starts_with("it has no certificate"));
        assert_eq!(mistake_in("-----BEGIN CERTIFICATE-----\nhunter2"), "it is no valid PEM");
        let nonsense = "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n";
        assert!(mistake_in(nonsense).starts_with("a certificate in it: "));
    }

    #[test]
    fn own_authorities_are_enough_where_the_file_has_several() {
        let authority = || {
            let mut params = rcgen::CertificateParams::default();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
        };
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, authority() + &authority()).unwrap();
        let config = https_client_config(Some(&file)).unwrap();
        assert_eq!(config.alpn_protocols, [b"h2".as_slice(), b"http/1.1"]);
        assert!(http_client_config().unwrap().alpn_protocols.is_empty());
    }
}
