//! Why a WebSocket connection has to be failed.

use gatewayworker_protocol::close_code::{INVALID_PAYLOAD, MESSAGE_TOO_BIG, PROTOCOL_ERROR};

/// Why a connection has to be failed (RFC 6455 section 7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WebSocketError {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("text that is not UTF-8")]
    NotUtf8,
    #[error("a compressed message that is not DEFLATE")]
    NotDeflate,
    #[error("a message over the limit")]
    TooLarge,
}

impl WebSocketError {
    /// The close code that tells the client: RFC 6455 section 7.4.1.
    pub(crate) fn close_code(self) -> u16 {
        match self {
            Self::Malformed(_) => PROTOCOL_ERROR,
            Self::NotUtf8 | Self::NotDeflate => INVALID_PAYLOAD,
            Self::TooLarge => MESSAGE_TOO_BIG,
        }
    }
}
