//! The limits of log lines that many events may cause: each kind is written at most once a second.
//!
//! Links, acceptors and `shard::ending` log through them. Rejections have their own limits.

use gatewayworker_net::LogLimiter;

/// A limiter for each kind of log line, shared by all shards.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    /// A link that was closed before it was a worker's. Anybody who reaches the inner port can cause
    /// it.
    pub(crate) link_closed: LogLimiter,
    /// A link over `max_links`.
    pub(crate) link_rejected: LogLimiter,
    /// A connection that no shard had room for in its channel.
    pub(crate) too_busy: LogLimiter,
    /// A frame with an unknown command.
    pub(crate) frame_ignored: LogLimiter,
    /// A session that was not stored.
    pub(crate) session_not_stored: LogLimiter,
    /// A client that was closed because it did not answer pings.
    pub(crate) client_silent: LogLimiter,
    /// A DONE or RETURN of more events than the worker had.
    pub(crate) events_miscounted: LogLimiter,
    /// An event that was dropped after `max_deliveries`.
    pub(crate) undeliverable: LogLimiter,
    /// A message that is too long for a frame to its worker.
    pub(crate) message_too_large: LogLimiter,
    /// A close that is too long for a frame to its worker.
    pub(crate) close_too_large: LogLimiter,
    /// A client that is read from more slowly, as it sends too fast.
    pub(crate) client_throttled: LogLimiter,
    /// A client that was closed because it sent too fast.
    pub(crate) client_too_fast: LogLimiter,
    /// A command that would have exceeded a limit.
    pub(crate) command_refused: LogLimiter,
}
