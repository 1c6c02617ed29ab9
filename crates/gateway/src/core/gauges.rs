//! What the metrics ask a shard for: numbers that go up and down.
//!
//! Each is kept as it changes, so that the answer costs no look at the clients. `metrics` asks, and adds the shards
//! up. How long the oldest event has waited is not among them: a walk finds it (`inspect`).

use super::Shard;
use super::ports::Ports;

/// The gauges of a shard, or of several together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardGauges {
    /// Bytes that wait for clients whose sockets are full, and what it costs to hold them.
    pub outbox_bytes: usize,
    /// Uids with a client on the shard.
    pub uids: usize,
    /// Groups with a member on the shard.
    pub groups: usize,
    /// Clients that wait to be admitted.
    pub admissions: usize,
    /// Clients whose connection is cut and that may come back.
    pub detached: usize,
    /// Bytes that are kept for clients that may come back.
    pub kept_bytes: usize,
    /// For how long clients were not read from, all together, in ms.
    pub paused_ms: u64,
}

impl std::ops::AddAssign for ShardGauges {
    fn add_assign(&mut self, other: Self) {
        let Self { outbox_bytes, uids, groups, admissions, detached, kept_bytes, paused_ms } = other;
        self.outbox_bytes += outbox_bytes;
        self.uids += uids;
        self.groups += groups;
        self.admissions += admissions;
        self.detached += detached;
        self.kept_bytes += kept_bytes;
        self.paused_ms += paused_ms;
    }
}

/// For how long clients were not read from.
#[derive(Debug, Default)]
pub(super) struct PausedTime {
    /// How many are not read from now,
    clients: u64,
    /// and were not at this time, up to which the time is counted.
    counted_to_ms: u64,
    total_ms: u64,
}

impl PausedTime {
    /// Notes that a client is read from no more, or again.
    pub(super) fn note(&mut self, is_paused: bool, now_ms: u64) {
        self.total_ms = self.total_ms(now_ms);
        self.counted_to_ms = self.counted_to_ms.max(now_ms);
        self.clients = if is_paused { self.clients + 1 } else { self.clients.saturating_sub(1) };
    }

    fn total_ms(&self, now_ms: u64) -> u64 {
        self.total_ms + self.clients * now_ms.saturating_sub(self.counted_to_ms)
    }
}

impl<P: Ports> Shard<P> {
    /// Reads the gauges, at the time of [`set_now`](Self::set_now).
    pub fn gauges(&self) -> ShardGauges {
        ShardGauges {
            outbox_bytes: self.blocked_bytes,
            uids: self.table.uids_len(),
            groups: self.table.groups_len(),
            admissions: self.table.pending_len(),
            detached: self.resumption.detached_len(),
            kept_bytes: self.resumption.kept_bytes(),
            paused_ms: self.paused.total_ms(self.now_ms),
        }
    }

    /// Notes the time of an input, or of a question: for what has no time of its own.
    #[inline]
    pub fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_all_paused_clients_is_added_up() {
        let mut paused = PausedTime::default();
        paused.note(true, 1_000);
        paused.note(true, 3_000);
        assert_eq!(paused.total_ms(4_000), 2_000 + 2 * 1_000);
        paused.note(false, 4_000);
        paused.note(false, 5_000);
        assert_eq!((paused.total_ms(9_000), paused.total_ms(0)), (5_000, 5_000));
    }
}
