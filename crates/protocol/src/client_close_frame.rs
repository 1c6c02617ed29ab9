//! The close frame that a WebSocket client sent, as ON_CLOSE carries it between our own daemons.
//!
//! The body of ON_CLOSE is the name of a [`CloseReason`]. To a worker that lists `close-detail`
//! the gateway may say more behind it: a space and the client's close code, and where the client
//! gave a reason, a space and the reason: `client-left 4001 going home`. The original leaves the
//! body empty.

use bytes::Bytes;

use crate::CloseReason;

/// The close frame that a WebSocket client sent (RFC 6455, section 5.5.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ClientCloseFrame {
    /// The close code: 1000 to 4999. A browser that leaves a page sends 1001.
    pub code: u16,
    /// The reason, at most 123 bytes; empty where the client gave none.
    pub reason: String,
}

impl ClientCloseFrame {
    /// The close frame with this code and reason.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// Reads the close frame in the body of ON_CLOSE; `None` where there is none, or none that can
    /// be read.
    pub fn from_wire(body: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(body).ok()?.splitn(3, ' ');
        let (_, code, reason) = (parts.next()?, parts.next()?, parts.next());
        Some(Self::new(code.parse().ok()?, reason.unwrap_or_default()))
    }

    /// Returns the body of an ON_CLOSE that says why a client is gone and which close frame it
    /// sent.
    pub fn to_wire(&self, why: CloseReason) -> Bytes {
        let Self { code, reason } = self;
        let between = if reason.is_empty() { "" } else { " " };
        format!("{why} {code}{between}{reason}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_frame_is_read_as_it_was_written() {
        for (code, reason, wire) in [
            (1000, "", "client-left 1000"),
            (4001, "bye", "client-left 4001 bye"),
            (1001, " 5 in the morning ", "client-left 1001  5 in the morning "),
        ] {
            let frame = ClientCloseFrame::new(code, reason);
            assert_eq!(frame.to_wire(CloseReason::ClientLeft), wire);
            assert_eq!(ClientCloseFrame::from_wire(wire.as_bytes()), Some(frame));
            assert_eq!(CloseReason::from_wire(wire.as_bytes()), CloseReason::ClientLeft);
        }
    }

    #[test]
    fn a_body_without_a_close_code_has_no_close_frame() {
        for body in
            [&b""[..], b"client-left", b"client-left ", b"client-left bye", b"client-left 70000", b"\xff 1 "]
        {
            assert_eq!(ClientCloseFrame::from_wire(body), None, "{body:?}");
        }
    }
}
