//! The thread that sends spans: it gathers them for a moment, and sends them in batches.
//!
//! `exporter` gives it its work. A batch that the collector does not take is lost: spans must not pile up here while
//! a collector is away. That is said once a minute.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tracing::warn;

use crate::limits::{BATCH, DELAY};

/// How often it is said at most that spans are lost.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// What the thread and those who give it spans share, beside the spans.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Spans that wait, or are being sent.
    pub(crate) waiting: AtomicUsize,
    /// Spans that were lost.
    pub(crate) lost: AtomicU64,
    /// Somebody waits for the end: nothing is gathered any more.
    pub(crate) is_ending: AtomicBool,
    /// A batch was sent, or lost.
    sent: (Mutex<()>, Condvar),
}

impl Queue {
    /// Waits until no span waits, for `limit` at most.
    pub(crate) fn wait_until_empty(&self, limit: Duration) {
        let guard = self.sent.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |(): &mut ()| self.waiting.load(Ordering::Acquire) > 0;
        drop(self.sent.1.wait_timeout_while(guard, limit, is_full));
    }

    fn count_sent(&self, spans: usize) {
        // Under the lock, or it could come between the look at the number and the wait.
        let _guard = self.sent.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(spans, Ordering::Release);
        self.sent.1.notify_all();
    }
}

/// Sends spans until nobody is left who could give any.
pub(crate) fn run(
    exporter: &impl SpanExporter,
    endpoint: &str,
    spans: &Receiver<Box<SpanData>>,
    queue: &Queue,
) {
    let mut warnings = Warnings { endpoint, last: None, said: 0 };
    while let Ok(first) = spans.recv() {
        if !queue.is_ending.load(Ordering::Acquire) {
            // Whoever gives spans does not wake it for each.
            std::thread::park_timeout(DELAY);
        }
        let mut batch = vec![*first];
        loop {
            batch.extend(spans.try_iter().take(BATCH - batch.len()).map(|span| *span));
            if batch.is_empty() {
                break;
            }
            let sent = batch.len();
            let error = futures_executor::block_on(exporter.export(std::mem::take(&mut batch))).err();
            if error.is_some() {
                queue.lost.fetch_add(sent as u64, Ordering::Relaxed);
            }
            queue.count_sent(sent);
            warnings.check(queue, error.map(|error| error.to_string()));
        }
    }
}

/// Says how many spans are lost, once a minute at most.
struct Warnings<'e> {
    endpoint: &'e str,
    last: Option<Instant>,
    /// So many were said to be lost.
    said: u64,
}

impl Warnings<'_> {
    fn check(&mut self, queue: &Queue, error: Option<String>) {
        let lost = queue.lost.load(Ordering::Relaxed);
        if lost == self.said || self.last.is_some_and(|last| last.elapsed() < WARNING_INTERVAL) {
            return;
        }
        (self.last, self.said) = (Some(Instant::now()), lost);
        let endpoint = self.endpoint;
        match error {
            Some(error) => warn!(
                endpoint,
                lost,
                error,
                "spans were lost, as the OpenTelemetry collector does not take them: see OTEL_EXPORTER_OTLP_ENDPOINT"
            ),
            None => warn!(
                endpoint,
                lost, "spans were lost, as more come than can be sent: lower trace_sample in the gateways"
            ),
        }
    }
}
