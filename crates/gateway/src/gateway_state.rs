//! The state that all shards and links of a gateway share, across threads.
//!
//! `server` creates it. Everything in it is constant, atomic or behind a short lock; no file of the
//! core sees it.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use gatewayworker_auth::Authenticator;
use gatewayworker_daemon::{Histogram, WatchedLoops};
use gatewayworker_net::{LinkTls, RegisterLinks};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::access::rejections::RejectionCounts;
use crate::capacity::Capacity;
use crate::close_counts::CloseCounts;
use crate::closes::LastCloses;
use crate::config::Config;
use crate::core::Settings;
use crate::core::counters::ShardCounters;
use crate::core::interest::InterestSettings;
use crate::core::membership_limits::MembershipLimits;
use crate::core::ports::Directory;
use crate::core::worker_link::{Gone, TakenBack};
use crate::epochs::Epochs;
use crate::interest::Interests;
use crate::limit_counts::LimitCounts;
use crate::link_counts::LinkCounts;
use crate::listener::Listener;
use crate::logs::Logs;
use crate::padded::Padded;
use crate::presence::Presence;
use crate::resume_counts::ResumeCounts;
use crate::resume_token::TokenKey;
use crate::shard::message::ShardMessage;
use crate::token_counts::TokenCounts;
use crate::workers::{WorkerLink, Workers};

/// How many questions of operators are answered at the same time.
pub(crate) const MAX_INSPECTIONS: usize = 4;

/// How many clients, or one client how many times, operators trace at the same time.
pub(crate) const MAX_TRACES: usize = 10;

/// How long things took, for the metrics. A gateway has it where its metrics are shown; without it, no time is taken
/// for it.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    /// How long broadcasts took.
    pub(crate) broadcasts: Histogram,
    /// How long workers took to admit clients.
    pub(crate) admissions: Histogram,
    /// How long workers waited for the answers to their reports, as they tell.
    pub(crate) round_trips: Histogram,
    /// How long first joins waited until all subscribers knew of them.
    pub(crate) joins: Histogram,
}

/// The state that all shards and links share.
#[derive(Debug)]
pub(crate) struct GatewayState {
    pub(crate) config: Config,
    /// TLS of the inner port, and with the registers.
    pub(crate) link_tls: Option<LinkTls>,
    /// The shards' loops, without which the process does not count as alive.
    pub(crate) loops: WatchedLoops,
    /// The limits on connections, which may be lower than those of `config`.
    pub(crate) capacity: Capacity,
    /// The announced inner address, which is part of every client id.
    pub(crate) address: SocketAddrV4,
    pub(crate) workers: Arc<Workers>,
    pub(crate) epochs: Epochs,
    /// What subscribers are told about groups and uids.
    pub(crate) interests: Arc<Interests>,
    /// Who is in which room, where the gateway has presence.
    pub(crate) presence: Option<Arc<Presence>>,
    /// The longest frame that the gateway accepts from a worker, in bytes.
    pub(crate) max_frame_len: usize,
    pub(crate) registers: RegisterLinks,
    pub(crate) shards: Vec<mpsc::Sender<ShardMessage>>,
    /// The permits of clients that wait for a worker.
    pub(crate) waiting: Semaphore,
    pub(crate) links: TaskTracker,
    pub(crate) link_counts: Arc<LinkCounts>,
    /// How many shards wait for workers to handle their closes, as the gateway stops.
    pub(crate) waiting_shards: watch::Sender<usize>,
    /// Cancelled when all clients are closed: links send their last events and end.
    pub(crate) stopping: CancellationToken,
    pub(crate) closes: Padded<CloseCounts>,
    pub(crate) last_closes: LastCloses,
    pub(crate) rejections: RejectionCounts,
    pub(crate) limits: LimitCounts,
    /// What says what tokens of clients are worth, where clients are asked for them.
    pub(crate) authenticator: Option<Arc<Authenticator>>,
    pub(crate) token_counts: TokenCounts,
    /// With what the tokens are made by which clients come back.
    pub(crate) token_key: TokenKey,
    /// Clients that could not come back, and relayed connections.
    pub(crate) resume_counts: ResumeCounts,
    /// The limits of commands, which all shards share.
    pub(crate) membership_limits: MembershipLimits,
    /// The permits of connections over a limit that wait for their request to be rejected.
    pub(crate) rejection_permits: Arc<Semaphore>,
    pub(crate) clients: Padded<AtomicUsize>,
    /// The counters of each shard.
    pub(crate) counters: Vec<Arc<ShardCounters>>,
    /// Where somebody asks for times.
    pub(crate) timings: Option<Timings>,
    pub(crate) started: Instant,
    /// The open listeners with their URLs, in the order of the configuration.
    pub(crate) listeners: OnceLock<Vec<(String, Arc<Listener>)>>,
    /// The permits of the questions of operators.
    pub(crate) inspections: Semaphore,
    /// The permits of traces.
    pub(crate) traces: Arc<Semaphore>,
    pub(crate) logs: Logs,
    /// The next sequence number of a connect, join or bind.
    pub(crate) next_seq: Padded<AtomicU64>,
    /// Where the spans of traced events go; nowhere where no event is traced.
    #[cfg(feature = "otel")]
    pub(crate) span_exporter: Option<gatewayworker_otel::Exporter>,
}

