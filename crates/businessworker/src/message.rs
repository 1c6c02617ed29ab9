//! [`Message`]: a message from a client.
//!
//! `handler` makes it out of the event and gives it to `on_message`.

use std::str::Utf8Error;

use bytes::Bytes;
use gatewayworker_client::OutMessage;
use gatewayworker_protocol::{Body, Payload};
use serde::de::DeserializeOwned;

/// A message from a client: bytes, as its protocol framed them.
///
/// A message shares its memory with the events that were read together with it. To keep a
/// small one for long, copy it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Payload);

impl Message {
    pub(crate) fn new(payload: Payload) -> Self {
        Self(payload)
    }

    /// Returns the bytes. (Where a PHP gateway's own protocol made a PHP value of them, they
    /// are the serialized value.)
    pub fn bytes(&self) -> &Bytes {
        match &self.0.body {
            Body::Plain(bytes) | Body::Php(bytes) => bytes,
        }
    }

    /// Returns the bytes and drops the rest.
    pub fn into_bytes(self) -> Bytes {
        match self.0.body {
            Body::Plain(bytes) | Body::Php(bytes) => bytes,
        }
    }

    /// Returns the text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn text(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(self.bytes())
    }

    /// Reads the message as JSON.
    ///
    /// # Errors
    /// When it is not JSON, or has another shape than `T`.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(self.bytes())
    }

    /// Returns whether the client marked the message as binary; false from a PHP gateway,
    /// which does not say.
    pub fn is_binary(&self) -> bool {
        self.0.binary
    }
}

/// A received message is sent on as it is; a binary one stays binary.
impl From<Message> for OutMessage {
    fn from(message: Message) -> Self {
        message.0.into()
    }
}

impl From<&Message> for OutMessage {
    fn from(message: &Message) -> Self {
        message.0.clone().into()
    }
}
