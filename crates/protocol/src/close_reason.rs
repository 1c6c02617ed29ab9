//! Why a client is gone, as a gateway of ours tells a worker of ours.
//!
//! The word stands in the body of ON_CLOSE, which the original leaves empty and
//! does not look at.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// Why a client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// It closed, or its connection broke.
    ClientLeft,
    /// It said nothing for too long.
    TimedOut,
    /// An application closed it, perhaps with a last message.
    Kicked,
    /// An application did not let it in.
    Refused,
    /// Nobody said in time whether it is let in, or who was to say so is gone.
    NotAdmitted,
    /// An application destroyed it.
    Destroyed,
    /// It did not read what it was sent.
    SlowConsumer,
    /// Its gateway stops.
    Shutdown,
    /// It broke its protocol.
    ProtocolError,
    /// It sent a message over the limit.
    TooLarge,
    /// The gateway does not say: it is one of the original's, or knows more
    /// reasons than this.
    Unknown,
}

impl CloseReason {
    /// How many reasons there are: `reason as usize` is below that.
    pub const COUNT: usize = Self::NAMES.len();

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().map(|(reason, _)| *reason)
    }

    const NAMES: [(Self, &'static str); 11] = [
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
        (Self::Unknown, "unknown"),
    ];

    /// The word for it in logs and on the wire.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(reason, _)| *reason == self).map_or("unknown", |(_, name)| name)
    }

    /// Reads the body of ON_CLOSE.
    pub fn from_wire(reason: &[u8]) -> Self {
        std::str::from_utf8(reason)
            .unwrap_or_default()
            .parse()
            .unwrap_or_else(|never: Infallible| match never {})
    }
}

/// What is no reason known here is [`CloseReason::Unknown`].
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
    fn every_reason_is_known_by_its_word_and_none_is_unknown() {
        for (reason, name) in CloseReason::NAMES {
            assert_eq!(CloseReason::from_wire(name.as_bytes()), reason);
            assert_eq!(reason.to_string(), name);
        }
        for other in [&b""[..], b"a reason of tomorrow", b"\xff"] {
            assert_eq!(CloseReason::from_wire(other), CloseReason::Unknown);
        }
    }
}