impl GatewayState {
    /// Returns the shared state of a gateway with this validated configuration, these limits, this
    /// announced address, and these channels to its shards.
    pub(crate) fn new(
        config: Config,
        capacity: Capacity,
        address: SocketAddrV4,
        shards: Vec<mpsc::Sender<ShardMessage>>,
    ) -> Self {
        let listeners = config.listen.len();
        let counters = shards.iter().map(|_| Arc::new(ShardCounters::new(listeners))).collect();
        Self {
            link_tls: None,
            loops: WatchedLoops::default(),
            capacity,
            address,
            max_frame_len: config.max_frame_len(),
            workers: Arc::new(Workers::new(config.routing)),
            epochs: Epochs::new(),
            interests: Arc::new(Interests::new(InterestSettings::within(config.link_timing().timeout_ms))),
            presence: None,
            registers: RegisterLinks::default(),
            shards,
            waiting: Semaphore::new(config.max_waiting.min(Semaphore::MAX_PERMITS)),
            links: TaskTracker::new(),
            link_counts: Arc::default(),
            waiting_shards: watch::Sender::new(0),
            stopping: CancellationToken::new(),
            closes: Padded::default(),
            last_closes: LastCloses::default(),
            rejections: RejectionCounts::default(),
            limits: LimitCounts::default(),
            authenticator: None,
            token_counts: TokenCounts::default(),
            token_key: TokenKey::new(&config.secret_key),
            resume_counts: ResumeCounts::default(),
            membership_limits: config.membership_limits(),
            rejection_permits: Arc::new(Semaphore::new(capacity.rejected)),
            clients: Padded::default(),
            counters,
            timings: None,
            started: Instant::now(),
            listeners: OnceLock::new(),
            inspections: Semaphore::new(MAX_INSPECTIONS),
            traces: Arc::new(Semaphore::new(MAX_TRACES)),
            logs: Logs::default(),
            next_seq: Padded(AtomicU64::new(1)),
            #[cfg(feature = "otel")]
            span_exporter: None,
            config,
        }
    }

    /// Returns the open listeners with their URLs, in the order of the configuration; none before they accept.
    pub(crate) fn open_listeners(&self) -> &[(String, Arc<Listener>)] {
        self.listeners.get().map_or(&[], Vec::as_slice)
    }

    /// Returns the state with TLS of the inner port, and with the registers.
    pub(crate) fn with_link_tls(mut self, tls: Option<LinkTls>) -> Self {
        self.link_tls = tls;
        self
    }

    /// Returns the state with presence, where there is some.
    pub(crate) fn with_presence(mut self, presence: Option<Arc<Presence>>) -> Self {
        self.presence = presence;
        self
    }

    /// Returns the state with these times, which are noted from now on.
    pub(crate) fn with_timings(mut self, timings: Option<Timings>) -> Self {
        self.timings = timings;
        self
    }

    /// Returns the state with what says what tokens of clients are worth.
    pub(crate) fn with_authenticator(mut self, authenticator: Option<Arc<Authenticator>>) -> Self {
        self.authenticator = authenticator;
        self
    }

    /// Returns the state with loops that a watchdog watches.
    pub(crate) fn with_loops(mut self, loops: WatchedLoops) -> Self {
        self.loops = loops;
        self
    }

    /// Returns the state with an exporter for the spans of traced events.
    #[cfg(feature = "otel")]
    pub(crate) fn with_span_exporter(mut self, exporter: Option<gatewayworker_otel::Exporter>) -> Self {
        self.span_exporter = exporter;
        self
    }

