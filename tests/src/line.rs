//! A connection that speaks `gw.1` (`docs/client-protocol.md`), message by message. It keeps and counts nothing: the test does.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::WsClient;

/// A connection that speaks `gw.1`.
pub struct Line(pub WsClient);

impl Line {
    /// Connects to a gateway, which must answer `gw.1`.
    ///
    /// # Panics
    /// It does not.
    pub async fn open(listener: SocketAddr) -> Self {
        Self::open_with(listener, "/", "gw.1").await
    }

    /// Connects with a path, and an offer of subprotocols.
    ///
    /// # Panics
    /// The handshake fails.
    pub async fn open_with(listener: SocketAddr, path: &str, protocols: &str) -> Self {
        Self::try_open_with(listener, path, protocols).await.expect("the handshake goes well")
    }

    /// Connects to a gateway that may not be there yet: `None` then.
    pub async fn try_open(listener: SocketAddr) -> Option<Self> {
        Self::try_open_with(listener, "/", "gw.1").await
    }

    async fn try_open_with(listener: SocketAddr, path: &str, protocols: &str) -> Option<Self> {
        let stream = TcpStream::connect(listener).await.ok()?;
        let mut request = format!("ws://{listener}{path}").into_client_request().expect("a URL");
        let offer = protocols.parse().expect("names of subprotocols");
        request.headers_mut().insert("Sec-WebSocket-Protocol", offer);
        WsClient::over(stream, request).await.ok().map(Self)
    }

    /// Sends a control message.
    ///
    /// # Panics
    /// The connection has ended.
    pub async fn control(&mut self, control: Value) {
        self.0.send(&format!("\u{1}{control}")).await;
    }

    /// Waits for the next message, which must be a control message.
    ///
    /// # Panics
    /// It is not.
    pub async fn expect_control(&mut self) -> Value {
        let text = self.0.text().await;
        let control = text.strip_prefix('\u{1}').expect("a control message");
        serde_json::from_str(control).unwrap_or_else(|error| panic!("{error}: {control}"))
    }

    /// Waits for the next data message, and drops control messages before it.
    ///
    /// # Panics
    /// None arrives in time.
    pub async fn data(&mut self) -> String {
        loop {
            match self.0.text().await {
                text if text.starts_with('\u{1}') => {}
                text => return text,
            }
        }
    }

    /// Waits for the code of the close frame.
    ///
    /// # Panics
    /// The connection ends without one.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            match self.0.next().await {
                Some(Message::Close(Some(frame))) => return frame.code.into(),
                Some(_) => {}
                None => panic!("the connection ends without a close frame"),
            }
        }
    }

    /// Says that it is the client of a token: which attempt this is, and how many messages the client has received.
    ///
    /// # Panics
    /// The connection has ended.
    pub async fn resume(&mut self, token: &str, attempt: u64, got: u64) {
        self.control(json!({"resume": {"token": token, "try": attempt, "got": got}})).await;
    }
}
