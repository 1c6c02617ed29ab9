//! The reasons for which connections are rejected, with their counts and log lines.
//!
//! `websocket::rejection` and `server::acceptors` give the reason; `client` has it counted here;
//! `status` shows the counts.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use gatewayworker_net::LogLimiter;
use tracing::info;

use crate::listener::LimitReached;

/// The reason for which a connection does not become a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RejectReason {
    /// The gateway's `max_connections` is reached.
    Full,
    /// The listener's own `max_connections` is reached.
    ListenerFull,
    /// `max_connections_per_address` is reached for its address.
    AddressFull,
    /// Its address has connected more often than `max_connects_per_second_per_address`.
    AddressRate,
    /// It has no valid PROXY header, or is no trusted proxy, on a listener with `proxy_protocol`.
    ProxyHeader,
    /// The TLS handshake failed.
    Tls,
    /// Its handshake took longer than `handshake_timeout_ms`.
    TooSlow,
    /// Its request is longer than `max_header_bytes`.
    TooLong,
    /// Its request is no WebSocket handshake.
    NoHandshake,
    /// Its page's origin is not one of `allowed_origins`.
    Origin,
    /// Its path is not one of `path`.
    Path,
    /// It has no token that is accepted. `token_counts` has the reasons.
    Token,
    /// No worker took it within `worker_wait_ms`.
    NoWorker,
    /// It left before its handshake was done.
    Left,
}

impl From<LimitReached> for RejectReason {
    fn from(limit: LimitReached) -> Self {
        match limit {
            LimitReached::Gateway => Self::Full,
            LimitReached::Listener => Self::ListenerFull,
        }
    }
}

impl RejectReason {
    /// Each reason with its name and the name of its count in `status`. In the order of the enum.
    const NAMES: [(Self, &'static str, &'static str); 14] = [
        (Self::Full, "full", "rejected_full"),
        (Self::ListenerFull, "listener-full", "rejected_listener_full"),
        (Self::AddressFull, "address-full", "rejected_address_full"),
        (Self::AddressRate, "address-rate", "rejected_address_rate"),
        (Self::ProxyHeader, "proxy-header", "rejected_proxy_header"),
        (Self::Tls, "tls", "rejected_tls"),
        (Self::TooSlow, "too-slow", "rejected_too_slow"),
        (Self::TooLong, "too-long", "rejected_too_long"),
        (Self::NoHandshake, "no-handshake", "rejected_no_handshake"),
        (Self::Origin, "origin", "rejected_origin"),
        (Self::Path, "path", "rejected_path"),
        (Self::Token, "token", "rejected_token"),
        (Self::NoWorker, "no-worker", "rejected_no_worker"),
        (Self::Left, "left", "rejected_left"),
    ];

    /// Returns the status of the HTTP answer.
    pub(crate) fn status(self) -> &'static str {
        match self {
            Self::Full | Self::ListenerFull | Self::NoWorker => "503 Service Unavailable",
            Self::AddressFull | Self::AddressRate => "429 Too Many Requests",
            Self::TooSlow => "408 Request Timeout",
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Origin => "403 Forbidden",
            Self::Path => "404 Not Found",
            Self::Token => "401 Unauthorized",
            Self::ProxyHeader | Self::Tls | Self::NoHandshake | Self::Left => "400 Bad Request",
        }
    }

    /// Returns the sentence of the HTTP answer.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Full | Self::ListenerFull => "the gateway has as many clients as it may have",
            Self::AddressFull => "there are too many connections from your address",
            Self::AddressRate => "your address connects too often",
            Self::ProxyHeader => "the proxy did not send the address of its client (PROXY protocol)",
            Self::Tls => "the TLS handshake failed",
            Self::TooSlow => "the handshake took too long",
            Self::TooLong => "the request's headers are too long",
            Self::NoHandshake => "this is no WebSocket handshake",
            Self::Origin => "pages of this origin may not connect",
            Self::Path => "there is nothing here",
            Self::Token => "the token is not accepted",
            Self::NoWorker => "no worker is linked; connect again later",
            Self::Left => "the client has left",
        }
    }

    /// Returns the log line for a reason that a setting may cause; `None` for a reason that anybody
    /// on the internet causes at any time.
    fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::AddressFull => {
                "a client was rejected: max_connections_per_address is reached for its address"
            }
            Self::AddressRate => {
                "a client was rejected: its address connects more often than max_connects_per_second_per_address"
            }
            Self::ProxyHeader => {
                "a connection was closed: with proxy_protocol it has to come from one of trusted_proxies, with a PROXY header"
            }
            Self::Origin => {
                "a page was rejected: its origin is not in allowed_origins; add it there if the page is yours"
            }
            Self::Path => {
                "a client was rejected: its path is not in path; add it there if clients are to use it"
            }
            Self::Token => {
                "a client was rejected: its token is not accepted; `gatewayworker token --check` says more about one"
            }
            Self::NoWorker => "a client was rejected: no worker took it within worker_wait_ms",
            _ => return None,
        })
    }

    /// Returns the name in logs and stats.
    pub(crate) fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(reason, ..)| *reason == self).map_or("unknown", |(_, name, _)| name)
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many connections were rejected, by reason.
#[derive(Debug, Default)]
pub(crate) struct RejectionCounts {
    counts: [AtomicU64; RejectReason::NAMES.len()],
    logs: [LogLimiter; RejectReason::NAMES.len()],
}

