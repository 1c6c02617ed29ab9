//! Why connections were turned away at a listener, and how often.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use gatewayworker_net::LogLimiter;
use tracing::info;

/// Why a connection was turned away before it was a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RejectReason {
    /// `max_connections` are in.
    Full,
    /// The listener's own `max_connections` came in by it.
    ListenerFull,
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

impl RejectReason {
    /// Each reason, the word for it, and the name of its count among the gateway's figures.
    const NAMES: [(Self, &'static str, &'static str); 12] = [
        (Self::Full, "full", "rejected_full"),
        (Self::ListenerFull, "listener-full", "rejected_listener_full"),
        (Self::AddressFull, "address-full", "rejected_address_full"),
        (Self::ProxyHeader, "proxy-header", "rejected_proxy_header"),
        (Self::Tls, "tls", "rejected_tls"),
        (Self::TooSlow, "too-slow", "rejected_too_slow"),
        (Self::TooLong, "too-long", "rejected_too_long"),
        (Self::NoHandshake, "no-handshake", "rejected_no_handshake"),
        (Self::Origin, "origin", "rejected_origin"),
        (Self::Path, "path", "rejected_path"),
        (Self::NoWorker, "no-worker", "rejected_no_worker"),
        (Self::Left, "left", "rejected_left"),
    ];

    /// What HTTP calls it.
    pub(crate) fn status(self) -> &'static str {
        match self {
            Self::Full | Self::ListenerFull | Self::NoWorker => "503 Service Unavailable",
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
            Self::Full | Self::ListenerFull => "there is no place for another client",
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

    /// What the log says of it, where somebody may have to change a setting. What anybody on
    /// the internet causes at any time is not among them.
    fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::AddressFull => {
                "a client was refused: max_connections_per_address is reached for its address"
            }
            Self::ProxyHeader => {
                "a connection was closed: with proxy_protocol it has to come from one of trusted_proxies, with a PROXY header"
            }
            Self::Origin => {
                "a page was refused: its origin is not in allowed_origins; add it there if the page is yours"
            }
            Self::Path => {
                "a client was refused: its path is not in path; add it there if clients are to use it"
            }
            Self::NoWorker => "a client was refused: no worker took it within worker_wait_ms",
            _ => return None,
        })
    }

    /// The word for it in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(reason, ..)| *reason == self).map_or("unknown", |(_, name, _)| name)
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many connections were turned away for which reason.
#[derive(Debug, Default)]
pub(crate) struct RejectionCounts {
    counts: [AtomicU64; RejectReason::NAMES.len()],
    logs: [LogLimiter; RejectReason::NAMES.len()],
}

impl RejectionCounts {
    /// Counts one, and says how many that makes.
    fn count(&self, reason: RejectReason) -> u64 {
        self.counts[reason as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts one, and has `write` log it, once a second for each reason, with the number of
    /// refusals that its line stands for.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn count_and_log(&self, reason: RejectReason, write: impl FnOnce(u64) + Send + 'static) {
        self.count(reason);
        self.logs[reason as usize].log(write);
    }

    /// Counts one, and logs it: at info, once a second for each reason, where somebody may
    /// have to change a setting. `said` is what was refused of what the client said.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn note(&self, reason: RejectReason, client: SocketAddr, said: Option<&str>) {
        let Some(advice) = reason.advice() else {
            self.count(reason);
            return;
        };
        let said = said.map(str::to_owned);
        self.count_and_log(reason, move |refused| match said {
            Some(said) => info!(%reason, said, %client, refused, "{advice}"),
            None => info!(%reason, %client, refused, "{advice}"),
        });
    }

    fn of(&self, reason: RejectReason) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }

    /// Every reason with its count.
    fn all(&self) -> impl Iterator<Item = (RejectReason, u64)> {
        RejectReason::NAMES.iter().map(|(reason, ..)| (*reason, self.of(*reason)))
    }

    /// All together, then by the reasons that there were, for the operator.
    pub(crate) fn figures(&self) -> Vec<(&'static str, u64)> {
        let by_reason = RejectReason::NAMES.iter().map(|(reason, _, figure)| (*figure, self.of(*reason)));
        let by_reason: Vec<_> = by_reason.filter(|(_, count)| *count > 0).collect();
        let total = by_reason.iter().map(|(_, count)| count).sum();
        [vec![("rejected", total)], by_reason].concat()
    }
}

impl fmt::Display for RejectionCounts {
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
        let counts = RejectionCounts::default();
        assert_eq!(counts.to_string(), "none");
        assert_eq!(counts.figures(), [("rejected", 0)]);
        for (n, (reason, ..)) in (1..).zip(RejectReason::NAMES) {
            assert_eq!((1..=n).map(|_| counts.count(reason)).last(), Some(n));
        }
        for (n, (reason, count)) in (1..).zip(counts.all()) {
            assert_eq!(count, n, "{reason}");
        }
        assert!(counts.to_string().ends_with("path=10 no-worker=11 left=12"));
        let figures = counts.figures();
        assert_eq!(figures[..3], [("rejected", 78), ("rejected_full", 1), ("rejected_listener_full", 2)]);
        for ((_, name, figure), (shown, _)) in RejectReason::NAMES.iter().zip(&figures[1..]) {
            assert_eq!(
                (*figure, format!("rejected_{}", name.replace('-', "_"))),
                (*shown, figure.to_string())
            );
        }
    }
}
