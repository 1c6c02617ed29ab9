//! Why connections were turned away at a door, and how often.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection was turned away before it was a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// `max_connections` are in.
    Full,
    /// The door's own `max_connections` came in by it.
    DoorFull,
    /// `max_connections_per_address` are in from its address.
    AddressFull,
    /// What it said, or did not, where a proxy has to say who it brings.
    ProxyHeader,
    /// No TLS came about with it.
    Tls,
    /// It took too long over its handshake.
    TooSlow,
    /// Its request is too long.
    TooLong,
    /// What it sent is no WebSocket handshake.
    NoHandshake,
    /// Its page is not one of `allowed_origins`.
    Origin,
    /// It asked for another path.
    Path,
    /// No worker was there for it.
    NoWorker,
    /// It left before its handshake was done.
    Left,
}

impl Refused {
    const NAMES: [(Self, &'static str); 12] = [
        (Self::Full, "full"),
        (Self::DoorFull, "door-full"),
        (Self::AddressFull, "address-full"),
        (Self::ProxyHeader, "proxy-header"),
        (Self::Tls, "tls"),
        (Self::TooSlow, "too-slow"),
        (Self::TooLong, "too-long"),
        (Self::NoHandshake, "no-handshake"),
        (Self::Origin, "origin"),
        (Self::Path, "path"),
        (Self::NoWorker, "no-worker"),
        (Self::Left, "left"),
    ];

    /// What HTTP calls it.
    pub(crate) fn status(self) -> &'static str {
        match self {
            Self::Full | Self::DoorFull | Self::NoWorker => "503 Service Unavailable",
            Self::AddressFull => "429 Too Many Requests",
            Self::TooSlow => "408 Request Timeout",
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Origin => "403 Forbidden",
            Self::Path => "404 Not Found",
            Self::ProxyHeader | Self::Tls | Self::NoHandshake | Self::Left => "400 Bad Request",
        }
    }

    /// What is said to who is turned away.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Full | Self::DoorFull => "there is no place for another client",
            Self::AddressFull => "there are too many connections from your address",
            Self::ProxyHeader => "a proxy has to say whom it brings",
            Self::Tls => "no TLS came about",
            Self::TooSlow => "the handshake took too long",
            Self::TooLong => "the request's headers are too long",
            Self::NoHandshake => "this is no WebSocket handshake",
            Self::Origin => "pages of this origin may not connect",
            Self::Path => "there is nothing here",
            Self::NoWorker => "no worker is there",
            Self::Left => "it left",
        }
    }

    /// The word for it in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(reason, _)| *reason == self).map_or("unknown", |(_, name)| name)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many connections were turned away for which reason.
#[derive(Debug, Default)]
pub(crate) struct RefusalCounts([AtomicU64; Refused::NAMES.len()]);

impl RefusalCounts {
    /// Counts one, and says how many that makes.
    pub(crate) fn count(&self, reason: Refused) -> u64 {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Every reason with its count.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Refused, u64)> {
        Refused::NAMES.iter().map(|(reason, _)| (*reason, self.0[*reason as usize].load(Ordering::Relaxed)))
    }
}

impl fmt::Display for RefusalCounts {
    /// `origin=3 path=1`, leaving out what did not happen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (reason, count) in self.all().filter(|(_, count)| *count > 0) {
            write!(f, "{between}{reason}={count}")?;
            between = " ";
        }
        if between.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_count_and_a_word_of_its_own() {
        let counts = RefusalCounts::default();
        assert_eq!(counts.to_string(), "none");
        for (n, (reason, _)) in (1..).zip(Refused::NAMES) {
            assert_eq!((1..=n).map(|_| counts.count(reason)).last(), Some(n));
        }
        for (n, (reason, count)) in (1..).zip(counts.all()) {
            assert_eq!(count, n, "{reason}");
        }
        assert!(counts.to_string().ends_with("path=10 no-worker=11 left=12"));
    }
}
