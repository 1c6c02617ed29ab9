//! Certificates for a test, and connections over TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{
    ALL_VERSIONS, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::soon;

/// A certificate for `localhost` and its key, in files. Dropping it removes them.
pub struct Certificate {
    directory: TempDir,
}

impl Default for Certificate {
    fn default() -> Self {
        let certificate = Self { directory: tempfile::tempdir().expect("a directory") };
        certificate.renew();
        certificate
    }
}

impl Certificate {
    /// Writes another certificate and key into the files.
    ///
    /// # Panics
    /// The files cannot be written.
    pub fn renew(&self) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(names).expect("a certificate");
        std::fs::write(self.chain(), cert.pem()).expect("the directory is there");
        std::fs::write(self.key(), signing_key.serialize_pem()).expect("the directory is there");
    }

    /// Writes a certificate and key into the files that an authority of its own has signed, whose certificate is in
    /// [`authority`](Self::authority).
    ///
    /// # Panics
    /// The files cannot be written.
    pub fn renew_by_authority(&self) {
        let key = || KeyPair::generate().expect("a key");
        let mut ours = CertificateParams::new(Vec::new()).expect("no names");
        ours.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ours.distinguished_name.push(DnType::CommonName, "An authority of a company");
        let authority = CertifiedIssuer::self_signed(ours, key()).expect("a certificate");
        let names = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let own = key();
        let certificate = names.expect("names").signed_by(&own, &authority).expect("a certificate");
        std::fs::write(self.authority(), authority.pem()).expect("the directory is there");
        std::fs::write(self.chain(), certificate.pem()).expect("the directory is there");
        std::fs::write(self.key(), own.serialize_pem()).expect("the directory is there");
    }

    /// The file with the certificate of the authority.
    pub fn authority(&self) -> PathBuf {
        self.directory().join("authority.pem")
    }

    /// Returns an acceptor with the certificate in the file, which takes this protocol of ALPN.
    ///
    /// # Panics
    /// The files have no certificate and key.
    pub fn acceptor(&self, protocol: &str) -> TlsAcceptor {
        let key = PrivateKeyDer::from_pem_file(self.key()).expect("a key");
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.der()], key)
            .expect("a certificate and its key");
        config.alpn_protocols = vec![protocol.into()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// The directory of the files. A test may add files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The file with the certificate.
    pub fn chain(&self) -> PathBuf {
        self.directory().join("fullchain.pem")
    }

    /// The file with the key.
    pub fn key(&self) -> PathBuf {
        self.directory().join("privkey.pem")
    }

    /// Returns the table of a listener with this certificate.
    pub fn listener(&self, url: &str) -> String {
        let (chain, key) = (self.chain(), self.key());
        format!("[[listen]]\nurl = '{url}'\ntls_certificate = {chain:?}\ntls_key = {key:?}\n")
    }

    /// Returns the tables of three listeners: WebSocket without and with TLS, and text over TLS.
    pub fn listeners(&self) -> String {
        let plain = "[[listen]]\nurl = 'websocket://127.0.0.1:0'\n".to_owned();
        plain + &self.listener("wss://127.0.0.1:0") + &self.listener("text://127.0.0.1:0")
    }

    /// Reads the certificate in the file.
    ///
    /// # Panics
    /// The file has none.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.chain()).expect("a certificate")
    }

    /// Returns a connector that trusts the certificate in the file, and uses these versions of TLS.
    ///
    /// # Panics
    /// The file has no certificate.
    pub fn connector(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
        TlsConnector::from(self.client_config(versions))
    }

    /// Returns the configuration of a client that trusts the certificate in the file, and uses these versions of TLS.
    ///
    /// # Panics
    /// The file has no certificate.
    pub fn client_config(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).expect("a certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("known versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Connects with any version of TLS.
    ///
    /// # Panics
    /// The connection or the handshake fails.
    pub async fn connect(&self, address: SocketAddr) -> TlsStream<TcpStream> {
        connect(&self.connector(ALL_VERSIONS), address).await.expect("a TLS handshake")
    }

    /// Makes the TLS handshake over a connection, with any version.
    ///
    /// # Errors
    /// The handshake fails.
    ///
    /// # Panics
    /// It takes too long.
    pub async fn connect_over(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        connect_over(&self.connector(ALL_VERSIONS), stream).await
    }
}

/// Connects to a listener over TLS.
///
/// # Errors
/// The connection or the handshake fails.
///
/// # Panics
/// It takes too long.
pub async fn connect(connector: &TlsConnector, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = soon("a TCP connection", TcpStream::connect(address)).await?;
    stream.set_nodelay(true)?;
    connect_over(connector, stream).await
}

async fn connect_over(connector: &TlsConnector, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    soon("a TLS handshake", connector.connect(name, stream)).await
}
