//! The gateway's metrics, read at each scrape: counters of the shards, which are added up, and gauges, for which the
//! shards are asked. `server` serves them. `docs/guide/metrics.md` has the table of all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gatewayworker_metrics::{Families, Kind, Source};
use gatewayworker_net::Transport;
use tokio::time::timeout;

use crate::core::counters::{ListenerCounters, ShardCounters};
use crate::core::gauges::ShardGauges;
use crate::core::interest::InterestCounts;
use crate::core::ports::Directory;
use crate::core::presence::owner::OwnerCounts;
use crate::gateway_state::{GatewayState, Timings};
use crate::inspect::{ShardGone, ask, oldest_events};
use crate::shard::Core;

/// How long the shards may take to answer a scrape. Without their answer, their gauges are left out.
const SHARD_TIMEOUT: Duration = Duration::from_secs(1);

/// The gateway as a source of metrics.
#[derive(Debug)]
pub(crate) struct GatewayMetrics {
    shared: Arc<GatewayState>,
}

impl GatewayMetrics {
    pub(crate) fn new(shared: Arc<GatewayState>) -> Self {
        Self { shared }
    }

    /// Adds a counter of all shards up.
    fn sum(&self, read: impl Fn(&ShardCounters) -> u64) -> u64 {
        self.shared.counters.iter().map(|counters| read(counters)).sum()
    }

    /// Adds a counter of all shards up, for each listener.
    fn by_listener(&self, read: impl Fn(&ListenerCounters) -> u64) -> Vec<(String, u64)> {
        let count = |(index, (url, _)): (usize, &(String, _))| {
            (url.clone(), self.sum(|counters| read(counters.listener(index))))
        };
        self.shared.open_listeners().iter().enumerate().map(count).collect()
    }

    /// Asks all shards for their gauges; `None` where one does not answer in time.
    async fn ask_shards(&self) -> Option<ShardGauges> {
        timeout(SHARD_TIMEOUT, self.ask_each_shard()).await.ok()?.ok()
    }

    async fn ask_each_shard(&self) -> Result<ShardGauges, ShardGone> {
        let mut gauges = ShardGauges::default();
        for shard in 0..self.shared.shards.len() {
            gauges += ask(&self.shared, shard, Core::gauges).await?;
        }
        Ok(gauges)
    }

    /// Returns how long the oldest event has waited, in ms; `None` where the shards do not answer in time. It has a
    /// time limit of its own, as it looks at all clients.
    async fn oldest_event_ms(&self) -> Option<u64> {
        let ages = timeout(SHARD_TIMEOUT, oldest_events(&self.shared)).await.ok()?.ok()?;
        Some(ages.into_iter().map(|(_, age_ms)| age_ms).max().unwrap_or_default())
    }

    fn read_clients(&self, into: &mut Families) {
        let shared = &self.shared;
        // A client that comes between the two reads must not make it negative.
        let closed = self.by_listener(|counters| counters.closed.get());
        let opened = self.by_listener(|counters| counters.opened.get());
        let open = opened.iter().zip(&closed);
        into.gauges(
            "gatewayworker_clients",
            "Clients, by listener.",
            "listener",
            open.map(|((url, opened), (_, closed))| (url.clone(), opened.saturating_sub(*closed))),
        );
        into.counters(
            "gatewayworker_clients_opened_total",
            "Clients that have come, by listener.",
            "listener",
            opened,
        );
        into.counters(
            "gatewayworker_clients_closed_total",
            "Clients that have gone, by reason.",
            "reason",
            shared.closes.by_reason(),
        );
        into.counters(
            "gatewayworker_clients_rejected_total",
            "Connections that did not become clients, by reason.",
            "reason",
            shared.rejections.by_reason(),
        );
        into.counters(
            "gatewayworker_tokens_refused_total",
            "Tokens of clients that were refused, at the handshake or later, by reason.",
            "reason",
            shared.token_counts.by_reason(),
        );
        into.counters(
            "gatewayworker_messages_received_total",
            "Messages of clients, by listener.",
            "listener",
            self.by_listener(|counters| counters.messages.get()),
        );
        let mut deliveries: Vec<(&str, u64)> = Vec::new();
        for (kind, count) in shared.counters.iter().flat_map(|counters| counters.deliveries()) {
            match deliveries.iter_mut().find(|(of, _)| *of == kind) {
                Some((_, sum)) => *sum += count,
                None => deliveries.push((kind, count)),
            }
        }
        into.counters(
            "gatewayworker_deliveries_total",
            "Messages that were queued for clients, one for each client, by the kind of command.",
            "kind",
            deliveries,
        );
        into.counters(
            "gatewayworker_bytes_total",
            "Bytes of frames: in, received from clients; out, queued for clients. Without TLS and handshakes.",
            "direction",
            [
                ("in", self.sum(|counters| counters.bytes_received.get())),
                ("out", self.sum(|counters| counters.bytes_sent.get())),
            ],
        );
        into.counters(
            "gatewayworker_compression_plain_bytes_total",
            "Bytes that compressed messages have when they are not compressed: in, of clients; out, queued for clients.",
            "direction",
            [
                ("in", self.sum(|counters| counters.decompressed.plain.get())),
                ("out", self.sum(|counters| counters.compressed.plain.get())),
            ],
        );
        into.counters(
            "gatewayworker_compression_wire_bytes_total",
            "Bytes that the same messages have compressed.",
            "direction",
            [
                ("in", self.sum(|counters| counters.decompressed.wire.get())),
                ("out", self.sum(|counters| counters.compressed.wire.get())),
            ],
        );
        into.counter(
            "gatewayworker_deliveries_dropped_total",
            "Messages that were dropped, as their clients do not read (slow_consumer = drop-newest).",
            self.sum(|counters| counters.deliveries_dropped.get()),
        );
    }

