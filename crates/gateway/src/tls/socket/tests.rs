//! A TLS connection against a client of rustls.

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

/// Our end of a connection, and what `client` does with the other.
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
async fn what_a_client_says_is_read_however_little_is_asked_for_at_once() {
    let said: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    let expected = said.clone();
    let (socket, client) = with(move |mut client| {
        client.write_all(&said).unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        client
    })
    .await;
    let mut socket = Socket::Tls(Box::new(socket.unwrap()));
    let mut heard = Vec::new();
    let mut some = [0; 1000];
    loop {
        match socket.read(&mut some).await.unwrap() {
            0 => break,
            n => heard.extend_from_slice(&some[..n]),
        }
    }
    assert!(heard == expected, "{} of {} bytes", heard.len(), expected.len());
    drop(client.await.unwrap());
    let Socket::Tls(tls) = socket else { unreachable!() };
    let session = tls.session.borrow();
    let kept = [session.partial.capacity(), session.unread.capacity(), session.engine.outgoing.capacity()];
    assert_eq!(kept, [0, 0, 0], "a client that is silent holds a buffer");
}

#[tokio::test]
async fn an_outbox_is_written_in_order_and_counts_what_the_socket_has_not_taken() {
    let (full, is_full) = std::sync::mpsc::channel();
    let (socket, client) = with(move |mut client| {
        let mut heard = Vec::new();
        client.flush().unwrap();
        is_full.recv().unwrap();
        client.read_to_end(&mut heard).unwrap();
        heard
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
        // It reads only from now on, and is gone when it has all.
        let _ = full.send(());
        socket.tcp().writable().await.unwrap();
    }
    assert!(blocked > 0, "the socket took everything at once: this tests nothing");
    assert!(outbox.is_empty() && outbox.bytes() == 0);
    socket.close_notify();
    drop(socket);
    let heard = client.await.unwrap();
    assert!(heard == expected, "{} of {} bytes", heard.len(), expected.len());
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_so_and_not_let_in() {
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
async fn a_client_that_leaves_within_the_handshake_ends_it() {
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
    let mut heard = [0; 5];
    socket.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    drop(client.await.unwrap());
}

/// Once a part of a handshake message has come, rustls knows its place in bytes that
/// are to be lent to it again, and panics without them.
#[tokio::test]
async fn something_may_be_said_to_a_client_in_the_middle_of_its_handshake_message() {
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
async fn a_client_that_stops_in_the_middle_of_a_record_is_still_written_to() {
    let (socket, client) = with(|mut client| {
        client.flush().unwrap();
        let mut heard = [0; 5];
        client.read_exact(&mut heard).unwrap();
        (client, heard)
    })
    .await;
    let socket = socket.unwrap();
    let (mut client, _) = {
        socket.say_now(b"hello").await;
        client.await.unwrap()
    };
    // The front of a record.
    client.sock.write_all(&[23, 3, 3, 0, 100, 1, 2, 3]).unwrap();
    socket.tcp.readable().await.unwrap();
    assert!(is_transient(&socket.try_read(&mut [0; 100]).unwrap_err()));
    assert_eq!(socket.session.borrow().partial.len(), 8);
    let reading = spawn_blocking(move || {
        let mut heard = [0; 5];
        client.read_exact(&mut heard).unwrap();
        heard
    });
    socket.say_now(b"again").await;
    assert_eq!(&reading.await.unwrap(), b"again");
}

impl TlsSocket {
    async fn say_now(&self, text: &[u8]) {
        assert_eq!(poll_fn(|cx| self.poll_write(cx, text)).await.unwrap(), text.len());
        poll_fn(|cx| self.poll_drain(cx)).await.unwrap();
    }
}