    /// Returns the settings of the spans of a shard. Where spans go nowhere, no event is traced.
    #[cfg(feature = "otel")]
    pub(crate) fn span_settings(&self) -> crate::core::event_spans::SpanSettings {
        let sample = if self.span_exporter.is_some() { self.config.trace_sample } else { 0.0 };
        crate::core::event_spans::SpanSettings { sample, seed: rand::random() }
    }

    /// Returns the stats that `status` shows.
    pub(crate) fn stats(&self) -> Vec<(&'static str, u64)> {
        let clients = self.clients.load(Ordering::Relaxed) as u64;
        let delivery = self.workers.counts();
        [
            vec![("clients", clients), ("workers", self.workers.len() as u64)],
            self.closes.stats(),
            vec![
                ("max_connections", self.capacity.clients as u64),
                ("epochs", self.epochs.len() as u64),
                ("unfinished", self.workers.unfinished() as u64),
                ("redelivered", delivery.redelivered()),
                ("undeliverable", delivery.undeliverable()),
                ("dropped", delivery.dropped()),
                ("closes_lost", delivery.closes_lost()),
            ],
            self.link_counts.stats(),
            self.rejections.stats(),
            self.token_counts.stats(),
            self.limits.stats(),
            self.traffic(),
            #[cfg(feature = "otel")]
            self.span_exporter.iter().map(|exporter| ("spans_lost", exporter.lost())).collect(),
        ]
        .concat()
    }

    /// Adds up what the shards have counted of messages and bytes.
    fn traffic(&self) -> Vec<(&'static str, u64)> {
        let sum = |read: fn(&ShardCounters) -> u64| self.counters.iter().map(|shard| read(shard)).sum();
        vec![
            ("messages", sum(ShardCounters::messages)),
            ("deliveries", sum(|shard| shard.deliveries().map(|(_, count)| count).sum())),
            ("bytes_received", sum(|shard| shard.bytes_received.get())),
            ("bytes_sent", sum(|shard| shard.bytes_sent.get())),
        ]
    }

    /// Returns the settings of the core of shard `index`.
    pub(crate) fn settings(&self, index: usize) -> Settings {
        Settings {
            address: self.address,
            index,
            shards: self.shards.len(),
            admission_timeout_ms: self.config.admission_timeout_ms,
            max_session_bytes: self.config.max_session_bytes,
            outbox_budget: self.config.outbox_budget(),
            heartbeat_tick: self.config.heartbeat_tick().unwrap_or(Duration::from_secs(1)),
            membership_limits: self.membership_limits.clone(),
            presence: self.presence.as_ref().map(|presence| presence.feed()),
            delivery: self.config.delivery_settings(),
            counters: self.counters[index].clone(),
        }
    }

    /// Sends a message to every shard. One that has ended misses it: the gateway ends next.
    pub(crate) async fn tell_shards(&self, message: impl Fn() -> ShardMessage) {
        for shard in &self.shards {
            let _ = shard.send(message()).await;
        }
    }

    /// Makes a worker drain: its clients go to others, and its link ends when it has finished its
    /// events.
    pub(crate) async fn drain(&self, worker: &Arc<WorkerLink>) {
        if self.workers.drain(worker, self.shards.len()) {
            let (clients, events) = (worker.clients(), worker.unfinished());
            info!(worker = %worker.key(), clients, events, "a worker drains: its clients go to other workers");
            self.tell_shards(|| ShardMessage::WorkerDrains(worker.clone())).await;
        }
    }

    /// Takes a worker of an epoch out of the directory, behind all that has come from it: what it has
    /// not finished is given again, or dropped, as `delivery` says.
    pub(crate) async fn worker_gone(&self, worker: &Arc<WorkerLink>, how: Gone) -> TakenBack {
        self.workers.leave(worker);
        let mut replies = Vec::new();
        for shard in &self.shards {
            let (reply, taken) = oneshot::channel();
            let _ = shard.send(ShardMessage::WorkerGone(worker.clone(), how, reply)).await;
            replies.push(taken);
        }
        let mut taken = TakenBack::default();
        for reply in replies {
            // A shard that has ended takes nothing back, and the gateway ends next.
            taken += reply.await.unwrap_or_default();
        }
        taken
    }

    /// Draws a sequence number, which orders connects, joins and binds across all shards.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq.fetch_add(1, Ordering::Relaxed)
    }
}
