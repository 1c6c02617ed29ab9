//! Counters of one shard, for the metrics.
//!
//! One thread writes them, the shard's, with plain loads and stores: no processor waits for another one's cache.
//! Any thread reads them and adds the shards up (`metrics`). They are on cache lines of their own.

use std::sync::atomic::{AtomicU64, Ordering};

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
// Two cache lines: processors fetch them in pairs.
#[repr(align(128))]
pub struct ShardCounters {
    /// Bytes that clients have sent, without those of TLS.
    pub bytes_received: ShardCount,
    /// Bytes of frames that were queued for clients.
    pub bytes_sent: ShardCount,
    /// Messages for clients that do not read, which were dropped.
    pub deliveries_dropped: ShardCount,
    deliveries: [ShardCount; KINDS.len()],
    listeners: Box<[ListenerCounters]>,
}

/// The counters of a shard's clients on one listener.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ListenerCounters {
    /// Clients that have come.
    pub opened: ShardCount,
    /// Clients that have gone.
    pub closed: ShardCount,
    /// Messages of clients that were passed on as events.
    pub messages: ShardCount,
}

impl ShardCounters {
    /// The counters of a shard of a gateway with so many listeners, one at least.
    pub fn new(listeners: usize) -> Self {
        Self {
            bytes_received: ShardCount::default(),
            bytes_sent: ShardCount::default(),
            deliveries_dropped: ShardCount::default(),
            deliveries: Default::default(),
            listeners: (0..listeners.max(1)).map(|_| ListenerCounters::default()).collect(),
        }
    }

    /// Returns the counters of a listener, by its index.
    #[inline]
    pub fn listener(&self, index: usize) -> &ListenerCounters {
        // One that is not there is a defect of the caller, and no reason to end the shard.
        self.listeners.get(index).unwrap_or(&self.listeners[0])
    }

    /// Returns how many messages of clients were passed on as events, on all listeners.
    pub fn messages(&self) -> u64 {
        self.listeners.iter().map(|listener| listener.messages.get()).sum()
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
