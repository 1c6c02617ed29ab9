//! The spans of traced events in the worker: the wait, the handler, and the calls of the handler.
//!
//! A gateway has decided that an event is traced, and has put a context in front of its body. `link` takes it off with
//! [`take_context`], `handler` runs the handler within [`HandlerSpans::begin`], and the client library tells [`Calls`]
//! what the handler sends and asks. The handler's span is OpenTelemetry's current one while the handler is polled, so
//! the application's own spans stand below it. Only with the cargo feature `otel`.

use std::any::Any;
use std::sync::Arc;
use std::time::SystemTime;

use gatewayworker_client::worker::{CallObserver, WorkerHandle};
use gatewayworker_otel::Exporter;
use gatewayworker_otel::opentelemetry::trace::{
    FutureExt, Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use gatewayworker_otel::opentelemetry::{Context, InstrumentationScope, KeyValue, global};
use gatewayworker_otel::opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use gatewayworker_protocol::{Audience, Command, FLAG_TRACE_CONTEXT, Frame, Question, TraceContext};

use crate::core::{Event, EventKind, EventTrace};

/// Takes the trace off an event's frame, where it has one.
#[inline]
pub(crate) fn take_context(frame: &mut Frame) -> Option<Box<EventTrace>> {
    if frame.flag & FLAG_TRACE_CONTEXT == 0 {
        return None;
    }
    frame.flag &= !FLAG_TRACE_CONTEXT;
    let context = TraceContext::take(&mut frame.body).filter(|context| context.is_sampled)?;
    Some(Box::new(EventTrace { context, received: Some(SystemTime::now()) }))
}

/// The exporter of a worker, and the provider of its tracers.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSpans {
    pub(crate) exporter: Exporter,
    pub(crate) provider: SdkTracerProvider,
}

impl WorkerSpans {
    /// Starts to export spans as the environment says; `None` where it says that there are none.
    pub(crate) fn start() -> Result<Option<Self>, gatewayworker_otel::SetupError> {
        let exporter = Exporter::start("gatewayworker-businessworker")?;
        Ok(exporter.map(|exporter| Self { provider: exporter.provider(), exporter }))
    }

    /// Makes the provider OpenTelemetry's global one, so that the application's spans are exported, too.
    pub(crate) fn set_global(&self) {
        global::set_tracer_provider(self.provider.clone());
    }

    /// Returns what makes the spans of handlers.
    pub(crate) fn for_handlers(&self, worker_name: &str) -> HandlerSpans {
        let scope = InstrumentationScope::builder("gatewayworker-businessworker")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        HandlerSpans { tracer: self.provider.tracer_with_scope(scope), worker_name: worker_name.into() }
    }

    /// Gives the last spans a moment to be sent.
    pub(crate) async fn send_last(self) {
        let send = move || self.exporter.shutdown(gatewayworker_otel::limits::SHUTDOWN);
        // A panic there would cost spans only.
        let _ = tokio::task::spawn_blocking(send).await;
    }
}

/// Makes the spans of handlers.
#[derive(Debug)]
pub(crate) struct HandlerSpans {
    tracer: SdkTracer,
    worker_name: Arc<str>,
}

