//! [`Exporter`]: the queue of spans, as a daemon sees it.
//!
//! It reads the environment, starts the thread (`worker`), and counts what is lost. It never waits, but in
//! [`Exporter::shutdown`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::Thread;
use std::time::Duration;

use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor};
use tracing::info;

use crate::http::{HttpClient, TlsError, endpoint};
use crate::limits::{BATCH, QUEUE, SHUTDOWN};
use crate::worker::{self, Queue};

/// The attribute that names the service.
const SERVICE_NAME: &str = "service.name";

/// Why spans cannot be exported. It is found at the start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A variable of OpenTelemetry has a value that cannot work.
    #[error("OpenTelemetry: {0}: see the OTEL_EXPORTER_OTLP_… variables")]
    Environment(String),
    /// No certificate authority is known for a collector that is reached by TLS.
    #[error("OpenTelemetry: {0}")]
    Tls(#[from] TlsError),
    /// The system has no thread left.
    #[error("OpenTelemetry: cannot start the thread that sends spans: {0}")]
    Thread(std::io::Error),
}

/// Sends spans to a collector. Clones share its queue and its thread, which ends with the last of them.
#[derive(Debug, Clone)]
pub struct Exporter {
    shared: Arc<Shared>,
    resource: Resource,
}

#[derive(Debug)]
struct Shared {
    spans: SyncSender<Box<SpanData>>,
    queue: Arc<Queue>,
    thread: Thread,
}

impl Exporter {
    /// Starts to export spans as the environment says. `service` is the name of the service where the environment
    /// names none. `None` where `OTEL_SDK_DISABLED` is `true`. Nothing is connected to before the first span.
    ///
    /// # Errors
    /// When a variable has a value that cannot work, or the system has no thread left.
    pub fn start(service: &'static str) -> Result<Option<Self>, SetupError> {
        let is_disabled =
            std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        if is_disabled {
            return Ok(None);
        }
        let endpoint = endpoint();
        let client = HttpClient::from_environment(&endpoint)?;
        let endpoint = without_password(&endpoint);
        let mut otlp = OtlpExporter::builder()
            .with_http()
            .with_http_client(client)
            .build()
            .map_err(|error| SetupError::Environment(error.to_string()))?;
        let resource = resource(service);
        otlp.set_resource(&resource);
        let exporter = Self::with(otlp, resource, endpoint)?;
        Ok(Some(exporter))
    }

    /// Starts to export spans with this exporter, to this endpoint.
    pub(crate) fn with(
        exporter: impl SpanExporter + 'static,
        resource: Resource,
        endpoint: String,
    ) -> Result<Self, SetupError> {
        info!(endpoint, "spans of traced events are sent to an OpenTelemetry collector");
        let (spans, received) = mpsc::sync_channel(QUEUE);
        let queue = Arc::new(Queue::default());
        let sent = queue.clone();
        let thread = std::thread::Builder::new()
            .name("spans".to_owned())
            .spawn(move || worker::run(&exporter, &endpoint, &received, &sent))
            .map_err(SetupError::Thread)?;
        let shared = Shared { spans, queue, thread: thread.thread().clone() };
        Ok(Self { shared: Arc::new(shared), resource })
    }

    /// Queues a span that has ended. Where the queue is full, the span is lost, and counted. Never waits.
    pub fn export(&self, span: SpanData) {
        let Shared { spans, queue, thread } = &*self.shared;
        let before = queue.waiting.fetch_add(1, Ordering::Relaxed);
        match spans.try_send(Box::new(span)) {
            // It sleeps to gather spans. Only a crowd wakes it.
            Ok(()) if before + 1 == 2 * BATCH => thread.unpark(),
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                queue.waiting.fetch_sub(1, Ordering::Relaxed);
                queue.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns a provider of tracers whose spans are exported here. It makes spans only below a span that is
    /// sampled: whether an event is traced was decided before.
    pub fn provider(&self) -> SdkTracerProvider {
        SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)))
            .with_resource(self.resource.clone())
            .with_span_processor(Processor(self.clone()))
            .build()
    }

    /// Returns how many spans were lost: the queue was full, or the collector did not take them.
    pub fn lost(&self) -> u64 {
        self.shared.queue.lost.load(Ordering::Relaxed)
    }

    /// Waits until the spans that were given are sent, or lost, for `limit` at most. Blocks the thread. From now on a
    /// span is sent as soon as it comes.
    pub fn shutdown(&self, limit: Duration) {
        self.shared.queue.is_ending.store(true, Ordering::Release);
        self.flush(limit);
    }

    fn flush(&self, limit: Duration) {
        self.shared.thread.unpark();
        self.shared.queue.wait_until_empty(limit);
    }
}

/// Puts the spans of the SDK's tracers into the queue.
#[derive(Debug)]
struct Processor(Exporter);

impl SpanProcessor for Processor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.export(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.flush(SHUTDOWN);
        Ok(())
    }

    /// The daemon shuts the exporter down: a provider that is dropped waits for nothing.
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Returns a URL as a log may show it.
fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            let slash = if path.is_empty() { "" } else { "/" };
            format!("{scheme}://{host}{slash}{path}")
        }
        None => url.to_owned(),
    }
}

/// Who has made the spans. The environment's name of the service goes before `service`.
fn resource(service: &'static str) -> Resource {
    let of_environment = Resource::builder().build();
    let name = of_environment.get(&SERVICE_NAME.into());
    let is_named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut builder = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())));
    if !is_named {
        builder = builder.with_service_name(service);
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_log_shows_no_password_of_a_url() {
        for (url, shown) in [
            ("http://name:word@host:4318/a@b", "http://host:4318/a@b"),
            ("https://host", "https://host"),
            ("host", "host"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