impl RejectionCounts {
    /// Counts a rejection, and returns the new count.
    fn count(&self, reason: RejectReason) -> u64 {
        self.counts[reason as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a rejection, and logs it with `write`, once a second for each reason. `write` gets the
    /// number of rejections that its line stands for.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn count_and_log(&self, reason: RejectReason, write: impl FnOnce(u64) + Send + 'static) {
        self.count(reason);
        self.logs[reason as usize].log(write);
    }

    /// Counts a rejection. Where a setting may be the cause it is logged, too, at info and once a
    /// second for each reason. `value` is the rejected part of the request.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn note(&self, reason: RejectReason, client: SocketAddr, value: Option<&str>) {
        let Some(advice) = reason.advice() else {
            self.count(reason);
            return;
        };
        let value = value.map(str::to_owned);
        self.count_and_log(reason, move |times| match value {
            Some(value) => info!(%reason, value, %client, times, "{advice}"),
            None => info!(%reason, %client, times, "{advice}"),
        });
    }

    fn of(&self, reason: RejectReason) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }

    /// Returns the number of each reason, by its name.
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.all().map(|(reason, count)| (reason.as_str(), count))
    }

    /// Returns every reason with its count.
    fn all(&self) -> impl Iterator<Item = (RejectReason, u64)> {
        RejectReason::NAMES.iter().map(|(reason, ..)| (*reason, self.of(*reason)))
    }

    /// Returns the total and the counts that are not zero, for `status`.
    pub(crate) fn stats(&self) -> Vec<(&'static str, u64)> {
        let by_reason = RejectReason::NAMES.iter().map(|(reason, _, stat)| (*stat, self.of(*reason)));
        let by_reason: Vec<_> = by_reason.filter(|(_, count)| *count > 0).collect();
        let total = by_reason.iter().map(|(_, count)| count).sum();
        [vec![("rejected", total)], by_reason].concat()
    }
}

impl fmt::Display for RejectionCounts {
    /// Writes `origin=3 path=1`, without the counts that are zero.
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
    fn each_reason_has_a_count_and_a_name_of_its_own() {
        let counts = RejectionCounts::default();
        assert_eq!(counts.to_string(), "none");
        assert_eq!(counts.stats(), [("rejected", 0)]);
        for (n, (reason, ..)) in (1..).zip(RejectReason::NAMES) {
            assert_eq!((1..=n).map(|_| counts.count(reason)).last(), Some(n));
        }
        for (n, (reason, count)) in (1..).zip(counts.all()) {
            assert_eq!(count, n, "{reason}");
        }
        assert!(counts.to_string().ends_with("path=11 token=12 no-worker=13 left=14"));
        let stats = counts.stats();
        assert_eq!(stats[..3], [("rejected", 105), ("rejected_full", 1), ("rejected_listener_full", 2)]);
        for ((_, name, stat), (shown, _)) in RejectReason::NAMES.iter().zip(&stats[1..]) {
            assert_eq!((*stat, format!("rejected_{}", name.replace('-', "_"))), (*shown, stat.to_string()));
        }
    }
}
