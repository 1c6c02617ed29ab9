//! Counters of events and handlers. `handler` counts; the log and `status` show them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use gatewayworker_daemon::Counter;

/// Counters of events and handlers since the worker started.
#[derive(Debug, Default)]
pub(crate) struct HandlerStats {
    /// Events that were handled.
    pub(crate) events: Counter,
    /// Those of them that may have been handled before.
    pub(crate) redelivered: Counter,
    /// Events that were given back to their gateways, as the worker drains.
    pub(crate) returned: AtomicU64,
    /// Handlers that returned `Err`.
    pub(crate) errors: Counter,
    /// Handlers that panicked.
    pub(crate) panics: Counter,
    /// Handlers that took longer than `slow_handler_warning_ms`.
    pub(crate) slow: Counter,
    /// Handlers that took longer than `handler_timeout_ms`.
    pub(crate) cancelled: Counter,
    /// Clients that were refused.
    pub(crate) refused: Counter,
    /// Sessions that the gateway was asked for, as those in the events may be stale.
    pub(crate) sessions_asked: Counter,
    /// Changed sessions that could not be written.
    pub(crate) sessions_lost: Counter,
}

impl fmt::Display for HandlerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events,
            redelivered,
            returned,
            errors,
            panics,
            slow,
            cancelled,
            refused,
            sessions_asked,
            sessions_lost,
        } = self;
        let returned = returned.load(Ordering::Relaxed);
        write!(
            f,
            "events={events} redelivered={redelivered} returned={returned} errors={errors} panics={panics} slow={slow} cancelled={cancelled} \
             refused={refused} sessions_asked={sessions_asked} sessions_lost={sessions_lost}"
        )
    }
}
