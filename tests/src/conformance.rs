//! Conversations with a gateway, byte for byte: the bytes that a client writes below its WebSocket, and all bytes that it
//! must receive. The tests of RFC 6455 and RFC 7692 build a [`Case`] each and play them over TCP or TLS.

use std::fmt;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::{WsClient, soon, tls};

/// The bit of a frame's first byte for the last, or only, frame of a message.
pub const FIN: u8 = 0x80;
/// A fragment that is not the first.
pub const CONTINUE: u8 = 0x0;
/// A text message, or its first fragment.
pub const TEXT: u8 = 0x1;
/// A binary message, or its first fragment.
pub const BINARY: u8 = 0x2;
/// A close frame.
pub const CLOSE: u8 = 0x8;
/// A ping.
pub const PING: u8 = 0x9;
/// A pong.
pub const PONG: u8 = 0xa;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as a client sends it: masked.
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, 0x80, payload.len());
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame as a server sends it: not masked.
pub fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, 0, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// The payload of a close frame.
pub fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

fn header(first: u8, masked: u8, len: usize) -> Vec<u8> {
    let mut header = vec![first];
    match len {
        0..=125 => header.push(masked | len as u8),
        126..=0xffff => {
            header.push(masked | 126);
            header.extend((len as u16).to_be_bytes());
        }
        _ => {
            header.push(masked | 127);
            header.extend((len as u64).to_be_bytes());
        }
    }
    header
}

/// One conversation, on a connection of its own.
#[derive(Clone)]
pub struct Case {
    name: String,
    turns: Vec<Turn>,
    /// Whether the gateway ends the connection after the last turn.
    ends: bool,
    /// Whether it ends because the client has broken the protocol.
    fails: bool,
    /// How many bytes are written at a time.
    chop: usize,
}

#[derive(Clone)]
struct Turn {
    say: Vec<u8>,
    hear: Vec<u8>,
}

impl Case {
    /// Returns a conversation without turns.
    pub fn new(name: impl fmt::Display) -> Self {
        Self { name: name.to_string(), turns: Vec::new(), ends: false, fails: false, chop: usize::MAX }
    }

    /// Adds a turn: the client writes these bytes.
    pub fn say(mut self, bytes: Vec<u8>) -> Self {
        self.turns.push(Turn { say: bytes, hear: Vec::new() });
        self
    }

    /// Adds a turn: the client sends this frame.
    pub fn send(self, first: u8, payload: impl AsRef<[u8]>) -> Self {
        self.say(client_frame(first, payload.as_ref()))
    }

    /// The gateway must answer the last turn with this frame.
    ///
    /// # Panics
    /// There is no turn.
    pub fn hear(mut self, first: u8, payload: impl AsRef<[u8]>) -> Self {
        let turn = self.turns.last_mut().expect("something is said first");
        turn.hear.extend(server_frame(first, payload.as_ref()));
        self
    }

    /// The gateway must then send this close frame, and end the connection.
    pub fn ends(mut self, payload: &[u8]) -> Self {
        self.ends = true;
        self.hear(FIN | CLOSE, payload)
    }

    /// The gateway must then fail the connection, with this code and reason.
    pub fn fails(mut self, code: u16, reason: &str) -> Self {
        self.fails = true;
        self.ends(&close_payload(code, reason.as_bytes()))
    }

    /// Returns the conversation with the client's bytes cut into pieces of this length.
    pub fn chopped(mut self, bytes: usize) -> Self {
        self.name = format!("{}, in pieces of {bytes}", self.name);
        self.chop = bytes;
        self
    }

    /// Plays the client's part, over a connection that has received its greeting.
    async fn play<S: AsyncRead + AsyncWrite + Unpin>(mut self, mut tcp: S) {
        if !self.ends {
            // All that came back must have been heard by then.
            let bye = close_payload(1000, b"");
            self = self.send(FIN | CLOSE, &bye).ends(&bye);
        }
        let Self { name, turns, chop, fails, .. } = self;
        for Turn { say, hear } in turns {
            for piece in say.chunks(chop) {
                if tcp.write_all(piece).await.is_err() || tcp.flush().await.is_err() {
                    // It was enough for the gateway; what it answered is there to be read.
                    break;
                }
            }
            let mut heard = vec![0; hear.len()];
            let got = soon(&name, read(&mut tcp, &mut heard)).await;
            assert!(heard == hear, "{name}: {} instead of {}", Bytes(&heard[..got]), Bytes(&hear));
        }
        if fails {
            // It hears why, and closes too: only then does the gateway end the connection.
            let _ = tcp.write_all(&client_frame(FIN | CLOSE, &close_payload(1000, b""))).await;
            let _ = tcp.flush().await;
        }
        let mut more = Vec::new();
        let end = soon(&name, tcp.read_to_end(&mut more)).await;
        assert!(end.is_ok() && more.is_empty(), "{name}: then {end:?}, {}", Bytes(&more));
    }
}

/// Reads until `buffer` is full or the connection ends.
async fn read(tcp: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> usize {
    let mut got = 0;
    while got < buffer.len() {
        match tcp.read(&mut buffer[got..]).await {
            Ok(n @ 1..) => got += n,
            _ => break,
        }
    }
    got
}

/// Plays all conversations at the same time.
///
/// # Panics
/// The gateway sends other bytes than it must. The message names the case.
pub async fn converse(listener: SocketAddr, cases: impl IntoIterator<Item = Case>) {
    let play = |case: Case| async move {
        let tcp = WsClient::greeted(listener).await.0.into_inner();
        tcp.set_nodelay(true).expect("the connection stands");
        case.play(tcp).await;
    };
    all(cases.into_iter().map(play).collect()).await;
}

/// Plays all conversations with clients that offer these extensions in their handshake.
///
/// # Panics
/// The gateway sends other bytes than it must. The message names the case.
pub async fn converse_offering(
    listener: SocketAddr,
    extensions: &'static str,
    cases: impl IntoIterator<Item = Case>,
) {
    let play = |case: Case| async move {
        let tcp = soon("a TCP connection", TcpStream::connect(listener)).await.expect("the gateway listens");
        tcp.set_nodelay(true).expect("the connection stands");
        let mut request = format!("ws://{listener}/").into_client_request().expect("a request");
        request.headers_mut().insert("Sec-WebSocket-Extensions", HeaderValue::from_static(extensions));
        let mut client = WsClient::over(tcp, request).await.expect("the handshake goes well");
        // The worker's greeting.
        client.text().await;
        case.play(client.into_inner()).await;
    };
    all(cases.into_iter().map(play).collect()).await;
}

/// Plays all conversations over TLS.
///
/// # Panics
/// The gateway sends other bytes than it must. The message names the case.
pub async fn converse_over_tls(
    listener: SocketAddr,
    connector: &TlsConnector,
    cases: impl IntoIterator<Item = Case>,
) {
    let play = |case: Case| {
        let connector = connector.clone();
        async move {
            let tls = tls::connect(&connector, listener).await.expect("a TLS handshake");
            case.play(WsClient::greeted_over(tls).await.0.into_inner()).await;
        }
    };
    all(cases.into_iter().map(play).collect()).await;
}

async fn all(mut playing: JoinSet<()>) {
    while let Some(played) = playing.join_next().await {
        if let Err(failed) = played {
            std::panic::resume_unwind(failed.into_panic());
        }
    }
}

/// Formats bytes for an error, cut after the beginning.
struct Bytes<'a>(&'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(60)];
        write!(f, "{} bytes: {}", self.0.len(), shown.escape_ascii())
    }
}