    fn read_workers(&self, into: &mut Families) {
        let workers = &self.shared.workers;
        let delivery = workers.counts();
        into.gauge("gatewayworker_workers", "Workers that are linked.", workers.len());
        let waiting = workers
            .all()
            .iter()
            .map(|link| link.buffer.pushed().saturating_sub(link.buffer.written()))
            .sum::<u64>();
        let links = [Transport::Tcp, Transport::Unix]
            .map(|transport| (transport.to_string(), self.shared.link_counts.get(transport) as u64));
        into.gauges(
            "gatewayworker_links",
            "Links of workers and client libraries, by transport: tcp, or unix within the host.",
            "transport",
            links,
        );
        into.gauge("gatewayworker_link_outbox_bytes", "Bytes that wait to be written to workers.", waiting);
        into.gauge(
            "gatewayworker_events_unacked",
            "Events that workers have and have not finished.",
            workers.unfinished(),
        );
        into.counter(
            "gatewayworker_events_redelivered_total",
            "Events that were given again, as a worker had not finished them.",
            delivery.redelivered(),
        );
        into.counter(
            "gatewayworker_events_undeliverable_total",
            "Events that were dropped, as one worker after another ended with them (max_deliveries).",
            delivery.undeliverable(),
        );
        if let Some(Timings { broadcasts, admissions, round_trips, joins }) = &self.shared.timings {
            into.histogram(
                "gatewayworker_broadcast_duration_seconds",
                "From when a message for several clients is queued until it is written to each that reads.",
                broadcasts.read(),
            );
            into.histogram(
                "gatewayworker_admission_duration_seconds",
                "From a client's handshake until its worker admits it.",
                admissions.read(),
            );
            into.histogram(
                "gatewayworker_ping_rtt_seconds",
                "How long a frame of a worker to the gateway and its answer took, as workers report it.",
                round_trips.read(),
            );
            into.histogram(
                "gatewayworker_join_wait_seconds",
                "How long joins of new groups and uids waited until all workers knew of them; those that waited.",
                joins.read(),
            );
        }
    }

    fn read_interest(&self, into: &mut Families) {
        let InterestCounts { subscribers, names, filter_bytes, announced, leases_lost, .. } =
            self.shared.interests.counts();
        into.gauge(
            "gatewayworker_interest_subscribers",
            "Workers and client libraries that are told of groups and uids.",
            subscribers,
        );
        into.gauge(
            "gatewayworker_interest_names",
            "Groups and uids that these know of, also some that are gone.",
            names,
        );
        into.gauge(
            "gatewayworker_interest_filter_bytes",
            "Bytes of these in each of them, and in the gateway.",
            filter_bytes,
        );
        into.counter(
            "gatewayworker_interest_announced_total",
            "Groups and uids that were announced.",
            announced,
        );
        into.counter(
            "gatewayworker_interest_leases_lost_total",
            "Times that joins waited for one of these for the whole of its lease.",
            leases_lost,
        );
    }

