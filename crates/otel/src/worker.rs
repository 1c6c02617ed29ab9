//! The thread that sends spans: it gathers them for a moment, and sends them in batches.
//!
//! `exporter` gives it its work. A batch that the collector does not take is lost: spans must not pile up here while
//! a collector is away. That is said once a minute.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tracing::warn;

use crate::limits::{BATCH, DELAY};

/// How often it is said at most that spans are lost.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Something for the thread to do.
pub(crate) enum Work {
    /// Send this span.
    Span(Box<SpanData>),
    /// Send what came before this, then say so.
    Flush(SyncSender<()>),
}

/// What the thread and those who give it spans count.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Spans that wait, or are being sent.
    pub(crate) waiting: AtomicUsize,
    /// Spans that were lost.
    pub(crate) lost: AtomicU64,
}

/// Sends spans until nobody is left who could give any.
pub(crate) fn run(exporter: &impl SpanExporter, endpoint: &str, work: &Receiver<Work>, queue: &Queue) {
    let mut warnings = Warnings { endpoint, last: None, said: 0 };
    let mut batch = Vec::new();
    while let Ok(first) = work.recv() {
        let gather = matches!(first, Work::Span(_));
        if gather {
            // Whoever gives spans does not wake it for each.
            std::thread::park_timeout(DELAY);
        }
        let mut next = Some(first);
        while let Some(one) = next {
            match one {
                Work::Span(span) => batch.push(*span),
                Work::Flush(done) => {
                    send(exporter, &mut batch, queue, &mut warnings);
                    // Whoever asked may not wait any more.
                    let _ = done.try_send(());
                }
            }
            if batch.len() >= BATCH {
                send(exporter, &mut batch, queue, &mut warnings);
            }
            next = work.try_recv().ok();
        }
        send(exporter, &mut batch, queue, &mut warnings);
        warnings.check(queue, None);
    }
}

fn send(exporter: &impl SpanExporter, batch: &mut Vec<SpanData>, queue: &Queue, warnings: &mut Warnings<'_>) {
    let spans = batch.len();
    if spans == 0 {
        return;
    }
    let sent = futures_executor::block_on(exporter.export(std::mem::take(batch)));
    if let Err(error) = sent {
        queue.lost.fetch_add(spans as u64, Ordering::Relaxed);
        warnings.check(queue, Some(error.to_string()));
    }
    queue.waiting.fetch_sub(spans, Ordering::Relaxed);
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
