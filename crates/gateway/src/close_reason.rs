//! Why a client is gone.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every way in which a client's connection ends. Logged, counted, and told to
/// the worker with ON_CLOSE where the worker asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It closed, or its connection broke.
    ClientLeft,
    /// It said nothing for too long.
    TimedOut,
    /// The application closed it, perhaps with a last message.
    Kicked,
    /// The application destroyed it.
    Destroyed,
    /// It did not read what it was sent.
    SlowConsumer,
    /// The gateway stops.
    Shutdown,
    /// It broke RFC 6455.
    ProtocolError,
    /// It sent a message over the limit.
    TooLarge,
}

impl CloseReason {
    const ALL: [Self; 8] = [
        Self::ClientLeft,
        Self::TimedOut,
        Self::Kicked,
        Self::Destroyed,
        Self::SlowConsumer,
        Self::Shutdown,
        Self::ProtocolError,
        Self::TooLarge,
    ];

    /// The word for it in logs and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientLeft => "client-left",
            Self::TimedOut => "timed-out",
            Self::Kicked => "kicked",
            Self::Destroyed => "destroyed",
            Self::SlowConsumer => "slow-consumer",
            Self::Shutdown => "shutdown",
            Self::ProtocolError => "protocol-error",
            Self::TooLarge => "too-large",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many clients ended in which way.
#[derive(Debug, Default)]
pub(crate) struct CloseCounts([AtomicU64; CloseReason::ALL.len()]);

impl CloseCounts {
    pub(crate) fn count(&self, reason: CloseReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Display for CloseCounts {
    /// `client-left=3 kicked=1`, leaving out what did not happen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for reason in CloseReason::ALL {
            let count = self.0[reason as usize].load(Ordering::Relaxed);
            if count > 0 {
                write!(f, "{between}{reason}={count}")?;
                between = " ";
            }
        }
        if between.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}
