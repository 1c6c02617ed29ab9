//! The settings of a listener that a client keeps for its life, and the bytes that a message
//! becomes for its clients.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::Payload;
use gatewayworker_protocol::close_code::GOING_AWAY;
use serde::{Deserialize, Serialize};

use super::heartbeat::Heartbeat;
use super::outgoing::{Counted, Encoding, Outgoing, WebSocketType};
use super::protocol::Protocol;
use super::rate_limits::RateLimits;
use super::resumption::ResumePolicy;
use super::websocket::compression::{Compression, CompressionPolicy};
use super::websocket::encode;

/// What becomes of a message for a client that does not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlowConsumer {
    /// The client is closed.
    #[default]
    Close,
    /// The message is dropped.
    DropNewest,
}

/// A listener's settings, as its clients need them.
#[derive(Debug, Clone)]
pub struct ListenerPolicy {
    /// Which of the gateway's listeners it is, from 0.
    pub index: usize,
    /// The port that workers are told, as `gateway_port`.
    pub port: u16,
    /// What is spoken.
    pub framing: Framing,
    /// When a silent client is pinged, and when it is closed; `None` for never.
    pub heartbeat: Option<Heartbeat>,
    /// What a silent client is sent.
    pub ping: Bytes,
    /// The longest message of a client, in bytes.
    pub max_message_bytes: usize,
    /// How much may wait for a client that does not read, in bytes.
    pub outbox_bytes: usize,
    /// What happens beyond that.
    pub slow_consumer: SlowConsumer,
    /// How fast a client may send; `None` for no limit.
    pub rate_limits: Option<RateLimits>,
    /// How messages to clients are compressed that have agreed to it; `None` where none is asked.
    pub compression: Option<CompressionPolicy>,
    /// Clients may come back after a cut; `None` where they may not.
    pub resume: Option<ResumePolicy>,
}

/// What is spoken on a listener.
#[derive(Debug, Clone)]
pub enum Framing {
    /// RFC 6455.
    WebSocket(WebSocketType),
    /// Another protocol.
    Other(OtherProtocol),
}

/// A protocol that is not WebSocket, and which of a gateway's it is.
#[derive(Clone)]
pub struct OtherProtocol {
    /// The protocol.
    pub protocol: Arc<dyn Protocol>,
    /// Which of the gateway's protocols it is,
    pub index: usize,
    /// of how many.
    pub of: usize,
}

impl std::fmt::Debug for OtherProtocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OtherProtocol").field(&self.index).finish()
    }
}

impl ListenerPolicy {
    /// The bytes that a client gets for a message, which has agreed to this.
    pub(crate) fn encode<'m>(&self, message: &'m Outgoing, compression: Compression) -> Encoding<&'m Bytes> {
        match &self.framing {
            Framing::WebSocket(kind) => message.websocket(*kind, compression.deflation(self.compression)),
            Framing::Other(other) => message.framed(&*other.protocol, other.index, other.of),
        }
    }

    /// The bytes that a client gets for it that counts its messages (`resumption`); `None` where it cannot get this one.
    pub(crate) fn encode_counted<'m>(
        &self,
        message: &'m Outgoing,
        compression: Compression,
    ) -> Option<Counted<&'m Bytes>> {
        match &self.framing {
            Framing::WebSocket(kind) => {
                message.websocket_counted(*kind, compression.deflation(self.compression))
            }
            Framing::Other(_) => None,
        }
    }

    /// The same where this client is the only one that gets it.
    pub(crate) fn encode_only(&self, message: Payload, compression: Compression) -> Encoding<Bytes> {
        match &self.framing {
            Framing::WebSocket(kind) => {
                Outgoing::only_websocket(message, *kind, compression.deflation(self.compression))
            }
            Framing::Other(other) => Outgoing::only_framed(message, &*other.protocol),
        }
    }

    /// The close frame that tells a client why it is closed; `None` where the protocol has no
    /// such frame.
    pub(crate) fn close_frame(&self, code: u16, reason: &str) -> Option<Bytes> {
        match self.framing {
            Framing::WebSocket(_) => Some(encode::close(Some(code), reason)),
            Framing::Other(_) => None,
        }
    }

    /// The close frame of a gateway that stops.
    pub(crate) fn stop_frame(&self) -> Option<Bytes> {
        self.close_frame(GOING_AWAY, "the gateway stops")
    }

    /// Whether clients speak WebSocket.
    pub(crate) fn is_websocket(&self) -> bool {
        matches!(self.framing, Framing::WebSocket(_))
    }
}
