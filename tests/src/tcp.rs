//! A client over plain TCP, byte for byte, for listeners without WebSocket.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::soon;

/// A client of a gateway, over plain TCP. A wait over the limit fails the test.
pub struct TcpClient {
    stream: TcpStream,
}

impl TcpClient {
    /// Connects.
    ///
    /// # Panics
    /// No listener accepts.
    pub async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: soon("a TCP connection", TcpStream::connect(address)).await.expect("somebody listens"),
        }
    }

    /// Sends bytes. An error does not matter: the gateway may close the connection meanwhile.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = soon("the bytes to go out", self.stream.write_all(bytes)).await;
    }

    /// Returns the next line, without its end.
    ///
    /// # Panics
    /// No line arrives in time.
    pub async fn line(&mut self) -> String {
        let mut line = Vec::new();
        soon("a line", async {
            loop {
                match self.stream.read_u8().await.expect("a line before the end") {
                    b'\n' => return,
                    byte => line.push(byte),
                }
            }
        })
        .await;
        String::from_utf8(line).expect("a line is text")
    }

    /// Returns the next `n` bytes.
    ///
    /// # Panics
    /// They do not arrive in time.
    pub async fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        soon("bytes", self.stream.read_exact(&mut bytes)).await.expect("so many bytes before the end");
        bytes
    }

    /// Returns the next line, or all bytes until the connection ends.
    pub async fn line_or_rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        soon("a line or the end", async {
            while let Ok(byte) = self.stream.read_u8().await {
                bytes.push(byte);
                if byte == b'\n' {
                    break;
                }
            }
        })
        .await;
        bytes
    }

    /// Returns all bytes until the connection ends, with or without an error.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = soon("the end", self.stream.read_to_end(&mut rest)).await;
        rest
    }
}
