//! A real WebSocket client.

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

/// A client of a gateway. Every wait has a limit and fails the test beyond it.
pub struct WsClient<S = TcpStream> {
    socket: WebSocketStream<S>,
}

impl WsClient {
    /// Connects to the root path.
    ///
    /// # Panics
    /// When that fails.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_to(address, "/").await
    }

    /// Connects to a path, which may have a query.
    ///
    /// # Panics
    /// When that fails.
    pub async fn connect_to(address: SocketAddr, path: &str) -> Self {
        Self::try_connect(address, path).await.expect("the handshake goes well")
    }

    /// Tries to connect.
    ///
    /// # Errors
    /// What the handshake failed with.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn try_connect(address: SocketAddr, path: &str) -> Result<Self, Error> {
        let stream = soon("a TCP connection", TcpStream::connect(address)).await.map_err(Error::Io)?;
        Self::over(stream, format!("ws://{address}{path}")).await
    }

    /// Connects to a gateway whose worker greets with the client id, as
    /// [`Recorder`](crate::Recorder) does, and takes the greeting.
    ///
    /// # Panics
    /// When there is none.
    pub async fn greeted(address: SocketAddr) -> (Self, ClientId) {
        let mut client = Self::connect(address).await;
        let id = client.text().await.parse().expect("a client id as greeting");
        (client, id)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WsClient<S> {
    /// Shakes hands over a connection, with a request that may have headers of its own.
    ///
    /// # Errors
    /// What the handshake failed with.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn over(stream: S, request: impl IntoClientRequest + Unpin) -> Result<Self, Error> {
        let (socket, _) = soon("a WebSocket handshake", client_async(request, stream)).await?;
        Ok(Self { socket })
    }

    /// The same with a gateway whose worker greets with the client id, and takes that.
    ///
    /// # Panics
    /// When there is no greeting.
    pub async fn greeted_over(stream: S) -> (Self, ClientId) {
        let mut client = Self::over(stream, "ws://localhost/").await.expect("the handshake goes well");
        let id = client.text().await.parse().expect("a client id as greeting");
        (client, id)
    }

    /// Sends a text message.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn send(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends a JSON message.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn send_json(&mut self, json: Value) {
        self.send(&json.to_string()).await;
    }

    /// Sends any message.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn send_message(&mut self, message: Message) {
        self.socket.send(message).await.expect("the connection stands");
    }

    /// The next message of any kind, or `None` at the end of the connection.
    ///
    /// # Panics
    /// When there is none soon.
    pub async fn next(&mut self) -> Option<Message> {
        soon("a message", self.socket.next()).await.and_then(Result::ok)
    }

    /// The next message, which is text.
    ///
    /// # Panics
    /// When it is not.
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("expected a text message, got {other:?}"),
        }
    }

    /// The next message, which is JSON.
    ///
    /// # Panics
    /// When it is not.
    pub async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The close code that the connection ends with, and 0 where it ends without
    /// one; messages before that are passed over.
    pub async fn close_code(&mut self) -> u16 {
        while let Some(message) = self.next().await {
            if let Message::Close(frame) = message {
                return frame.map_or(1005, |frame| frame.code.into());
            }
        }
        0
    }

    /// Closes as RFC 6455 wants it.
    pub async fn close(mut self) {
        let _ = self.socket.close(None).await;
        while let Some(Ok(_)) = soon("the end of the connection", self.socket.next()).await {}
    }

    /// The connection below, to do what no client should.
    pub fn into_inner(self) -> S {
        self.socket.into_inner()
    }
}
