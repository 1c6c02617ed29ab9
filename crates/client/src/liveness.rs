//! [`Liveness`]: how often a link is asked for a sign of life, and how long it may be silent.

use std::time::Duration;

/// Longer times may be more than a clock can show.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How a handle notices that a gateway is frozen, or that its host is gone: a call link on which
/// nothing was heard for `ping_interval` asks its gateway something, and a link on which nothing is
/// heard for `timeout` is closed, and connected anew.
///
/// A gateway that is slow to read is none of these: it is asked within a long backlog, too, and as long as
/// the socket takes more of what stands in front of the question, it is not silent.
///
/// Gateways of the original answer, too. A link is judged only after an attempt to read from it, so
/// that a process that was itself held up takes no living gateway for dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Liveness {
    /// The time without a word from the gateway after which the link asks; 2.5 s by default.
    pub ping_interval: Duration,
    /// The time without a word after which the link is over; 10 s by default.
    pub timeout: Duration,
}

impl Liveness {
    /// These times: an interval of at least a millisecond and at most a year, and a time-out of at
    /// least two intervals.
    #[must_use]
    pub fn new(ping_interval: Duration, timeout: Duration) -> Self {
        let ping_interval = ping_interval.clamp(Duration::from_millis(1), YEAR);
        Self { ping_interval, timeout: timeout.clamp(2 * ping_interval, 2 * YEAR) }
    }

    /// How long a gateway has for the answer to a ping.
    pub(crate) fn answer_time(self) -> Duration {
        self.timeout.saturating_sub(self.ping_interval)
    }
}

impl Default for Liveness {
    fn default() -> Self {
        Self::new(Duration::from_millis(2500), Duration::from_secs(10))
    }
}
