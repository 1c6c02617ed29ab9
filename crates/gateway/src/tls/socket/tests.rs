//! TLS connections with a client of rustls.

use std::io::{Read, Write};

use rustls::{ClientConnection, StreamOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinHandle, spawn_blocking};

use super::*;
use crate::core::outbox::{Flushed, Outbox};
use crate::core::ports::Transmit;
use crate::shard::testing::connection;
use crate::socket::Socket;
use crate::tls::testing;

type Client = StreamOwned<ClientConnection, std::net::TcpStream>;

/// Returns the gateway's end of a connection, with the task in which `client` uses the other end.
async fn with<T: Send + 'static>(
    client: impl FnOnce(Client) -> T + Send + 'static,
) -> (io::Result<TlsSocket>, JoinHandle<T>) {
    let (ours, theirs) = connection().await;
    let (certificate, tls) = testing::both();
    let theirs = theirs.into_std().unwrap();
    theirs.set_nonblocking(false).unwrap();
    let client = spawn_blocking(move || client(StreamOwned::new(tls, theirs)));
    (TlsSocket::accept(ours, certificate.current()).await, client)
}

#[test]
fn a_plain_client_pays_nothing_for_tls() {
    assert_eq!(size_of::<Socket>(), size_of::<TcpStream>());
}

#[tokio::test]
async fn everything_that_a_client_sends_is_read_however_small_the_buffer() {
    let sent: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    let expected = sent.clone();
    let (socket, client) = with(move |mut client| {
        client.write_all(&sent).unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        client
    })
    .await;
    let mut socket = Socket::Tls(Box::new(socket.unwrap()));
    let mut received = Vec::new();
    let mut some = [0; 1000];
    loop {
        match socket.read(&mut some).await.unwrap() {
            0 => break,
            n => received.extend_from_slice(&some[..n]),
        }
    }
    assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
    drop(client.await.unwrap());
    let Socket::Tls(tls) = socket else { unreachable!() };
    let session = tls.session.borrow();
    let kept = [session.partial.capacity(), session.unread.capacity(), session.engine.outgoing.capacity()];
    assert_eq!(kept, [0, 0, 0], "an idle client holds a buffer");
}

#[tokio::test]
async fn an_outbox_is_written_in_order_and_keeps_what_the_socket_has_not_taken() {
    let (full, is_full) = std::sync::mpsc::channel();
    let (socket, client) = with(move |mut client| {
        let mut received = Vec::new();
        client.flush().unwrap();
        is_full.recv().unwrap();
        client.read_to_end(&mut received).unwrap();
        received
    })
    .await;
    let socket = Socket::Tls(Box::new(socket.unwrap()));
    let mut outbox = Outbox::default();
    let mut expected = Vec::new();
    for i in 0..4000_usize {
        let frame = vec![i as u8; i];
        expected.extend_from_slice(&frame);
        outbox.push(frame.into());
    }
    let mut blocked = 0;
    while socket.flush(&mut outbox) == Flushed::Blocked {
        assert!(!outbox.is_empty(), "what the socket has not taken has left the outbox");
        blocked += 1;
        // The client reads only from now on, and ends when it has everything.
        let _ = full.send(());
        socket.tcp().writable().await.unwrap();
    }
    assert!(blocked > 0, "the socket took everything at once: this tests nothing");
    assert!(outbox.is_empty() && outbox.bytes() == 0);
    socket.close_notify();
    drop(socket);
    let received = client.await.unwrap();
    assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
}

#[tokio::test]
async fn a_client_without_tls_gets_an_alert_and_is_rejected() {
    let (ours, theirs) = connection().await;
    let (certificate, _) = testing::both();
    let mut theirs = theirs.into_std().unwrap();
    theirs.set_nonblocking(false).unwrap();
    let client = spawn_blocking(move || {
        theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let _ = theirs.read_to_end(&mut answer);
        answer
    });
    let error = TlsSocket::accept(ours, certificate.current()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    // A fatal alert.
    assert!(client.await.unwrap().starts_with(&[21, 3]));
}

#[tokio::test]
async fn a_client_that_leaves_during_the_handshake_ends_it() {
    let (ours, theirs) = connection().await;
    let (certificate, _) = testing::both();
    drop(theirs);
    assert!(TlsSocket::accept(ours, certificate.current()).await.is_err());
}

#[tokio::test]
async fn a_handshake_may_come_in_pieces() {
    let (ours, theirs) = connection().await;
    let (certificate, mut tls) = testing::both();
    let mut theirs = theirs.into_std().unwrap();
    theirs.set_nonblocking(false).unwrap();
    let client = spawn_blocking(move || {
        for piece in testing::hello_in_pieces(&mut tls, 7) {
            theirs.write_all(&piece[..6]).unwrap();
            theirs.write_all(&piece[6..]).unwrap();
        }
        let mut client = StreamOwned::new(tls, theirs);
        client.write_all(b"hello").unwrap();
        client
    });
    let socket = TlsSocket::accept(ours, certificate.current()).await.unwrap();
    let mut socket = Socket::Tls(Box::new(socket));
    let mut received = [0; 5];
    socket.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"hello");
    drop(client.await.unwrap());
}

/// Once a part of a handshake message has arrived, rustls remembers a position in bytes that it
/// has to be given again, and panics without them.
#[tokio::test]
async fn writing_in_the_middle_of_a_handshake_message_is_an_error_and_no_panic() {
    let (ours, mut theirs) = connection().await;
    let (certificate, mut tls) = testing::both();
    let engine = Engine::new(certificate.current()).unwrap();
    let session = Session { engine, partial: Vec::new(), unread: Vec::new(), sealed: 0 };
    let socket = TlsSocket { tcp: ours, session: RefCell::new(session) };
    let pieces = testing::hello_in_pieces(&mut tls, 50);
    theirs.write_all(&pieces[0]).await.unwrap();
    theirs.write_all(&pieces[1]).await.unwrap();
    socket.tcp.readable().await.unwrap();
    assert!(is_transient(&socket.try_read(&mut [0; 100]).unwrap_err()));
    assert!(!socket.session.borrow().partial.is_empty());
    socket.close_notify();
    assert_eq!(socket.try_write(b"hello").unwrap_err().kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_client_that_pauses_in_the_middle_of_a_record_is_still_written_to() {
    let (socket, client) = with(|mut client| {
        client.flush().unwrap();
        let mut received = [0; 5];
        client.read_exact(&mut received).unwrap();
        (client, received)
    })
    .await;
    let socket = socket.unwrap();
    let (mut client, _) = {
        socket.write_now(b"hello").await;
        client.await.unwrap()
    };
    // The first bytes of a record.
    client.sock.write_all(&[23, 3, 3, 0, 100, 1, 2, 3]).unwrap();
    socket.tcp.readable().await.unwrap();
    assert!(is_transient(&socket.try_read(&mut [0; 100]).unwrap_err()));
    assert_eq!(socket.session.borrow().partial.len(), 8);
    let reading = spawn_blocking(move || {
        let mut received = [0; 5];
        client.read_exact(&mut received).unwrap();
        received
    });
    socket.write_now(b"again").await;
    assert_eq!(&reading.await.unwrap(), b"again");
}

impl TlsSocket {
    async fn write_now(&self, text: &[u8]) {
        assert_eq!(poll_fn(|cx| self.poll_write(cx, text)).await.unwrap(), text.len());
        poll_fn(|cx| self.poll_drain(cx)).await.unwrap();
    }
}
