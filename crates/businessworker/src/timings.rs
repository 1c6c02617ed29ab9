//! How long events wait, handlers run, and questions take, for the metrics.
//!
//! A worker has it where `metrics_listen` is set; without it, no time is taken for it. `handler` observes handlers,
//! the client library questions. The clock of events is the coarse one, exact to some milliseconds. Each thread that
//! runs handlers counts them for itself, and a scrape adds the threads up.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use gatewayworker_client::Unreached;
use gatewayworker_client::worker::QuestionObserver;
use gatewayworker_daemon::{Histogram, HistogramCounts};
use thread_local::ThreadLocal;

/// A handler of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handler {
    Connect,
    WebSocketConnect,
    Message,
    Close,
    Detached,
    Resumed,
    /// That of no event.
    WorkerStop,
}

/// The handlers of events, as the first of [`Handler`].
pub(crate) const OF_EVENTS: [Handler; 6] = [
    Handler::Connect,
    Handler::WebSocketConnect,
    Handler::Message,
    Handler::Close,
    Handler::Detached,
    Handler::Resumed,
];

impl Handler {
    /// Returns its name, as the application writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "on_connect",
            Self::WebSocketConnect => "on_websocket_connect",
            Self::Message => "on_message",
            Self::Close => "on_close",
            Self::Detached => "on_detached",
            Self::Resumed => "on_resumed",
            Self::WorkerStop => "on_worker_stop",
        }
    }
}

/// The times of a worker.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    /// A thread that takes the number of one that has ended goes on with its counts.
    threads: ThreadLocal<OfThread>,
    answered: Histogram,
    unanswered: Histogram,
    /// From a report to a gateway until its answer.
    pub(crate) round_trip: Histogram,
    /// Gateways that sends and questions left out.
    pub(crate) left_out: Arc<AtomicU64>,
}

/// What one thread has counted. It alone writes it, on cache lines of its own.
#[derive(Debug, Default)]
// Two cache lines: processors fetch them in pairs.
#[repr(align(128))]
struct OfThread {
    /// From when an event came until its handler began.
    wait: Histogram,
    handlers: [Histogram; OF_EVENTS.len()],
}

impl Timings {
    /// Notes that a handler has run on this thread: how long its event had waited, if that is asked for, and how long
    /// it ran. Of a handler of no event nothing is noted.
    pub(crate) fn handler_ran(&self, handler: Handler, waited_ms: Option<u64>, ran_ms: u64) {
        let thread = self.threads.get_or_default();
        let Some(histogram) = thread.handlers.get(handler as usize) else { return };
        histogram.observe_us_alone(ran_ms * 1000);
        if let Some(waited_ms) = waited_ms {
            thread.wait.observe_us_alone(waited_ms * 1000);
        }
    }

    /// Returns how long events have waited.
    pub(crate) fn waits(&self) -> HistogramCounts {
        self.sum(|thread| &thread.wait)
    }

    /// Returns how long the handlers ran, by the name of the event.
    pub(crate) fn handlers(&self) -> impl Iterator<Item = (&'static str, HistogramCounts)> {
        let of = |handler: Handler| self.sum(|thread| &thread.handlers[handler as usize]);
        OF_EVENTS.into_iter().map(move |handler| (handler.name(), of(handler)))
    }

    fn sum(&self, histogram: impl Fn(&OfThread) -> &Histogram) -> HistogramCounts {
        let mut sum = HistogramCounts::default();
        self.threads.iter().for_each(|thread| sum += histogram(thread).read());
        sum
    }

    /// Returns how long questions took, by their result.
    pub(crate) fn questions(&self) -> [(&'static str, HistogramCounts); 2] {
        [("answered", self.answered.read()), ("unanswered", self.unanswered.read())]
    }

    /// Returns what notes how long questions take.
    pub(crate) fn question_observer(self: &Arc<Self>) -> QuestionObserver {
        let timings = self.clone();
        QuestionObserver::new(move |time: Duration, result: Result<(), Unreached>| {
            let histogram = if result.is_ok() { &timings.answered } else { &timings.unanswered };
            histogram.observe_us(time.as_micros().try_into().unwrap_or(u64::MAX));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_have_counted_is_added_up_when_they_have_ended_too() {
        let timings = Timings::default();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..100 {
                            timings.handler_ran(Handler::Message, Some(1_000), 20);
                            timings.handler_ran(Handler::Close, None, 0);
                        }
                    });
                }
            });
        }
        timings.handler_ran(Handler::WorkerStop, None, 1);
        let counts: Vec<_> = timings.handlers().map(|(name, counts)| (name, counts.count())).collect();
        let expected = [
            ("on_connect", 0),
            ("on_websocket_connect", 0),
            ("on_message", 1200),
            ("on_close", 1200),
            ("on_detached", 0),
            ("on_resumed", 0),
        ];
        assert_eq!(counts, expected);
        assert_eq!((timings.waits().count(), timings.waits().sum), (1200, 1200.0));
        assert!(
            timings.threads.iter().count() <= 13,
            "a thread goes on with the counts of one that has ended"
        );
    }
}
