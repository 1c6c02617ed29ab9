//! The tests of `link_stream`.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

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
    let config =
        LinkTlsConfig::default().with_certificate(path("cert.pem"), path("key.pem")).with_ca(path("ca.pem"));
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
        let read = async { while ours.read_buf(&mut received).await.unwrap() > 0 {} };
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

#[tokio::test]
async fn sealed_bytes_that_the_socket_has_not_taken_count_as_pushed_and_not_as_written() {
    let (_files, config) = authority(crate::link_tls::DEFAULT_NAME);
    let (accepted, connected) = connect(&config, Some(&config)).await;
    let (mut theirs, _their_sink) = accepted.unwrap().into_split();
    let (_ours, sink) = connected.unwrap().into_split();
    let writer = LinkWriter::new(sink, usize::MAX);
    let mut pushed = 0;
    while writer.written() == writer.pushed() {
        writer.push(|out| out.resize(out.len() + 50_000, b'x')).unwrap();
        writer.flush();
        pushed += 50_000;
    }
    for _ in 0..3 {
        writer.push(|out| out.extend_from_slice(b"a little more")).unwrap();
        pushed += 13;
        assert_eq!(writer.pushed(), pushed);
    }
    assert!(writer.written() < writer.pushed());
    let mut received = BytesMut::new();
    tokio::select! {
        _ = writer.drive() => panic!("the link is not finished"),
        () = async { while received.len() < pushed as usize { theirs.read_buf(&mut received).await.unwrap(); } } => {}
    }
    writer.flush();
    assert_eq!((writer.pushed(), writer.written()), (pushed, pushed));
}
