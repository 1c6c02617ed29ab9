//! What all shards and links of a gateway share.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use gatewayworker_net::RegisterLinks;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::message::ShardMessage;
use crate::access::rejections::RejectionCounts;
use crate::capacity::Capacity;
use crate::close_counts::CloseCounts;
use crate::config::Config;
use crate::core::Settings;
use crate::logs::Logs;
use crate::workers::Workers;

/// What all shards and links share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// How many connections there may be, which may be fewer than `config` says.
    pub(crate) capacity: Capacity,
    /// What is announced, and part of every client id.
    pub(crate) address: SocketAddrV4,
    pub(crate) workers: Arc<Workers>,
    /// The longest frame that the gateway takes from a worker, in bytes.
    pub(crate) max_frame_len: usize,
    pub(crate) registers: RegisterLinks,
    pub(crate) shards: Vec<mpsc::Sender<ShardMessage>>,
    /// Clients that wait for a worker to be there.
    pub(crate) waiting: Semaphore,
    pub(crate) links: TaskTracker,
    /// The clients are gone; links send what is left and end.
    pub(crate) stopping: CancellationToken,
    pub(crate) closes: CloseCounts,
    pub(crate) refusals: RejectionCounts,
    /// How many more of the connections over a limit may be told so.
    pub(crate) rejecting: Arc<Semaphore>,
    pub(crate) clients: AtomicUsize,
    pub(crate) logs: Logs,
    /// Bytes that may wait for slow clients on one shard.
    pub(crate) outbox_budget: usize,
    /// How often to look who is silent, if that is asked for at any listener.
    pub(crate) heartbeat_tick: Option<Duration>,
    /// The next number in the order of connecting, joining and binding.
    pub(crate) next: AtomicU64,
}

impl Shared {
    /// What `config`, validated, makes of a gateway that has room for so many connections,
    /// announces `address`, and whose shards have these channels.
    pub(crate) fn new(
        config: Config,
        capacity: Capacity,
        address: SocketAddrV4,
        shards: Vec<mpsc::Sender<ShardMessage>>,
    ) -> Self {
        Self {
            capacity,
            address,
            max_frame_len: config.max_frame_len(),
            workers: Arc::new(Workers::new(config.routing)),
            registers: RegisterLinks::default(),
            shards,
            waiting: Semaphore::new(config.max_waiting.min(Semaphore::MAX_PERMITS)),
            links: TaskTracker::new(),
            stopping: CancellationToken::new(),
            closes: CloseCounts::default(),
            refusals: RejectionCounts::default(),
            rejecting: Arc::new(Semaphore::new(capacity.rejected)),
            clients: AtomicUsize::new(0),
            logs: Logs::default(),
            outbox_budget: config.outbox_budget(),
            heartbeat_tick: config.heartbeat_tick(),
            next: AtomicU64::new(1),
            config,
        }
    }

    /// How it goes, for the operator.
    pub(crate) fn figures(&self) -> Vec<(&'static str, u64)> {
        let counts = [
            ("clients", self.clients.load(Ordering::Relaxed) as u64),
            ("workers", self.workers.len() as u64),
            ("closed", self.closes.total()),
            ("max_connections", self.capacity.clients as u64),
        ];
        counts.into_iter().chain(self.refusals.figures()).collect()
    }

    /// The settings of the core of shard number `index`.
    pub(super) fn settings(&self, index: usize) -> Settings {
        Settings {
            address: self.address,
            index,
            shards: self.shards.len(),
            admission_timeout_ms: self.config.admission_timeout_ms,
            max_session_bytes: self.config.max_session_bytes,
            outbox_budget: self.outbox_budget,
            heartbeat_tick: self.heartbeat_tick.unwrap_or(Duration::from_secs(1)),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}
