//! A peer on an inner port, frame by frame, as a PHP process: a test plays the gateway's worker or client library.

use std::net::{SocketAddr, SocketAddrV4};

use bytes::{Bytes, BytesMut};
use gatewayworker_protocol::php::{self, Value};
use gatewayworker_protocol::{Command, Frame, MAX_FRAME_LEN, Question, parse_answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::soon;

/// A TCP connection that speaks the inner protocol.
pub struct RawPeer {
    stream: TcpStream,
    buffer: BytesMut,
}

impl RawPeer {
    /// Connects to a gateway's inner port.
    ///
    /// # Panics
    /// The gateway does not listen.
    pub async fn connect(address: SocketAddrV4) -> Self {
        Self::over(soon("a TCP connection", TcpStream::connect(address)).await.expect("the gateway listens"))
    }

    /// Uses an accepted connection.
    pub fn over(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// The connection has ended.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the connection stands");
    }

    /// Sends a command.
    ///
    /// # Panics
    /// The connection has ended.
    pub async fn send(&mut self, command: Command) {
        let mut out = BytesMut::new();
        command.encode(&mut out);
        self.send_bytes(&out).await;
    }

    /// Reads until `parse` returns a value. `None`: the connection has ended before.
    async fn read<T>(&mut self, what: &str, mut parse: impl FnMut(&mut BytesMut) -> Option<T>) -> Option<T> {
        soon(what, async {
            loop {
                if let Some(found) = parse(&mut self.buffer) {
                    return Some(found);
                }
                match self.stream.read_buf(&mut self.buffer).await {
                    Ok(1..) => {}
                    _ => return None,
                }
            }
        })
        .await
    }

    /// Returns the next frame, or `None` at the end of the connection.
    ///
    /// # Panics
    /// Neither arrives in time, or the bytes are no frame.
    pub async fn frame(&mut self) -> Option<Frame> {
        self.read("a frame", |buffer| Frame::parse(buffer, MAX_FRAME_LEN).expect("a frame")).await
    }

    /// Returns the next command. Pings between daemons are ignored.
    ///
    /// # Panics
    /// No command arrives in time.
    pub async fn command(&mut self) -> Command {
        loop {
            let frame = self.frame().await.expect("a frame before the end");
            match Command::decode(frame).expect("a known command") {
                Command::Ping(_) => {}
                command => return command,
            }
        }
    }

    /// Returns the bytes of the next answer.
    ///
    /// # Panics
    /// No answer arrives in time.
    pub async fn answer(&mut self) -> Bytes {
        let answer =
            self.read("an answer", |buffer| parse_answer(buffer, usize::MAX).expect("an answer")).await;
        answer.expect("an answer before the end")
    }

    /// Sends a question, and returns its answer.
    ///
    /// # Panics
    /// No answer arrives in time, or it is no PHP value.
    pub async fn ask(&mut self, question: Question) -> Value {
        self.send(Command::Ask(question)).await;
        php::unserialize(&self.answer().await).expect("a PHP value")
    }

    /// Whether the peer closes the connection without another byte.
    pub async fn is_closed(&mut self) -> bool {
        self.read("the end", |buffer| (!buffer.is_empty()).then_some(())).await.is_none()
    }
}

/// Announces `address` to a register, as a gateway does. Dropping the returned connection ends the announcement.
///
/// # Panics
/// The register does not listen.
pub async fn register_as_gateway(register: SocketAddr, address: SocketAddr) -> TcpStream {
    let mut stream = soon("the register", TcpStream::connect(register)).await.expect("the register listens");
    // The line as PHP writes it, with its spaces.
    let line = format!("{{\"event\":\"gateway_connect\", \"address\":\"{address}\", \"secret_key\":\"\"}}\n");
    stream.write_all(line.as_bytes()).await.expect("the connection stands");
    stream
}
