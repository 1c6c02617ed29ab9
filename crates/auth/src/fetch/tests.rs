//! Key sets from a real HTTPS server on loopback, whose certificate is of an authority that no system knows.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// An authority, in a file, and what it has signed for localhost.
struct Authority {
    _directory: TempDir,
    file: PathBuf,
    server: ServerConfig,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        let (issuer, key) = (Issuer::new(params, key), KeyPair::generate().unwrap());
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let chain = vec![certificate.signed_by(&key, &issuer).unwrap().der().clone()];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Self { _directory: directory, file, server: builder.with_single_cert(chain, key).unwrap() }
    }

    /// Serves a key set until the test ends.
    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(self.server.clone()));
        let keys =
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{keys}", keys.len());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not accept the certificate ends the handshake.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        address
    }
}

fn url(server: SocketAddr) -> Url {
    format!("https://localhost:{}/keys", server.port()).parse().unwrap()
}

#[tokio::test]
async fn a_server_of_an_own_authority_is_believed_with_its_file_alone() {
    let (authority, other) = (Authority::new("a"), Authority::new("b"));
    let server = authority.serve().await;
    let fetcher = Fetcher::new(url(server), Some(&authority.file)).unwrap();
    assert_eq!(fetcher.fetch().await.unwrap().len(), 1);
    let why = Fetcher::new(url(server), Some(&other.file)).unwrap().fetch().await.unwrap_err();
    assert!(why.contains("UnknownIssuer") && why.contains("set auth.ca_file"), "{why}");
}

#[tokio::test]
async fn a_server_of_an_own_authority_is_not_believed_without_its_file() {
    // A system without authorities makes no client for https.
    if https_client_config(None).is_err() {
        return;
    }
    let authority = Authority::new("a");
    let server = authority.serve().await;
    let why = Fetcher::new(url(server), None).unwrap().fetch().await.unwrap_err();
    assert!(why.contains("UnknownIssuer"), "{why}");
}
