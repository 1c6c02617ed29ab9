//! A message to clients: made from text, bytes, JSON, PHP values or a received message.
//!
//! `send.rs` and `close.rs` take it; a gateway encodes it for the protocol of each client.

use bytes::Bytes;
use gatewayworker_protocol::{Body, Payload, php};
use serde::Serialize;
use serde_json::value::RawValue;

/// A message to clients.
///
/// Made from text, bytes, JSON or a received message. A WebSocket client gets it as the
/// listener is set, text or binary, unless the message is marked as binary: by `.binary()`,
/// or because it was received as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutMessage(Payload);

impl OutMessage {
    /// Makes a message of `value` as JSON text.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn json(value: &(impl Serialize + ?Sized)) -> serde_json::Result<Self> {
        serde_json::to_vec(value).map(Self::from)
    }

    /// Marks the message as binary for WebSocket clients. (A gateway of the original
    /// does not know this, and sends text.)
    #[must_use]
    pub fn binary(mut self) -> Self {
        self.0.binary = true;
        self
    }

    /// Returns the message as it goes to the gateways.
    pub fn payload(&self) -> &Payload {
        &self.0
    }

    pub(crate) fn payload_mut(&mut self) -> &mut Payload {
        &mut self.0
    }

    pub(crate) fn into_payload(self) -> Payload {
        self.0
    }
}

/// A received payload, to be sent on. It stays binary, but does not stay raw: a gateway
/// encodes it again.
impl From<Payload> for OutMessage {
    fn from(payload: Payload) -> Self {
        Self(Payload { raw: false, ..payload })
    }
}

impl From<Bytes> for OutMessage {
    fn from(body: Bytes) -> Self {
        Self(Payload::plain(body))
    }
}

impl From<Vec<u8>> for OutMessage {
    fn from(body: Vec<u8>) -> Self {
        Bytes::from(body).into()
    }
}

impl From<String> for OutMessage {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&str> for OutMessage {
    fn from(text: &str) -> Self {
        Bytes::copy_from_slice(text.as_bytes()).into()
    }
}

impl From<&[u8]> for OutMessage {
    fn from(bytes: &[u8]) -> Self {
        Bytes::copy_from_slice(bytes).into()
    }
}

impl From<serde_json::Value> for OutMessage {
    fn from(value: serde_json::Value) -> Self {
        value.to_string().into()
    }
}

/// The JSON text, byte for byte.
impl From<&RawValue> for OutMessage {
    fn from(json: &RawValue) -> Self {
        json.get().into()
    }
}

/// A string is sent as it is. Of any other value a client gets the JSON that its gateway
/// makes, as in the original.
impl From<php::Value> for OutMessage {
    fn from(value: php::Value) -> Self {
        match value {
            php::Value::String(body) => body.into(),
            other => {
                Self(Payload { body: Body::Php(php::serialize(&other).into()), raw: false, binary: false })
            }
        }
    }
}
