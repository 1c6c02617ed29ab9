//! A WebSocket client of a gateway, with the library tungstenite: over TCP, or over any other stream (`over`).

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use gatewayworker::ClientId;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::soon;

/// A WebSocket client. A wait over the limit fails the test.
pub struct WsClient<S = TcpStream> {
    socket: WebSocketStream<S>,
}

impl WsClient {
    /// Connects to the root path.
    ///
    /// # Panics
    /// The handshake fails.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_to(address, "/").await
    }

    /// Connects to a path, which may have a query.
    ///
    /// # Panics
    /// The handshake fails.
    pub async fn connect_to(address: SocketAddr, path: &str) -> Self {
        Self::try_connect(address, path).await.expect("the handshake goes well")
    }

    /// Tries to connect.
    ///
    /// # Errors
    /// The handshake fails.
    ///
    /// # Panics
    /// It takes too long.
    pub async fn try_connect(address: SocketAddr, path: &str) -> Result<Self, Error> {
        let stream = soon("a TCP connection", TcpStream::connect(address)).await.map_err(Error::Io)?;
        Self::over(stream, format!("ws://{address}{path}")).await
    }

    /// Connects to a gateway whose worker greets with the client id, as [`Recorder`](crate::Recorder) does, and receives
    /// the greeting.
    ///
    /// # Panics
    /// There is no greeting in time.
    pub async fn greeted(address: SocketAddr) -> (Self, ClientId) {
        let mut client = Self::connect(address).await;
        let id = client.text().await.parse().expect("a client id as greeting");
        (client, id)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WsClient<S> {
    /// Makes the WebSocket handshake over a connection, with any request.
    ///
    /// # Errors
    /// The handshake fails.
    ///
    /// # Panics
    /// It takes too long.
    pub async fn over(stream: S, request: impl IntoClientRequest + Unpin) -> Result<Self, Error> {
        let (socket, _) = soon("a WebSocket handshake", client_async(request, stream)).await?;
        Ok(Self { socket })
    }

    /// Makes the handshake with a gateway whose worker greets with the client id, and receives the greeting.
    ///
    /// # Panics
    /// There is no greeting in time.
    pub async fn greeted_over(stream: S) -> (Self, ClientId) {
        let mut client = Self::over(stream, "ws://localhost/").await.expect("the handshake goes well");
        let id = client.text().await.parse().expect("a client id as greeting");
        (client, id)
    }

    /// Sends a text message.
    ///
    /// # Panics
    /// The connection has ended.
    pub async fn send(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends a JSON message.
    ///
    /// # Panics
    /// The connection has ended.
    pub async fn send_json(&mut self, json: Value) {
        self.send(&json.to_string()).await;
    }

    /// Sends any message.
    ///
    /// # Panics
    /// The connection has ended.
    pub async fn send_message(&mut self, message: Message) {
        self.socket.send(message).await.expect("the connection stands");
    }

    /// Waits for the next message of any kind; `None` at the end of the connection.
    ///
    /// # Panics
    /// Neither arrives in time.
    pub async fn next(&mut self) -> Option<Message> {
        soon("a message", self.socket.next()).await.and_then(Result::ok)
    }

    /// Waits for the next message, which must be text.
    ///
    /// # Panics
    /// It is not.
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("expected a text message, got {other:?}"),
        }
    }

    /// Waits for the next message, which must be JSON.
    ///
    /// # Panics
    /// It is not.
    pub async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Waits for the end of the connection, and returns its close code: 1005 for a close frame without one, 0 without a
    /// close frame. Messages before it are dropped.
    pub async fn close_code(&mut self) -> u16 {
        while let Some(message) = self.next().await {
            if let Message::Close(frame) = message {
                return frame.map_or(1005, |frame| frame.code.into());
            }
        }
        0
    }

    /// Closes the connection with a close frame, and waits for its end.
    pub async fn close(mut self) {
        let _ = self.socket.close(None).await;
        while let Some(Ok(_)) = soon("the end of the connection", self.socket.next()).await {}
    }

    /// Returns the connection below, for bytes that no client should send.
    pub fn into_inner(self) -> S {
        self.socket.into_inner()
    }
}
