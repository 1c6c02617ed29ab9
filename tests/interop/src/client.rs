//! A WebSocket client that records everything that it receives, as lines of text to compare.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use gatewayworker_tests::soon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// A client. It records a text message as its text, a binary message as `binary` and its bytes, and at last the end of the
/// connection.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    marks: u32,
    /// The client id of the greeting.
    pub id: String,
}

impl Client {
    /// Connects, and receives the greeting.
    ///
    /// # Errors
    /// The gateway has answered something else, which the error shows.
    pub async fn connect(listener: SocketAddr, path: &str) -> Result<Self, String> {
        let mut request =
            format!("ws://{listener}{path}").into_client_request().map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        headers.insert("x-interop", HeaderValue::from_static("a, b"));
        headers.insert("cookie", HeaderValue::from_static("one=1; two=a%20b"));
        let stream =
            soon("a TCP connection", TcpStream::connect(listener)).await.map_err(|_| "no connection")?;
        let (socket, _) =
            soon("a handshake", client_async(request, stream)).await.map_err(|_| "no handshake")?;
        Self::greeted(socket).await
    }

    /// Connects with a target and header lines, which are sent unchanged.
    ///
    /// # Errors
    /// The gateway has answered something else, which the error shows.
    ///
    /// # Panics
    /// Nothing listens there.
    pub async fn connect_by_hand(listener: SocketAddr, target: &str, headers: &str) -> Result<Self, String> {
        let mut stream =
            soon("a TCP connection", TcpStream::connect(listener)).await.map_err(|_| "no connection")?;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {listener}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(soon("a handshake", stream.read_u8()).await.map_err(|_| "no handshake")?);
        }
        if !answer.starts_with(b"HTTP/1.1 101 ") {
            return Err(String::from_utf8_lossy(&answer).into_owned());
        }
        Self::greeted(WebSocketStream::from_raw_socket(stream, Role::Client, None).await).await
    }

    async fn greeted(socket: WebSocketStream<TcpStream>) -> Result<Self, String> {
        let mut client = Self { socket, marks: 0, id: String::new() };
        let greeting = client.hear().await;
        match greeting.strip_prefix("hello ") {
            Some(id) => client.id = id.to_owned(),
            None => return Err(greeting),
        }
        Ok(client)
    }

    /// Sends a text message. An error does not matter: the received lines show it.
    pub async fn say(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    /// Sends a compressed text message, marked as in RFC 7692.
    pub async fn send_compressed(&mut self, payload: &'static [u8]) {
        let header = FrameHeader { rsv1: true, opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
        self.send(Message::Frame(Frame::from_payload(header, payload.into()))).await;
    }

    /// Sends any message.
    pub async fn send(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    /// Waits for the next line.
    ///
    /// # Panics
    /// None arrives in time.
    pub async fn hear(&mut self) -> String {
        soon("something to hear", self.next()).await
    }

    /// Sends a message, and returns the answer.
    pub async fn ask(&mut self, text: &str) -> String {
        self.say(text).await;
        self.hear().await
    }

    async fn next(&mut self) -> String {
        loop {
            return match self.socket.next().await {
                Some(Ok(Message::Text(text))) => text.to_string(),
                Some(Ok(Message::Binary(bytes))) => format!("binary {}", bytes.escape_ascii()),
                Some(Ok(Message::Pong(bytes))) => format!("pong {}", bytes.escape_ascii()),
                Some(Ok(Message::Close(frame))) => match frame {
                    Some(frame) => format!("closed {}", u16::from(frame.code)),
                    None => "closed".into(),
                },
                Some(Ok(_)) => continue,
                Some(Err(Error::Utf8(_))) => "text that is not UTF-8".into(),
                Some(Err(_)) | None => "end".into(),
            };
        }
    }

    /// Returns all lines until the echo of its own message, or until the end.
    pub async fn heard(&mut self) -> Vec<String> {
        self.marks += 1;
        let mark = format!("mark {}", self.marks);
        self.say(&mark).await;
        self.heard_before(&mark).await
    }

    /// Returns all lines before this one, or until the end.
    ///
    /// # Panics
    /// Neither arrives in time.
    pub async fn heard_before(&mut self, mark: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let next = self.hear().await;
            if next == mark {
                return heard;
            }
            let is_end = next == "end" || next.starts_with("closed");
            heard.push(next);
            if is_end {
                // The library sends the answer to a close frame on this flush.
                let _ = self.socket.flush().await;
                return heard;
            }
        }
    }

    /// Closes the connection with a close frame, as RFC 6455 requires.
    pub async fn leave(mut self) {
        let _ = self.socket.close(None).await;
        while let Some(Ok(_)) = soon("the end of the connection", self.socket.next()).await {}
    }

    /// Ends the connection without a close frame.
    pub fn vanish(self) {
        drop(self.socket);
    }
}