impl HandlerSpans {
    /// Begins the span of the handler of an event, if the event is traced, and ends that of its wait. The handler's
    /// calls over `worker` have spans below it.
    pub(crate) fn begin(&self, event: &mut Event, worker: &WorkerHandle) -> Option<HandlerSpan> {
        let trace = event.trace.as_deref_mut()?;
        worker.observe_calls(|| Arc::new(Calls(self.tracer.clone())));
        let TraceContext { trace_id, span_id, .. } = trace.context;
        let gateway = SpanContext::new(
            TraceId::from(trace_id),
            SpanId::from(span_id),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        let parent = Context::new().with_remote_span_context(gateway);
        let received = trace.received.take();
        let mut attributes = vec![
            KeyValue::new("gatewayworker.event", handler_name(&event.kind)),
            KeyValue::new("gatewayworker.worker", self.worker_name.clone()),
            KeyValue::new("gatewayworker.client_id", event.client_id().to_string()),
        ];
        if event.is_redelivered() {
            attributes.push(KeyValue::new("gatewayworker.redelivered", true));
        }
        if let Some(received) = received {
            let wait = self.tracer.span_builder("worker.wait").with_start_time(received);
            wait.start_with_context(&self.tracer, &parent).end();
        }
        let builder = self.tracer.span_builder("worker.handler").with_attributes(attributes);
        let span = builder.start_with_context(&self.tracer, &parent);
        Some(HandlerSpan(parent.with_span(span)))
    }
}

/// The span of a handler that runs.
pub(crate) struct HandlerSpan(Context);

impl HandlerSpan {
    /// Runs what handles the event, with this as the current span, and ends the span. `runs_again` says of what is
    /// returned whether the event is not finished: its gateway is missing, or was for a while.
    pub(crate) async fn run<T>(
        self,
        handle: impl Future<Output = T>,
        runs_again: impl FnOnce(&T) -> bool,
    ) -> T {
        let ending = handle.with_context(self.0.clone()).await;
        if runs_again(&ending) {
            self.0.span().set_attribute(KeyValue::new("gatewayworker.runs_again", true));
        }
        self.0.span().end();
        ending
    }
}

/// Notes at the current span that a handler has failed. What it says of itself may be a client's data, and stays in the
/// log.
pub(crate) fn note_failure(what: &'static str) {
    Context::map_current(|context| {
        if context.has_active_span() {
            context.span().set_status(Status::error(what));
        }
    });
}

/// Makes a span of each call of a handler whose event is traced.
struct Calls(SdkTracer);

/// A call, which ends when this is dropped.
struct Call(<SdkTracer as Tracer>::Span);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl CallObserver for Calls {
    fn begin(
        &self,
        frames: &mut dyn Iterator<Item = &Frame>,
        gateways: usize,
    ) -> Option<Box<dyn Any + Send>> {
        let parent = Context::map_current(|context| {
            context.span().span_context().is_sampled().then(|| context.clone())
        })?;
        let (mut command, mut is_question, mut targets) = ("", false, 0);
        for frame in frames {
            let Ok(said) = Command::decode(frame.clone()) else { continue };
            command = command_name(&said);
            is_question = matches!(said, Command::Ask(_));
            targets += count_targets(&said).unwrap_or(0);
        }
        let mut attributes = vec![
            KeyValue::new("gatewayworker.command", command),
            KeyValue::new("gatewayworker.gateways", gateways as i64),
        ];
        if targets > 0 {
            attributes.push(KeyValue::new("gatewayworker.targets", targets as i64));
        }
        let (name, kind) = match is_question {
            true => ("worker.question", SpanKind::Client),
            false => ("worker.send", SpanKind::Producer),
        };
        let builder = self.0.span_builder(name).with_kind(kind).with_attributes(attributes);
        Some(Box::new(Call(builder.start_with_context(&self.0, &parent))))
    }
}

/// Returns the name of the handler that an event runs.
fn handler_name(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Connect => "on_connect",
        EventKind::WebSocketConnect { .. } => "on_websocket_connect",
        EventKind::Message(_) => "on_message",
        EventKind::Detached => "on_detached",
        EventKind::Resumed(_) => "on_resumed",
        EventKind::Close(_) => "on_close",
    }
}

/// Returns how many clients, uids or groups a command names; `None` where it is for all.
fn count_targets(command: &Command) -> Option<usize> {
    Some(match command {
        Command::SendToAll { to: Audience::Only(ids), .. } => ids.len(),
        Command::SendToAll { .. } | Command::Ask(_) => return None,
        Command::SendToUid { uids, .. } => uids.len(),
        Command::SendToGroup { groups, .. } => groups.len(),
        _ => 1,
    })
}

/// Returns the name of a call's command, as the protocol has it.
fn command_name(command: &Command) -> &'static str {
    match command {
        Command::SendToOne { .. } => "SEND_TO_ONE",
        Command::SendToAll { .. } => "SEND_TO_ALL",
        Command::SendToUid { .. } => "SEND_TO_UID",
        Command::SendToGroup { .. } => "SEND_TO_GROUP",
        Command::Kick { .. } | Command::Refuse { .. } => "KICK",
        Command::Admit(_) => "ADMIT",
        Command::Publish { .. } => "PUBLISH",
        Command::Destroy(_) => "DESTROY",
        Command::SetSession { .. } => "SET_SESSION",
        Command::UpdateSession { .. } => "UPDATE_SESSION",
        Command::BindUid { .. } => "BIND_UID",
        Command::UnbindUid { .. } => "UNBIND_UID",
        Command::JoinGroup { .. } => "JOIN_GROUP",
        Command::LeaveGroup { .. } => "LEAVE_GROUP",
        Command::Ungroup(_) => "UNGROUP",
        Command::Ask(question) => question_name(question),
        // No call of a handler.
        _ => "other",
    }
}

fn question_name(question: &Question) -> &'static str {
    match question {
        Question::IsOnline(_) => "IS_ONLINE",
        Question::Session(_) => "GET_SESSION_BY_CLIENT_ID",
        Question::AllSessions => "GET_ALL_CLIENT_SESSIONS",
        Question::SessionsByGroup(_) => "GET_CLIENT_SESSIONS_BY_GROUP",
        Question::Count(_) => "GET_CLIENT_COUNT_BY_GROUP",
        Question::BatchCount(_) => "BATCH_GET_CLIENT_COUNT_BY_GROUP",
        Question::ConnectionsByUid(_) => "GET_CLIENT_ID_BY_UID",
        Question::BatchConnectionsByUid(_) => "BATCH_GET_CLIENT_ID_BY_UID",
        Question::GroupIds => "GET_GROUP_ID_LIST",
        Question::Select(_) => "SELECT",
        Question::Inspect(_) => "INSPECT",
        Question::PresenceReport(_) => "PRESENCE_REPORT",
    }
}
