//! The socket of a link between daemons: TCP, or TLS over it.
//!
//! A [`LinkStream`] is connected or accepted, and then split. The [`LinkReader`] belongs to the task
//! that reads the link; the [`LinkSink`] to a [`LinkWriter`](crate::LinkWriter), which any thread
//! may flush without waiting. With TLS both share rustls' state, behind a lock that is held
//! while bytes are read, written, sealed and opened, and never across an await.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::LinkTls;

/// How long the handshake of TLS may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many bytes are sealed before the socket is tried, and how many are read from it at once.
const CHUNK: usize = 64 * 1024;

/// The socket of a link.
#[derive(Debug)]
pub struct LinkStream {
    tcp: TcpStream,
    tls: Option<rustls::Connection>,
}

/// The reading half of a link.
#[derive(Debug)]
pub struct LinkReader {
    tcp: OwnedReadHalf,
    tls: Option<Tls>,
}

/// The writing half of a link.
#[derive(Debug)]
pub struct LinkSink {
    tcp: OwnedWriteHalf,
    tls: Option<Tls>,
}

#[derive(Debug, Clone)]
struct Tls(Arc<Mutex<rustls::Connection>>);

impl LinkStream {
    /// A link over plain TCP.
    pub fn plain(tcp: TcpStream) -> Self {
        Self { tcp, tls: None }
    }

    /// Connects to a peer daemon as [`connect`](crate::connect) does, over TLS where `tls` is given.
    ///
    /// # Errors
    /// As `connect`, and when the handshake fails or takes over 10 s.
    pub async fn connect(address: impl ToSocketAddrs, tls: Option<&LinkTls>) -> io::Result<Self> {
        let tcp = crate::connect(address).await?;
        let Some(tls) = tls else { return Ok(Self::plain(tcp)) };
        Self::shake_hands(tcp, tls.connector()?).await
    }

    /// Takes an accepted connection, over TLS where `tls` is given.
    ///
    /// # Errors
    /// When the handshake fails or takes over 10 s.
    pub async fn accept(tcp: TcpStream, tls: Option<&LinkTls>) -> io::Result<Self> {
        let Some(tls) = tls else { return Ok(Self::plain(tcp)) };
        Self::shake_hands(tcp, tls.acceptor()?).await
    }

