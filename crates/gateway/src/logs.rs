//! Log lines that many events may cause: each kind is written once a second at most.

use gatewayworker_net::LogLimiter;

/// A limiter for each kind of line, shared by all shards.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    /// A link that was closed before it was a worker's: whoever reaches the inner port can
    /// cause one.
    pub(crate) link_closed: LogLimiter,
    /// A link over `max_links`.
    pub(crate) link_refused: LogLimiter,
    /// A connection that no shard had room for in its mailbox.
    pub(crate) too_busy: LogLimiter,
    /// A frame that says nothing known.
    pub(crate) frame_ignored: LogLimiter,
    /// A session that was not stored.
    pub(crate) session_not_stored: LogLimiter,
    /// A client that was closed for its silence.
    pub(crate) client_silent: LogLimiter,
    /// A message that is too long for its worker.
    pub(crate) message_too_large: LogLimiter,
}
