//! The worker's metrics, read from its counters at each scrape. `serve` shows them. `docs/guide/metrics.md` has the
//! table of all.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use gatewayworker_http::RequestCounts;
use gatewayworker_metrics::{Families, Kind, Source};

use crate::Events;
use crate::event_queues::EventQueues;
use crate::history_report;
use crate::timings::Timings;

/// A worker as a source of metrics.
#[derive(Debug)]
pub(crate) struct WorkerMetrics<E> {
    /// Weak: a worker ends although it is still scraped.
    pub(crate) queues: Weak<EventQueues<E>>,
    pub(crate) timings: Arc<Timings>,
    pub(crate) requests: RequestCounts,
    #[cfg(feature = "federation")]
    pub(crate) federation: Option<gatewayworker_federation::Federation>,
}

impl<E: Events> Source for WorkerMetrics<E> {
    async fn read(&self, into: &mut Families) {
        let Some(queues) = self.queues.upgrade() else { return };
        let stats = &queues.handler.stats;
        into.gauge("gatewayworker_gateways", "Gateways that the worker is linked to.", queues.gateways());
        into.gauge("gatewayworker_handlers_running", "Handlers that run now.", queues.running());
        into.histograms(
            "gatewayworker_handler_duration_seconds",
            "How long handlers ran, by event; exact to some milliseconds.",
            "event",
            self.timings.handlers(),
        );
        into.counters(
            "gatewayworker_handler_errors_total",
            "Handlers that did not return Ok: an error, a panic, or cancelled by handler_timeout_ms.",
            "kind",
            [
                ("error", stats.errors.get()),
                ("panic", stats.panics.get()),
                ("cancelled", stats.cancelled.get()),
            ],
        );
        into.histogram(
            "gatewayworker_event_wait_seconds",
            "From when an event came to the worker until its handler began; exact to some milliseconds.",
            self.timings.waits(),
        );
        into.histograms(
            "gatewayworker_question_duration_seconds",
            "How long a gateway took to answer a question, or until it was given up.",
            "result",
            self.timings.questions(),
        );
        into.histogram(
            "gatewayworker_ping_rtt_seconds",
            "How long a frame to a gateway and its answer took, once in some seconds for each gateway.",
            self.timings.round_trip.read(),
        );
        into.counter(
            "gatewayworker_interest_left_out_total",
            "Gateways that messages to groups and uids, and questions about them, left out as they have none.",
            self.timings.left_out.load(Ordering::Relaxed),
        );
        if let Some(stats) = history_report::stats(queues.handler.worker.gateway()) {
            history_report::metrics(&stats, into);
        }
        #[cfg(feature = "federation")]
        {
            let stats = self.federation.as_ref().map(|joined| joined.stats()).unwrap_or_default();
            crate::federation::metrics(&stats, into);
        }
        let requests = into.add(
            Kind::Counter,
            "gatewayworker_http_requests_total",
            "Requests over HTTP, by call of the Gateway API and by status.",
        );
        for (call, status, count) in self.requests.all() {
            requests.with(vec![("call", call.into()), ("status", status.to_string().into())], count);
        }
    }
}
