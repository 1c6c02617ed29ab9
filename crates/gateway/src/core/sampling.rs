//! What a shard does for the spans of its events: begins one where an event is sampled, and ends it when the event
//! leaves its log.
//!
//! `events`, `delivery` and `admission` come here with an event that may be sampled; `delivery`, `moving` and `source`
//! where events are finished or dropped. Which are sampled is decided by [`EventSpans`](super::event_spans::EventSpans). The shell hears of it by
//! [`Effect::Span`].

use std::sync::Arc;

use gatewayworker_protocol::{ClientId, FLAG_EVENT_CONTEXT, FLAG_TRACE_CONTEXT, HEADER_LEN, TraceContext};

use super::Shard;
use super::effects::Effect;
use super::event_log::EventLog;
use super::event_spans::{SampledEvent, SpanChange, SpanEnd, contexts, join, sampled};
use super::ports::Ports;
use super::source;
use super::table::Key;
use super::worker_link::WorkerLink;

impl<P: Ports> Shard<P> {
    /// Returns the shard with these settings of OpenTelemetry. Without them no event is traced.
    #[cfg(any(feature = "otel", feature = "internals", test))]
    #[must_use]
    pub fn with_spans(mut self, settings: super::event_spans::SpanSettings) -> Self {
        self.event_spans = super::event_spans::EventSpans::new(settings);
        self
    }

    /// [Tells](Self::tell_connected) the worker that a client has come, as a part of the span that the client has
    /// named.
    pub fn tell_connected_within(
        &mut self,
        parent: TraceContext,
        key: Key,
        handshake: Option<&[u8]>,
        now_ms: u64,
    ) {
        self.event_spans.set_parent(Some(parent));
        self.tell_connected(key, handshake, now_ms);
        self.event_spans.set_parent(None);
    }

    /// [Tells](Self::tell) a client's worker an event that may be sampled.
    #[cold]
    pub(super) fn tell_sampled(&mut self, key: Key, cmd: u8, flag: u8, body: &[u8]) {
        let Some(client) = self.table.get(key) else { return };
        if client.worker.features.event_context && flag & FLAG_EVENT_CONTEXT == 0 {
            return self.tell_in_context(key, cmd, flag, body);
        }
        let id = client.id(self.settings.address);
        let len = HEADER_LEN + client.session.len() + TraceContext::LEN + body.len();
        let features = client.worker.features;
        let is_plain = client.worker.acknowledges() && features.trace_context;
        // An event that has room for itself only is not traced.
        let fits = len <= features.max_frame_len();
        let Some(context) = fits.then(|| self.begin_span(id, cmd)).flatten() else {
            return self.tell_event(key, cmd, flag, body);
        };
        let (flag, body) = (flag | FLAG_TRACE_CONTEXT, join(context, body));
        if is_plain {
            return self.tell_event(key, cmd, flag, &body);
        }
        // The worker may know no trace contexts, or the event be finished as soon as it is given.
        if let Some(client) = self.table.get(key) {
            self.free_logs.log(&mut client.log, self.now_ms).push(cmd, flag, &body);
        }
        self.go_on(key.connection_id());
    }

    /// Appends an event that waits to a log, where it may be sampled.
    pub(super) fn push_sampled(
        &mut self,
        log: &mut Option<Box<EventLog<P::Buffer>>>,
        client: ClientId,
        (cmd, flag): (u8, u8),
        body: &[u8],
    ) {
        let context = if self.event_spans.is_on() { self.begin_span(client, cmd) } else { None };
        let log = self.free_logs.log(log, self.now_ms);
        match context {
            None => log.push(cmd, flag, body),
            Some(context) => log.push(cmd, flag | FLAG_TRACE_CONTEXT, &join(context, body)),
        }
    }

    /// Begins the span of an event, where that is sampled.
    fn begin_span(&mut self, client: ClientId, cmd: u8) -> Option<TraceContext> {
        let (context, parent) = self.event_spans.sample()?;
        let begun = SpanChange::Begun { context, parent, cmd, client };
        self.effects.list.push_back(Effect::Span(Box::new(begun)));
        Some(context)
    }

    /// Ends the span of an event.
    pub(super) fn end_span(
        &mut self,
        context: TraceContext,
        worker: &Arc<WorkerLink<P::Buffer>>,
        end: SpanEnd,
        is_redelivered: bool,
    ) {
        if self.event_spans.end(context.span_id) {
            let span_id = context.span_id;
            let ended = SpanChange::Ended { span_id, worker: worker.key().clone(), end, is_redelivered };
            self.effects.list.push_back(Effect::Span(Box::new(ended)));
        }
    }

    /// Ends the spans of the events of a client or stub that its worker has finished, the first ones that it has.
    #[cold]
    pub(super) fn end_spans_of(&mut self, id: u32, epoch: u32, events: u32) {
        let found = source::find(&mut self.table, &mut self.stubs, self.settings.address, id);
        let Some(source) = found.filter(|source| source.worker.epoch() == epoch) else { return };
        let worker = source.worker.clone();
        let Some(log) = source.log else { return };
        let is_done = |one: &SampledEvent| one.is_given && one.index < events as usize;
        let done: Vec<_> = sampled(log).take_while(is_done).collect();
        for one in done {
            self.end_span(one.context, &worker, SpanEnd::Done, one.is_redelivered);
        }
    }

    /// Returns the spans of the events that are in the log of a client or stub.
    fn spans_in_log(&mut self, id: u32) -> Vec<TraceContext> {
        let found = source::find(&mut self.table, &mut self.stubs, self.settings.address, id);
        found.and_then(|source| source.log.as_deref()).map_or_else(Vec::new, contexts)
    }

    /// Ends the spans of events that were in the log of a client or stub before, and are no more: they were
    /// dropped.
    pub(super) fn end_spans_that_left(
        &mut self,
        id: u32,
        worker: &Arc<WorkerLink<P::Buffer>>,
        before: Vec<TraceContext>,
    ) {
        if !before.is_empty() {
            let after = self.spans_in_log(id);
            self.end_spans_missing(before, &after, worker);
        }
    }

    /// Ends the spans of `before` that are not among those of `after`: their events were dropped.
    pub(super) fn end_spans_missing(
        &mut self,
        before: Vec<TraceContext>,
        after: &[TraceContext],
        worker: &Arc<WorkerLink<P::Buffer>>,
    ) {
        for context in before.into_iter().filter(|context| !after.contains(context)) {
            self.end_span(context, worker, SpanEnd::Dropped, false);
        }
    }

    /// Ends the spans of a log that is dropped.
    pub(super) fn end_spans_of_log(
        &mut self,
        log: &EventLog<P::Buffer>,
        worker: &Arc<WorkerLink<P::Buffer>>,
    ) {
        if self.event_spans.has_open() {
            for context in contexts(log) {
                self.end_span(context, worker, SpanEnd::Dropped, false);
            }
        }
    }
}
