//! The times of simulated daemons: those of the real ones, shortened to what fits into a run.

/// `link_ping_interval_ms`.
pub(super) const PING_INTERVAL_MS: u64 = 80;

/// `link_timeout_ms`. Each delivery of the network takes 30 ms at most.
pub(super) const LINK_TIMEOUT_MS: u64 = 320;

/// `gateway_lost_after_ms`: longer than the longest tick of a process that was frozen, a second, counts.
pub(super) const GATEWAY_LOST_AFTER_MS: u64 = 1_200;

/// `isolated_after_ms`.
pub(super) const ISOLATED_AFTER_MS: u64 = 1_500;

/// After how long without a register workers may have taken a gateway for lost, as it sees it: less than they take.
pub(super) const UNHEARD_AFTER_MS: u64 = 800;

/// How long a gateway takes at most to notice, and to tell its shards, which links have ended.
pub(super) const LINKS_END_MS: u64 = 2 * LINK_TIMEOUT_MS + 400;

/// How often a worker looks whether a gateway is lost, and a gateway whether it is isolated or unheard.
pub(super) const TICK_MS: u64 = 100;

/// How long a gateway waits for the call link of an event link.
pub(super) const HELLO_TIMEOUT_MS: u64 = 400;

/// How long a gateway may take to answer a question, in ms.
pub(super) const QUESTION_TIMEOUT_MS: u64 = 1_000;

/// How long a worker may begin events of an epoch that its gateway has ended: half of the timeout, and what the
/// network takes.
pub(super) const LATE_MS: u64 = LINK_TIMEOUT_MS / 2 + 60;

/// `shutdown_timeout_ms` of a worker.
pub(super) const DRAIN_TIMEOUT_MS: u64 = 2_000;
