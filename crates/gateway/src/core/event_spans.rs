//! Which events are traced, and when each of their spans begins and ends.
//!
//! An event that is sampled carries a [`TraceContext`] in front of its body, in its client's log as well as on the
//! link, and [`FLAG_TRACE_CONTEXT`] among its flags. So what is given again keeps its trace, and an event that is not
//! sampled is as it always was. The core draws the ids and notes the begin and the end as effects; the shell, which
//! has a clock and an exporter, makes spans of them (`spans`).
//!
//! Without the cargo feature `otel` nothing of this is compiled into the way of an event. With it, and with
//! `trace_sample = 0`, an event costs the look at [`EventSpans::is_on`].

use std::collections::BTreeSet;
use std::sync::Arc;

use gatewayworker_protocol::frame::FLAG_REDELIVERED;
use gatewayworker_protocol::{ClientId, FLAG_TRACE_CONTEXT, HEADER_LEN, TraceContext};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Shard;
use super::effects::Effect;
use super::event_log::EventLog;
use super::ports::Ports;
use super::source;
use super::table::Key;
use super::worker_link::WorkerLink;

/// Whether events can be traced at all.
const IS_BUILT: bool = cfg!(any(feature = "otel", test));

/// Spans that may be open in a shard at the same time. Beyond, events are not sampled.
const MAX_OPEN: usize = 4096;

/// The settings of OpenTelemetry.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SpanSettings {
    /// The part of the events that is sampled, from 0.0 to 1.0.
    pub sample: f64,
    /// A random number, from which the ids of traces and spans are drawn.
    pub seed: u64,
}

/// A span that begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanChange {
    /// An event has come, and is traced.
    Begun {
        /// The span, and its trace.
        context: TraceContext,
        /// The span that it is a part of: a client has named it.
        parent: Option<u64>,
        /// The event's command.
        cmd: u8,
        /// The client.
        client: ClientId,
    },
    /// Nothing more happens to the event.
    Ended {
        /// The span.
        span_id: u64,
        /// The key of the worker that had the event last.
        worker: Arc<str>,
        /// What became of it.
        end: SpanEnd,
        /// It was given to a worker more than once.
        is_redelivered: bool,
    },
}

/// What became of a traced event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanEnd {
    /// Its worker has finished it.
    Done,
    /// It was given to a worker that does not say when it has finished.
    Given,
    /// No worker has finished it, and none will.
    Dropped,
}

/// The spans of a shard.
#[derive(Debug)]
pub(super) struct EventSpans {
    /// Events may be sampled now.
    is_on: bool,
    /// An event is sampled where a random number of 63 bits is less.
    threshold: u64,
    /// What the client whose connect is told has named as the parent.
    parent: Option<TraceContext>,
    rng: StdRng,
    /// The spans that have begun and not ended.
    open: BTreeSet<u64>,
}

impl Default for EventSpans {
    fn default() -> Self {
        Self::new(SpanSettings::default())
    }
}

impl EventSpans {
    pub(super) fn new(settings: SpanSettings) -> Self {
        let threshold = (settings.sample.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64;
        Self {
            is_on: threshold > 0,
            threshold,
            parent: None,
            rng: StdRng::seed_from_u64(settings.seed),
            open: BTreeSet::new(),
        }
    }

    /// Whether an event may have to be sampled.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        IS_BUILT && self.is_on
    }

    /// Whether some event in a log may be traced.
    #[inline]
    pub(super) fn has_open(&self) -> bool {
        IS_BUILT && !self.open.is_empty()
    }

    /// Returns the spans that have begun and not ended.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn open_spans(&self) -> &BTreeSet<u64> {
        &self.open
    }

    /// Sets what a client has named as the parent of the events that are told next.
    fn set_parent(&mut self, parent: Option<TraceContext>) {
        self.parent = parent;
        self.is_on = self.threshold > 0 || parent.is_some();
    }

    /// Decides whether an event is sampled, and draws its span then.
    fn sample(&mut self) -> Option<(TraceContext, Option<u64>)> {
        let parent = self.parent;
        let is_sampled = match parent {
            Some(parent) => parent.is_sampled,
            None => self.rng.random::<u64>() >> 1 < self.threshold,
        };
        if !is_sampled || self.open.len() >= MAX_OPEN {
            return None;
        }
        let trace_id = parent.map_or_else(|| self.rng.random::<u128>().max(1), |parent| parent.trace_id);
        let span_id = self.rng.random::<u64>().max(1);
        self.open.insert(span_id);
        let context = TraceContext { trace_id, span_id, is_sampled };
        Some((context, parent.map(|parent| parent.span_id)))
    }
}

/// Puts a context in front of a body.
pub(super) fn join(context: TraceContext, body: &[u8]) -> Vec<u8> {
    [&context.to_bytes(), body].concat()
}

/// Splits the context from the body of an event that has one.
#[inline]
pub(super) fn split(flag: u8, body: &[u8]) -> (Option<TraceContext>, &[u8]) {
    if !IS_BUILT || flag & FLAG_TRACE_CONTEXT == 0 {
        return (None, body);
    }
    (TraceContext::read(body), body.get(TraceContext::LEN..).unwrap_or_default())
}

impl<P: Ports> Shard<P> {
    /// Returns the shard with these settings of OpenTelemetry. Without them no event is traced.
    #[cfg(any(feature = "otel", feature = "internals", test))]
    #[must_use]
    pub fn with_spans(mut self, settings: SpanSettings) -> Self {
        self.event_spans = EventSpans::new(settings);
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
        if self.event_spans.open.remove(&context.span_id) {
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
        let is_done = |one: &Traced| one.is_given && one.index < events as usize;
        let done: Vec<_> = traced(log).take_while(is_done).collect();
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

/// A traced event in a log.
struct Traced {
    context: TraceContext,
    index: usize,
    is_given: bool,
    is_redelivered: bool,
}

fn traced<B>(log: &EventLog<B>) -> impl Iterator<Item = Traced> {
    let given = log.given();
    log.bodies().enumerate().filter_map(move |(index, (event, body))| {
        let context = split(event.flag, body).0?;
        let is_redelivered = event.flag & FLAG_REDELIVERED != 0;
        Some(Traced { context, index, is_given: index < given, is_redelivered })
    })
}

/// Returns the spans of the events in a log.
pub(super) fn contexts<B>(log: &EventLog<B>) -> Vec<TraceContext> {
    traced(log).map(|one| one.context).collect()
}