    fn read_presence(&self, into: &mut Families) {
        let counts = self.shared.presence.as_ref().map(|presence| presence.counts());
        let (OwnerCounts { rooms, uids, joins, leaves }, failed) = counts.unwrap_or_default();
        into.gauge("gatewayworker_presence_rooms", "Presence rooms that this gateway owns.", rooms);
        into.gauge("gatewayworker_presence_uids", "Uids in these, once for each room.", uids);
        into.counters(
            "gatewayworker_presence_changes_total",
            "Uids that have come to these rooms and left them.",
            "event",
            [("join", joins), ("leave", leaves)],
        );
        into.counter(
            "gatewayworker_presence_reports_failed_total",
            "Reports to the owners of rooms that were not answered, and are told again.",
            failed,
        );
    }

    fn read_resumption(&self, into: &mut Families) {
        into.counter(
            "gatewayworker_detached_total",
            "Cuts of connections whose clients may come back (resume).",
            self.sum(|counters| counters.detached.get()),
        );
        into.counter(
            "gatewayworker_resumed_total",
            "Clients that have come back, also those whose old connection still stood.",
            self.sum(|counters| counters.resumed.get()),
        );
        into.counters(
            "gatewayworker_resume_lost_total",
            "Clients that could not come back, by reason.",
            "reason",
            self.shared.resume_counts.lost_by_reason(),
        );
        into.gauge(
            "gatewayworker_relayed_connections",
            "Connections of clients that another gateway has, and that came back here.",
            self.shared.resume_counts.relayed() as f64,
        );
    }

    fn read_certificates(&self, into: &mut Families) {
        let ends = self.shared.open_listeners().iter().filter_map(|(url, listener)| {
            Some((url.clone(), listener.certificate.as_ref()?.not_after()? as f64))
        });
        into.gauges(
            "gatewayworker_tls_certificate_not_after_seconds",
            "When the certificate of a listener is valid no more, in seconds since 1970.",
            "listener",
            ends,
        );
    }

    async fn read_shards(&self, into: &mut Families) {
        if let Some(oldest_event_ms) = self.oldest_event_ms().await {
            into.gauge(
                "gatewayworker_event_oldest_seconds",
                "How long the client that waits longest has waited until its first unfinished event is done.",
                oldest_event_ms as f64 / 1000.0,
            );
        }
        let Some(gauges) = self.ask_shards().await else { return };
        let ShardGauges { outbox_bytes, uids, groups, admissions, detached, kept_bytes, paused_ms } = gauges;
        let shared = &self.shared;
        let connections: usize =
            self.shared.open_listeners().iter().map(|(_, listener)| listener.own_limit.count()).sum();
        let for_worker = shared.config.max_waiting.saturating_sub(shared.waiting.available_permits());
        let clients = shared.clients.load(Ordering::Relaxed);
        into.add(
            Kind::Gauge,
            "gatewayworker_clients_waiting",
            "Connections that wait: in their handshake or close, for a worker to be linked, for admission.",
        )
        .with_label(
            "for",
            [
                ("handshake", connections.saturating_sub(clients + for_worker)),
                ("worker", for_worker),
                ("admission", admissions),
            ],
        );
        into.gauge(
            "gatewayworker_detached_clients",
            "Clients whose connection is cut and that may come back (resume).",
            detached,
        );
        into.gauge(
            "gatewayworker_resume_bytes",
            "Bytes that are kept for clients that may come back, and what it costs to hold them.",
            kept_bytes,
        );
        into.gauge("gatewayworker_uids", "Uids with clients, counted once on each shard.", uids);
        into.gauge("gatewayworker_groups", "Groups with members, counted once on each shard.", groups);
        into.gauge(
            "gatewayworker_outbox_bytes",
            "Bytes that wait for clients that do not read, and what it costs to hold them.",
            outbox_bytes,
        );
        into.counter(
            "gatewayworker_reading_paused_seconds_total",
            "For how long clients were not read from, of all clients together: a full worker, or a rate limit.",
            paused_ms as f64 / 1000.0,
        );
    }
}

impl Source for GatewayMetrics {
    async fn read(&self, into: &mut Families) {
        self.read_clients(into);
        self.read_workers(into);
        self.read_interest(into);
        self.read_presence(into);
        self.read_resumption(into);
        self.read_certificates(into);
        self.read_shards(into).await;
    }
}
