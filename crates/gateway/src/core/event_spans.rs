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
use gatewayworker_protocol::{ClientId, FLAG_TRACE_CONTEXT, TraceContext};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::event_log::EventLog;

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
    pub(super) fn set_parent(&mut self, parent: Option<TraceContext>) {
        self.parent = parent;
        self.is_on = self.threshold > 0 || parent.is_some();
    }

    /// Notes that a span has ended. Returns whether it was open.
    pub(super) fn end(&mut self, span_id: u64) -> bool {
        self.open.remove(&span_id)
    }

    /// Decides whether an event is sampled, and draws its span then.
    pub(super) fn sample(&mut self) -> Option<(TraceContext, Option<u64>)> {
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

/// A sampled event in a log.
pub(super) struct SampledEvent {
    pub(super) context: TraceContext,
    pub(super) index: usize,
    pub(super) is_given: bool,
    pub(super) is_redelivered: bool,
}

/// Returns the sampled events in a log.
pub(super) fn sampled<B>(log: &EventLog<B>) -> impl Iterator<Item = SampledEvent> {
    let given = log.given();
    log.bodies().enumerate().filter_map(move |(index, (event, body))| {
        let context = split(event.flag, body).0?;
        let is_redelivered = event.flag & FLAG_REDELIVERED != 0;
        Some(SampledEvent { context, index, is_given: index < given, is_redelivered })
    })
}

/// Returns the spans of the events in a log.
pub(super) fn contexts<B>(log: &EventLog<B>) -> Vec<TraceContext> {
    sampled(log).map(|one| one.context).collect()
}
