//! Messages that a client sends and waits for itself, outside of a measurement: greeting, joins, questions, close.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Client, ClientError, for_each_message};
use crate::wire::{self, opcode};

/// How long a server may take to answer a close.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

impl Client {
    /// Waits for the greeting: the next message.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) async fn wait_for_greeting(&mut self) -> Result<(), ClientError> {
        self.wait_for(|_| true).await
    }

    /// Sends `frames`, the last of them `E`, and waits for its echo: then the server has processed all of them.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) async fn barrier(&mut self, frames: &[u8]) -> Result<(), ClientError> {
        self.ask(frames, |payload| payload == b"E").await
    }

    /// Sends `frames`, and waits for a message that `answer` accepts.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) async fn ask(
        &mut self,
        frames: &[u8],
        answer: impl Fn(&[u8]) -> bool,
    ) -> Result<(), ClientError> {
        self.send(frames).await?;
        self.wait_for(answer).await
    }

    /// Sends `frames`.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) async fn send(&mut self, frames: &[u8]) -> Result<(), ClientError> {
        self.stream.write_all(frames).await.map_err(ClientError::Io)?;
        self.stream.flush().await.map_err(ClientError::Io)
    }

    /// Waits for a message that `wanted` accepts, and drops it with all others that have arrived.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) async fn wait_for(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Result<(), ClientError> {
        let mut found = false;
        loop {
            let bytes = std::mem::take(&mut self.rest);
            let mut left = &bytes[..];
            for_each_message(&mut left, &mut self.out, &mut self.receipts, |payload, _| {
                found |= wanted(payload);
                Ok(())
            })?;
            self.rest = left.to_vec();
            if found {
                return Ok(());
            }
            if self.stream.read_buf(&mut self.rest).await.map_err(ClientError::Io)? == 0 {
                return Err(ClientError::Ended);
            }
        }
    }

    /// Sends a close frame, and waits until the server has ended the connection, at most [`CLOSE_LIMIT`].
    pub(crate) async fn close(mut self) {
        let mut frame = Vec::new();
        wire::encode(opcode::CLOSE, &1000u16.to_be_bytes(), &mut frame);
        let closing = async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await?;
            let mut ignored = [0; 512];
            while self.stream.read(&mut ignored).await? > 0 {}
            std::io::Result::Ok(())
        };
        // Without an answer in time, dropping the socket ends the connection.
        let _ = tokio::time::timeout(CLOSE_LIMIT, closing).await;
    }
}
