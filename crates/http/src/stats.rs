//! Counters of requests and connections, which the worker logs when it stops.

use std::fmt;

use gatewayworker_daemon::Counter;

/// Counters; they only grow.
#[derive(Debug, Default)]
pub(crate) struct HttpStats {
    /// Requests whose head was read.
    pub(crate) requests: Counter,
    /// Calls that were made; each call of a batch counts.
    pub(crate) calls: Counter,
    /// Calls that failed.
    pub(crate) call_errors: Counter,
    /// Requests without a token, or with a wrong one.
    pub(crate) unauthorized: Counter,
    /// Requests from an address that had sent too many wrong tokens.
    pub(crate) locked_out: Counter,
    /// Requests of pages from an origin that is not allowed.
    pub(crate) foreign_origins: Counter,
    /// Bodies and batches over their limits.
    pub(crate) too_large: Counter,
    /// Requests whose body took too long to come.
    pub(crate) too_slow: Counter,
    /// Requests that ran out of time.
    pub(crate) timed_out: Counter,
    /// Requests over the concurrency.
    pub(crate) busy: Counter,
    /// Connections over the limit.
    pub(crate) rejected: Counter,
}

impl fmt::Display for HttpStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            calls,
            call_errors,
            unauthorized,
            locked_out,
            foreign_origins,
            too_large,
            too_slow,
            timed_out,
            busy,
            rejected,
        } = self;
        write!(
            f,
            "requests={requests} calls={calls} call_errors={call_errors} unauthorized={unauthorized} \
             locked_out={locked_out} foreign_origins={foreign_origins} too_large={too_large} \
             too_slow={too_slow} timed_out={timed_out} busy={busy} rejected={rejected}"
        )
    }
}