    async fn shake_hands(tcp: TcpStream, mut tls: rustls::Connection) -> io::Result<Self> {
        let shaking = async {
            loop {
                while tls.wants_write() {
                    tcp.writable().await?;
                    match tls.write_tls(&mut TryWrite(&tcp)) {
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
                if !tls.is_handshaking() {
                    return Ok(());
                }
                tcp.readable().await?;
                match tls.read_tls(&mut TryRead(&tcp)) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => {
                        if let Err(error) = tls.process_new_packets() {
                            // The alert says why; the peer need not read it.
                            let _ = tls.write_tls(&mut TryWrite(&tcp));
                            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking).await {
            Ok(Ok(())) => Ok(Self { tcp, tls: Some(tls) }),
            Ok(Err(error)) => Err(io::Error::new(error.kind(), format!("link_tls: {error}"))),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "link_tls: no handshake within 10 s")),
        }
    }

    /// The two halves.
    pub fn into_split(self) -> (LinkReader, LinkSink) {
        let (reading, writing) = self.tcp.into_split();
        let tls = self.tls.map(|tls| Tls(Arc::new(Mutex::new(tls))));
        (LinkReader { tcp: reading, tls: tls.clone() }, LinkSink { tcp: writing, tls })
    }
}

impl Tls {
    fn lock(&self) -> MutexGuard<'_, rustls::Connection> {
        // Whoever panicked has left the connection in a state that rustls defines.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkReader {
    /// Reads into the buffer what has come, waiting for something. 0 is the end.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the connection is broken, or what came is no TLS.
    pub async fn read_buf(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.tcp.read_buf(buffer).await };
        loop {
            if let Some(read) = tls.read_plaintext(buffer)? {
                return Ok(read);
            }
            self.tcp.readable().await?;
            if tls.read_ciphertext(self.tcp.as_ref())? {
                // Bytes without a closing alert in front of the end are bytes that somebody cut off; a
                // link notices that by its frames, and the end is an end.
                return Ok(tls.read_plaintext(buffer)?.unwrap_or(0));
            }
        }
    }

    /// Reads into the buffer what has come already. `None` where nothing has; 0 is the end.
    ///
    /// # Errors
    /// As [`read_buf`](Self::read_buf).
    pub fn try_read_buf(&mut self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        let Some(tls) = &self.tls else {
            return match self.tcp.try_read_buf(buffer) {
                Ok(read) => Ok(Some(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            };
        };
        if let Some(read) = tls.read_plaintext(buffer)? {
            return Ok(Some(read));
        }
        let ended = tls.read_ciphertext(self.tcp.as_ref())?;
        Ok(tls.read_plaintext(buffer)?.or(ended.then_some(0)))
    }

    /// The socket, to read its addresses.
    pub fn socket(&self) -> &TcpStream {
        self.tcp.as_ref()
    }
}

impl Tls {
    /// Takes what is decrypted; `None` where nothing is, 0 where the peer has said that it ends.
    fn read_plaintext(&self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        let mut tls = self.lock();
        if buffer.capacity() == buffer.len() {
            buffer.reserve(4096);
        }
        let room = buffer.spare_capacity_mut().len();
        let before = buffer.len();
        let mut reader = tls.reader().take(room as u64);
        match io::copy(&mut reader, &mut buffer.writer()) {
            Ok(0) => Ok(Some(0)),
            Ok(_) => Ok(Some(buffer.len() - before)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok((buffer.len() > before).then(|| buffer.len() - before))
            }
            // The end without an alert: `read_ciphertext` says so as well.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Ok((buffer.len() > before).then(|| buffer.len() - before))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads what the socket has, and decrypts it. Returns whether it has ended.
    fn read_ciphertext(&self, tcp: &TcpStream) -> io::Result<bool> {
        let mut tls = self.lock();
        let mut read = 0;
        while read < CHUNK {
            match tls.read_tls(&mut TryRead(tcp)) {
                Ok(0) => return Ok(true),
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Its buffer of plaintext is full: that is to be read first.
                Err(error) if error.kind() == io::ErrorKind::Other => break,
                Err(error) => return Err(error),
            }
            if let Err(error) = tls.process_new_packets() {
                let _ = tls.write_tls(&mut TryWrite(tcp));
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("link_tls: {error}")));
            }
        }
        Ok(false)
    }
}

impl LinkSink {
    /// Writes what the socket takes now of `bytes`, and returns how many are taken. Over TLS they
    /// may be sealed and not written yet: see [`is_written`](Self::is_written).
    ///
    /// # Errors
    /// `WouldBlock` where nothing is taken now; others where the link is broken.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.tcp.try_write(bytes) };
        let mut tls = tls.lock();
        flush(&mut tls, self.tcp.as_ref())?;
        let taken = tls.writer().write(&bytes[..bytes.len().min(CHUNK)])?;
        match flush(&mut tls, self.tcp.as_ref()) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Whether all bytes that were taken have left for the socket.
    pub(crate) fn is_written(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.lock().wants_write())
    }

    /// Writes sealed bytes that the socket did not take before.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write).
    pub(crate) fn try_flush(&self) -> io::Result<()> {
        self.tls.as_ref().map_or(Ok(()), |tls| flush(&mut tls.lock(), self.tcp.as_ref()))
    }

    /// Says that nothing follows, as far as TLS has a word for that.
    pub(crate) fn close_notify(&self) {
        if let Some(tls) = &self.tls {
            tls.lock().send_close_notify();
        }
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        self.tcp.as_ref()
    }
}

fn flush(tls: &mut rustls::Connection, tcp: &TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut TryWrite(tcp)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A plain link.
impl From<OwnedWriteHalf> for LinkSink {
    fn from(tcp: OwnedWriteHalf) -> Self {
        Self { tcp, tls: None }
    }
}

struct TryRead<'a>(&'a TcpStream);

impl Read for TryRead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

struct TryWrite<'a>(&'a TcpStream);

impl Write for TryWrite<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tempfile::TempDir;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{LinkTlsConfig, LinkWriter, PushError};

    /// A directory with the files of an authority, and of a certificate that it has signed.
    pub(crate) fn authority(name: &str) -> (TempDir, LinkTlsConfig) {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let path = |file: &str| directory.path().join(file);
        std::fs::write(path("ca.pem"), issuer.pem()).unwrap();
        std::fs::write(path("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
        let config = LinkTlsConfig::default()
            .with_certificate(path("cert.pem"), path("key.pem"))
            .with_ca(path("ca.pem"));
        (directory, config)
    }

    async fn connect(
        server: &LinkTlsConfig,
        client: Option<&LinkTlsConfig>,
    ) -> (io::Result<LinkStream>, io::Result<LinkStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = server.load().unwrap();
        let client = client.map(|client| client.load().unwrap());
        let accept = async {
            let (tcp, _) = listener.accept().await.unwrap();
            LinkStream::accept(tcp, Some(&server)).await
        };
        let (accepted, connected) = tokio::join!(accept, LinkStream::connect(address, client.as_ref()));
        (accepted, connected)
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_however_many_and_the_end_arrives() {
        let (_files, config) = authority(crate::link_tls::DEFAULT_NAME);
        let (accepted, connected) = connect(&config, Some(&config)).await;
        let (mut theirs, their_sink) = accepted.unwrap().into_split();
        let (mut ours, our_sink) = connected.unwrap().into_split();
        const LEN: usize = 3_000_000;
        let echo = async {
            let writer = LinkWriter::new(their_sink, usize::MAX);
            let mut buffer = BytesMut::new();
            let read = async {
                while theirs.read_buf(&mut buffer).await.unwrap() > 0 {
                    writer.push(|out| out.extend_from_slice(&buffer)).unwrap();
                    writer.flush_soon();
                    buffer.clear();
                }
                writer.finish();
            };
            tokio::join!(read, async { writer.drive().await.unwrap() });
        };
        let bytes: Vec<u8> = (0..LEN).map(|n| (n * 7 / 3) as u8).collect();
        let talk = async {
            let writer = Arc::new(LinkWriter::new(our_sink, usize::MAX));
            writer.push(|out| out.extend_from_slice(&bytes)).unwrap();
            writer.finish();
            assert_eq!(writer.push(|_| unreachable!()), Err(PushError::Closed));
            let mut received = BytesMut::new();
            let read = async {
                while ours.read_buf(&mut received).await.unwrap() > 0 {}
            };
            tokio::join!(read, async { writer.drive().await.unwrap() });
            assert!(received == bytes, "{} of {LEN} bytes", received.len());
        };
        tokio::join!(echo, talk);
    }

    #[tokio::test]
    async fn a_peer_without_a_certificate_of_the_authority_is_refused() {
        let (_files, config) = authority(crate::link_tls::DEFAULT_NAME);
        let nameless = LinkTlsConfig { certificate: None, key: None, ..config.clone() };
        let (accepted, _) = connect(&config, Some(&nameless)).await;
        assert!(accepted.unwrap_err().to_string().contains("link_tls"));
        let (_others, other) = authority(crate::link_tls::DEFAULT_NAME);
        let foreign = LinkTlsConfig { ca: config.ca.clone(), ..other };
        let (accepted, _) = connect(&config, Some(&foreign)).await;
        accepted.unwrap_err();
    }

    #[tokio::test]
    async fn a_server_with_another_authority_or_another_name_is_refused() {
        let (_files, config) = authority(crate::link_tls::DEFAULT_NAME);
        let (_others, other) = authority(crate::link_tls::DEFAULT_NAME);
        let (_, connected) = connect(&other, Some(&config)).await;
        connected.unwrap_err();
        let misnamed = config.clone().with_server_name("elsewhere");
        let (_, connected) = connect(&config, Some(&misnamed)).await;
        connected.unwrap_err();
    }

    #[tokio::test]
    async fn plain_bytes_are_no_handshake() {
        let (_files, config) = authority(crate::link_tls::DEFAULT_NAME);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut plain = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut plain, b"{\"event\":\"ping\"}\n").await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let error = LinkStream::accept(tcp, Some(&config.load().unwrap())).await.unwrap_err();
        assert!(error.to_string().starts_with("link_tls: "), "{error}");
    }
}
