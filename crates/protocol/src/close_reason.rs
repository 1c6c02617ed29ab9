//! Why a client is gone: the body of ON_CLOSE between our own daemons.
//!
//! The original leaves the body empty and does not read it. The gateway decides the reason; the
//! worker gives it to the application's `on_close`. The codes that the client itself gets are in
//! [`close_code`](crate::close_code).

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// Why a client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client closed, or its connection broke.
    ClientLeft,
    /// The client sent nothing for too long.
    TimedOut,
    /// An application closed the client, perhaps with a last message.
    Kicked,
    /// An application refused the client after its handshake.
    Refused,
    /// No worker admitted or refused the client in time, or the worker that was asked is gone.
    NotAdmitted,
    /// An application destroyed the client.
    Destroyed,
    /// The client did not read what it was sent.
    SlowConsumer,
    /// The client's gateway stopped.
    Shutdown,
    /// The client broke its protocol.
    ProtocolError,
    /// The client sent a message over the limit.
    TooLarge,
    /// The client sent faster than it may.
    RateLimited,
    /// The client's gateway is lost: its host or its process is gone, or it was cut off for too long.
    GatewayLost,
    /// An event of the client ended one worker after another.
    Undeliverable,
    /// The client's gateway had neither a register nor a worker for `isolated_after_ms`.
    Isolated,
    /// The token that the client was admitted with has expired, and it has sent no new one.
    TokenExpired,
    /// The gateway gave no reason that is known here: it is one of the original's, or of a later
    /// version.
    Unknown,
}

impl CloseReason {
    /// The number of reasons: `reason as usize` is below it.
    pub const COUNT: usize = Self::NAMES.len();

    /// All reasons.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().map(|(reason, _)| *reason)
    }

    const NAMES: [(Self, &'static str); 16] = [
        (Self::ClientLeft, "client-left"),
        (Self::TimedOut, "timed-out"),
        (Self::Kicked, "kicked"),
        (Self::Refused, "refused"),
        (Self::NotAdmitted, "not-admitted"),
        (Self::Destroyed, "destroyed"),
        (Self::SlowConsumer, "slow-consumer"),
        (Self::Shutdown, "shutdown"),
        (Self::ProtocolError, "protocol-error"),
        (Self::TooLarge, "too-large"),
        (Self::RateLimited, "rate-limited"),
        (Self::GatewayLost, "gateway-lost"),
        (Self::Undeliverable, "undeliverable"),
        (Self::Isolated, "isolated"),
        (Self::TokenExpired, "token-expired"),
        (Self::Unknown, "unknown"),
    ];

    /// The name of the reason in logs and on the wire.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(reason, _)| *reason == self).map_or("unknown", |(_, name)| name)
    }

    /// Reads the reason in the body of ON_CLOSE: its first word. A
    /// [`ClientCloseFrame`](crate::ClientCloseFrame) may follow.
    pub fn from_wire(body: &[u8]) -> Self {
        let reason = body.split(|byte| *byte == b' ').next().unwrap_or_default();
        std::str::from_utf8(reason)
            .unwrap_or_default()
            .parse()
            .unwrap_or_else(|never: Infallible| match never {})
    }
}

/// A name that is not known here is [`CloseReason::Unknown`].
impl FromStr for CloseReason {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        let known = Self::NAMES.iter().find(|(_, known)| *known == name);
        Ok(known.map_or(Self::Unknown, |(reason, _)| *reason))
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_read_by_its_name_and_any_other_name_is_unknown() {
        for (reason, name) in CloseReason::NAMES {
            assert_eq!(CloseReason::from_wire(name.as_bytes()), reason);
            assert_eq!(reason.to_string(), name);
        }
        for other in [&b""[..], b"a reason of tomorrow", b"\xff"] {
            assert_eq!(CloseReason::from_wire(other), CloseReason::Unknown);
        }
    }
}
