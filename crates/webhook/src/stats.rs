//! Counts requests and what became of events, for the metrics. `docs/guide/metrics.md` has the table of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gatewayworker_businessworker::EventName;
use gatewayworker_daemon::{Counter, Histogram};
use gatewayworker_metrics::Families;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::tries::Outcome;

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    requests: [AtomicU64; Outcome::ALL.len()],
    durations: Histogram,
    in_flight: AtomicU64,
    waiting: AtomicU64,
    /// Backends that are away now.
    pub(crate) away: AtomicU64,
    /// Answers that came too late, or whose event was not this worker's any more.
    pub(crate) discarded: Counter,
    /// Calls of answers that failed.
    pub(crate) failed_calls: Counter,
    /// Clients that were closed, as their event failed.
    pub(crate) closed: Counter,
    /// Events that were dropped.
    pub(crate) dropped: Counter,
    /// Clients that were refused, as their `connect` failed.
    pub(crate) refused: Counter,
}

/// Counts one more in a gauge until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn new(gauge: &'a AtomicU64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stats {
    /// Counts a request that runs, until what is returned is dropped.
    pub(crate) fn in_flight(&self) -> Counted<'_> {
        Counted::new(&self.in_flight)
    }

    /// Counts an event that waits for a backend, until what is returned is dropped.
    pub(crate) fn waiting(&self) -> Counted<'_> {
        Counted::new(&self.waiting)
    }

    /// Counts a request that has ended.
    pub(crate) fn request_ended(&self, outcome: Outcome, took: Duration) {
        self.requests[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.durations.observe_us(took.as_micros().try_into().unwrap_or(u64::MAX));
    }

    fn families(&self) -> Families {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let mut into = Families::default();
        into.counters(
            "gatewayworker_events_http_requests_total",
            "Requests to the backend, by how they ended.",
            "outcome",
            Outcome::ALL.map(|(outcome, name)| (name, load(&self.requests[outcome as usize]))),
        );
        into.histogram(
            "gatewayworker_events_http_request_duration_seconds",
            "How long requests to the backend took, to the end of the answer.",
            self.durations.read(),
        );
        into.gauge(
            "gatewayworker_events_http_in_flight",
            "Requests to the backend that run now.",
            load(&self.in_flight),
        );
        into.gauge(
            "gatewayworker_events_http_waiting",
            "Events that wait now: for a backend that is away, for others, or to be sent again.",
            load(&self.waiting),
        );
        into.gauge(
            "gatewayworker_events_http_away",
            "Backends that are away: not reachable, or answering 502, 503 or 504.",
            load(&self.away),
        );
        into.counter(
            "gatewayworker_events_http_discarded_total",
            "Answers without effect: too late, or the event was given to another worker.",
            self.discarded.get(),
        );
        into.counters(
            "gatewayworker_events_http_failed_total",
            "Events that failed, by what was done: the client was closed or refused, or the event dropped.",
            "policy",
            [("close", self.closed.get()), ("drop", self.dropped.get()), ("refuse", self.refused.get())],
        );
        into.counter(
            "gatewayworker_events_http_failed_calls_total",
            "Calls in answers that failed.",
            self.failed_calls.get(),
        );
        into
    }
}

/// Shows the counters at each scrape.
#[derive(Debug)]
pub(crate) struct Scraped(pub(crate) Arc<Stats>);

impl Collector for Scraped {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        self.0.families().encode(encoder)
    }
}

/// Returns the names of the events in the order of the guide.
pub(crate) fn names(events: &[EventName]) -> String {
    events.iter().map(|event| event.as_str()).collect::<Vec<_>>().join(", ")
}
