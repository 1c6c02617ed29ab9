//! Certificates and clients for the tests of TLS.

use std::sync::Arc;

use rcgen::CertifiedKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tempfile::TempDir;

use super::{Certificate, Files};

/// A certificate for `localhost` and its key, as PEM.
pub(crate) fn pair() -> (String, String) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

/// The two in files, which are removed when the directory is dropped.
pub(crate) fn files() -> (TempDir, Files) {
    let directory = tempfile::tempdir().unwrap();
    let files = Files {
        certificate: directory.path().join("fullchain.pem"),
        key: directory.path().join("privkey.pem"),
        min_version: Default::default(),
        alpn: None,
    };
    let (chain, key) = pair();
    std::fs::write(&files.certificate, chain).unwrap();
    std::fs::write(&files.key, key).unwrap();
    (directory, files)
}

/// A server's certificate, and a client that trusts it and nothing else.
pub(crate) fn both() -> (Certificate, ClientConnection) {
    let (_directory, files) = files();
    let certificate = Certificate::load(files.clone()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    (certificate, ClientConnection::new(Arc::new(config), name).unwrap())
}

/// The first message of a client, in records of `len` bytes each, as RFC 8446 section 5.1 allows.
pub(crate) fn hello_in_pieces(client: &mut ClientConnection, len: usize) -> Vec<Vec<u8>> {
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let (header, message) = hello.split_at(5);
    let record = |piece: &[u8]| [&header[..3], &(piece.len() as u16).to_be_bytes(), piece].concat();
    message.chunks(len).map(record).collect()
}
