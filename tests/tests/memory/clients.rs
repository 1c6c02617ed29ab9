//! Clients that have been greeted, and say nothing by themselves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, ClientConnection, StreamOwned};

use crate::Way;
use crate::daemons::Daemons;

/// The clients. They leave when this is dropped.
pub(crate) struct Clients(Vec<Box<dyn Connection>>);

/// A connection, plain or TLS.
pub(crate) trait Connection: Read + Write {}

impl<C: Read + Write> Connection for C {}

impl Clients {
    /// Opens so many, one after the other, and waits until each is greeted.
    pub(crate) fn open(daemons: &Daemons, count: usize) -> Self {
        let config = daemons.certificate.as_ref().map(|certificate| certificate.client_config(ALL_VERSIONS));
        Self((0..count).map(|_| open(daemons, config.as_ref())).collect())
    }

    /// Does something with each of them, one after the other.
    pub(crate) fn each(&mut self, mut with: impl FnMut(&mut dyn Connection)) {
        self.0.iter_mut().for_each(|connection| with(&mut **connection));
    }
}

fn open(daemons: &Daemons, config: Option<&Arc<ClientConfig>>) -> Box<dyn Connection> {
    let tcp = TcpStream::connect(daemons.address).unwrap();
    let mut connection: Box<dyn Connection> = match config {
        None => Box::new(tcp),
        Some(config) => {
            let name = "localhost".try_into().unwrap();
            Box::new(StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), tcp))
        }
    };
    let is_compressing = daemons.way == Way::Compressing;
    let offer = match daemons.way {
        Way::Compressing => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        Way::Resuming => "Sec-WebSocket-Protocol: gw.1\r\n",
        Way::Plain | Way::Tls => "",
    };
    let request = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{offer}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).unwrap();
    if daemons.way == Way::Resuming {
        say(&mut *connection, "\u{1}{\"start\":{}}");
    }
    let mut seen = Vec::new();
    while !seen.ends_with(b"welcome") {
        let mut buffer = [0; 1024];
        let bytes = connection.read(&mut buffer).unwrap();
        assert!(bytes > 0, "the client was not greeted: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..bytes]);
    }
    if is_compressing {
        let answer = String::from_utf8_lossy(&seen);
        assert!(answer.contains("permessage-deflate; server_no_context_takeover"), "{answer}");
        // "Hello" (RFC 7692 section 7.2.3.1), with a mask of zeros.
        connection.write_all(b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\0").unwrap();
    }
    if daemons.way == Way::Resuming {
        say(&mut *connection, "\u{1}{\"ack\":1}");
    }
    connection
}

/// Says a short text, in a frame with a mask of zeros.
fn say(connection: &mut dyn Connection, text: &str) {
    let frame = [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat();
    connection.write_all(&frame).unwrap();
}
