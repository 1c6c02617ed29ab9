//! The spans of a shard's traced events: from the core's notes, with the time, to the exporter.
//!
//! `shard` calls it for each [`SpanChange`] right behind the input that has caused it. A span that has not ended
//! when the gateway does is not exported.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::SystemTime;

use gatewayworker_otel::opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use gatewayworker_otel::opentelemetry::{InstrumentationScope, KeyValue};
use gatewayworker_otel::opentelemetry_sdk::trace::SpanData;
use gatewayworker_otel::{Exporter, SetupError, limits};
use gatewayworker_protocol::{ClientId, TraceContext, code};

use crate::config::{Config, TraceParent};
use crate::core::event_spans::{SpanChange, SpanEnd};

/// Who makes the spans.
static SCOPE: LazyLock<InstrumentationScope> = LazyLock::new(|| {
    InstrumentationScope::builder("gatewayworker-gateway").with_version(env!("CARGO_PKG_VERSION")).build()
});

/// Starts the exporter of a gateway whose events may be traced.
pub(crate) fn exporter(config: &Config) -> Result<Option<Exporter>, SetupError> {
    if config.trace_sample == 0.0 && config.trace_parent == TraceParent::Ignore {
        return Ok(None);
    }
    Exporter::start("gatewayworker-gateway")
}

/// Gives the last spans a moment to be sent, when the gateway has ended.
pub(crate) async fn send_last(exporter: Option<Exporter>) {
    if let Some(exporter) = exporter {
        // A panic there would cost spans only.
        let _ = tokio::task::spawn_blocking(move || exporter.shutdown(limits::SHUTDOWN)).await;
    }
}

/// The spans that have begun. The core bounds their number.
#[derive(Debug, Default)]
pub(crate) struct OpenSpans(BTreeMap<u64, OpenSpan>);

#[derive(Debug)]
struct OpenSpan {
    context: TraceContext,
    parent: Option<u64>,
    cmd: u8,
    client: ClientId,
    start: SystemTime,
}

impl OpenSpans {
    /// Notes that a span begins or ends now, and exports it when it has ended.
    pub(crate) fn note(&mut self, change: SpanChange, exporter: Option<&Exporter>) {
        match change {
            SpanChange::Begun { context, parent, cmd, client } => {
                let start = SystemTime::now();
                self.0.insert(context.span_id, OpenSpan { context, parent, cmd, client, start });
            }
            SpanChange::Ended { span_id, worker, end, is_redelivered } => {
                if let (Some(open), Some(exporter)) = (self.0.remove(&span_id), exporter) {
                    exporter.export(open.end(&worker, end, is_redelivered));
                }
            }
        }
    }
}

impl OpenSpan {
    fn end(self, worker: &str, end: SpanEnd, is_redelivered: bool) -> SpanData {
        let Self { context, parent, cmd, client, start } = self;
        let mut attributes = vec![
            KeyValue::new("gatewayworker.event", event_name(cmd)),
            KeyValue::new("gatewayworker.client_id", client.to_string()),
            KeyValue::new("gatewayworker.worker", worker.to_owned()),
        ];
        if is_redelivered {
            attributes.push(KeyValue::new("gatewayworker.redelivered", true));
        }
        if end == SpanEnd::Given {
            // The worker does not say when it has finished.
            attributes.push(KeyValue::new("gatewayworker.acknowledged", false));
        }
        SpanData {
            span_context: SpanContext::new(
                TraceId::from(context.trace_id),
                SpanId::from(context.span_id),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from),
            parent_span_is_remote: parent.is_some(),
            span_kind: SpanKind::Server,
            name: "gateway.event".into(),
            start_time: start,
            end_time: SystemTime::now().max(start),
            attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: match end {
                SpanEnd::Done | SpanEnd::Given => Status::Unset,
                SpanEnd::Dropped => Status::error("no worker has finished the event"),
            },
            instrumentation_scope: SCOPE.clone(),
        }
    }
}

/// Returns the name of the handler that an event runs.
fn event_name(cmd: u8) -> &'static str {
    match cmd {
        code::ON_CONNECT => "on_connect",
        code::ON_WEBSOCKET_CONNECT => "on_websocket_connect",
        code::ON_MESSAGE => "on_message",
        code::ON_CLOSE => "on_close",
        code::ON_DETACHED => "on_detached",
        code::ON_RESUMED => "on_resumed",
        _ => "unknown",
    }
}
