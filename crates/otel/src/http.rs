//! The HTTP client of the thread that sends spans: one request at a time, over a connection of its own.
//!
//! It blocks, as it has a thread for itself (`worker`); each wait has a limit. TLS is rustls. `opentelemetry-otlp`
//! makes the requests.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpError, Request, Response};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::response;

/// The time for a connection, and for each read and write, unless the environment has another.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where systems keep the certificates of authorities.
const SYSTEM_CERTIFICATES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why a collector cannot be reached by TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file of certificates cannot be read.
    #[error("cannot read certificates from {}: {error}", file.display())]
    Certificates {
        /// The file.
        file: PathBuf,
        /// Why.
        error: rustls::pki_types::pem::Error,
    },
    /// There is no file of certificates.
    #[error(
        "the collector's URL begins with https, and this system has no file of certificates: set OTEL_EXPORTER_OTLP_CERTIFICATE"
    )]
    NoCertificates,
    /// A setting of TLS cannot work.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Returns the value of a variable of the exporter: that for traces alone, or the general one.
fn variable(name: &str) -> Option<String> {
    ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"]
        .iter()
        .find_map(|prefix| std::env::var(format!("{prefix}{name}")).ok().filter(|value| !value.is_empty()))
}

/// Returns where the spans go, as the environment has it.
pub(crate) fn endpoint() -> String {
    variable("ENDPOINT").unwrap_or_else(|| "http://localhost:4318".to_owned())
}

/// The client.
#[derive(Debug)]
pub(crate) struct HttpClient {
    timeout: Duration,
    /// Where the collector is reached by TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl HttpClient {
    /// Makes a client for an endpoint as the environment says.
    ///
    /// # Errors
    /// When the endpoint is reached by TLS, and no certificates are found.
    pub(crate) fn from_environment(endpoint: &str) -> Result<Self, TlsError> {
        let timeout = variable("TIMEOUT").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        let tls = match endpoint.starts_with("https:") {
            true => Some(tls(variable("CERTIFICATE").map(PathBuf::from))?),
            false => None,
        };
        Ok(Self { timeout: timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT), tls })
    }

    /// Makes a client that reaches its collector by TLS, with the authorities in this file.
    #[cfg(test)]
    pub(crate) fn with_authorities(file: PathBuf) -> Result<Self, TlsError> {
        Ok(Self { timeout: TIMEOUT, tls: Some(tls(Some(file))?) })
    }

    fn send(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri();
        let host = uri.host().ok_or("the collector's URL has no host")?;
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let bare_host = host.trim_matches(['[', ']']);
        let stream = self.connect(bare_host, port)?;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {}\r\nConnection: close\r\n",
            request.method(),
            uri.path_and_query().map_or("/", |path| path.as_str()),
            request.body().len()
        )
        .into_bytes();
        for (name, value) in request.headers() {
            head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        match (is_tls, &self.tls) {
            (false, _) => exchange(stream, &head, request.body()),
            (true, Some(tls)) => {
                let name = ServerName::try_from(bare_host.to_owned())?;
                let connection = ClientConnection::new(tls.clone(), name)?;
                exchange(StreamOwned::new(connection, stream), &head, request.body())
            }
            (true, None) => Err("the client has no TLS".into()),
        }
    }

    /// Connects to the first address of a host that answers.
    fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the collector's name has no address");
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, self.timeout) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(self.timeout))?;
                    stream.set_write_timeout(Some(self.timeout))?;
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

#[async_trait]
impl opentelemetry_http::HttpClient for HttpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.send(&request)
    }
}

/// Writes a request and reads its answer.
fn exchange(mut stream: impl Read + Write, head: &[u8], body: &[u8]) -> Result<Response<Bytes>, HttpError> {
    stream.write_all(head)?;
    stream.write_all(body)?;
    stream.flush()?;
    response::read(stream)
}

/// Returns the settings of TLS with the authorities in a file, by default those of the system.
fn tls(file: Option<PathBuf>) -> Result<Arc<ClientConfig>, TlsError> {
    let of_system = || SYSTEM_CERTIFICATES.iter().map(PathBuf::from).find(|file| file.is_file());
    let file = file.or_else(of_system).ok_or(TlsError::NoCertificates)?;
    let unreadable = |error| TlsError::Certificates { file: file.clone(), error };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&file).map_err(unreadable)? {
        // A system's file may have some that rustls does not take.
        let _ = roots.add(certificate.map_err(unreadable)?);
    }
    if roots.is_empty() {
        return Err(TlsError::NoCertificates);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
