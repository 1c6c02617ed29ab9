//! A message from a client.

use std::str::Utf8Error;

use bytes::Bytes;
use gatewayworker_client::OutMessage;
use gatewayworker_protocol::{Body, Payload};
use serde::de::DeserializeOwned;

/// What a client said: bytes, as its protocol framed them.
///
/// A message shares the memory of what was read together with it. To keep a small
/// one for long, copy it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Payload);

impl Message {
    pub(crate) fn new(payload: Payload) -> Self {
        Self(payload)
    }

    /// The bytes. (From a PHP gateway with a protocol of its own, which made a value
    /// of them, they are the serialized value.)
    pub fn bytes(&self) -> &Bytes {
        match &self.0.body {
            Body::Plain(bytes) | Body::Php(bytes) => bytes,
        }
    }

    /// The bytes, for good.
    pub fn into_bytes(self) -> Bytes {
        match self.0.body {
            Body::Plain(bytes) | Body::Php(bytes) => bytes,
        }
    }

    /// The text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn text(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(self.bytes())
    }

    /// What the JSON in it says.
    ///
    /// # Errors
    /// When it is not JSON, or of another shape.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(self.bytes())
    }

    /// Whether the client marked it as binary. A PHP gateway does not say.
    pub fn is_binary(&self) -> bool {
        self.0.binary
    }
}

/// A received message can be sent on as it is; a binary one stays binary.
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
