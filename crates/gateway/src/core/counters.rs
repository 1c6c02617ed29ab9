//! Counters of one shard, for the metrics.
//!
//! One thread writes them, the shard's, with plain loads and stores: no processor waits for another one's cache.
//! Any thread reads them and adds the shards up (`metrics`). They are on cache lines of their own, of which an echo
//! touches one.

use std::sync::atomic::{AtomicU64, Ordering};

use super::websocket::compression::CompressedSizes;

/// A number that only grows, and that one thread alone changes.
#[derive(Debug, Default)]
pub struct ShardCount(AtomicU64);

impl ShardCount {
    /// Adds to the number. Only the shard's thread may call it.
    #[inline]
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// For which clients a command is whose messages are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryKind {
    /// For one client, or a list of clients.
    Client,
    /// For the clients of uids.
    Uid,
    /// For the members of groups.
    Group,
    /// For everybody.
    All,
}

/// The names of the kinds, in the order of [`DeliveryKind`].
const KINDS: [&str; 4] = ["client", "uid", "group", "all"];

/// The counters of a shard.
#[derive(Debug)]
// In this order, so that the first cache line has what an echo counts. Two lines: processors fetch them in pairs.
#[repr(C, align(128))]
pub struct ShardCounters {
    /// Bytes that clients have sent, without those of TLS.
    pub bytes_received: ShardCount,
    /// Bytes of frames that were queued for clients.
    pub bytes_sent: ShardCount,
    deliveries: [ShardCount; KINDS.len()],
    /// Those of the first listener: most gateways have one.
    first: ListenerCounters,
    others: Box<[ListenerCounters]>,
    /// Messages for clients that do not read, which were dropped.
    pub deliveries_dropped: ShardCount,
    /// Compressed messages of clients.
    pub decompressed: CompressedBytes,
    /// Compressed frames that were queued for clients.
    pub compressed: CompressedBytes,
    /// Connections that were cut, and whose clients may come back.
    pub detached: ShardCount,
    /// Clients that have come back.
    pub resumed: ShardCount,
}

/// The bytes of what was compressed.
#[derive(Debug, Default)]
pub struct CompressedBytes {
    /// Not compressed.
    pub plain: ShardCount,
    /// As they are on the wire.
    pub wire: ShardCount,
}

impl CompressedBytes {
    pub(super) fn add(&self, sizes: CompressedSizes) {
        self.plain.add(sizes.plain as u64);
        self.wire.add(sizes.wire as u64);
    }
}

/// The counters of a shard's clients on one listener.
#[derive(Debug, Default)]
#[repr(C)]
pub struct ListenerCounters {
    /// Messages of clients that were passed on as events.
    pub messages: ShardCount,
    /// Clients that have come.
    pub opened: ShardCount,
    /// Clients that have gone.
    pub closed: ShardCount,
}

impl ShardCounters {
    /// The counters of a shard of a gateway with so many listeners, one at least.
    pub fn new(listeners: usize) -> Self {
        Self {
            bytes_received: ShardCount::default(),
            bytes_sent: ShardCount::default(),
            deliveries: Default::default(),
            first: ListenerCounters::default(),
            others: (1..listeners).map(|_| ListenerCounters::default()).collect(),
            deliveries_dropped: ShardCount::default(),
            decompressed: CompressedBytes::default(),
            compressed: CompressedBytes::default(),
            detached: ShardCount::default(),
            resumed: ShardCount::default(),
        }
    }

    /// Returns the counters of a listener, by its index.
    #[inline]
    pub fn listener(&self, index: usize) -> &ListenerCounters {
        // One that is not there is a defect of the caller, and no reason to end the shard.
        if index == 0 { &self.first } else { self.others.get(index - 1).unwrap_or(&self.first) }
    }

    /// Returns how many messages of clients were passed on as events, on all listeners.
    pub fn messages(&self) -> u64 {
        self.first.messages.get() + self.others.iter().map(|listener| listener.messages.get()).sum::<u64>()
    }

    #[inline]
    pub(super) fn count_deliveries(&self, kind: DeliveryKind, messages: u64) {
        self.deliveries[kind as usize].add(messages);
    }

    /// Returns how many messages were queued for clients, by the name of the kind of their command.
    pub fn deliveries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS.into_iter().zip(self.deliveries.iter().map(ShardCount::get))
    }
}

impl Default for ShardCounters {
    fn default() -> Self {
        Self::new(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listener_has_counters_of_its_own_and_an_echo_counts_on_one_cache_line() {
        let counters = ShardCounters::new(3);
        for (index, messages) in [(0, 1), (1, 2), (2, 4), (3, 8)] {
            counters.listener(index).messages.add(messages);
        }
        let messages = [0, 1, 2].map(|index| counters.listener(index).messages.get());
        assert_eq!(messages, [1 + 8, 2, 4], "a listener that is not there is the first");
        let last =
            std::mem::offset_of!(ShardCounters, first) + std::mem::offset_of!(ListenerCounters, messages);
        assert!(last + size_of::<ShardCount>() <= 64, "{last}");
    }
}
