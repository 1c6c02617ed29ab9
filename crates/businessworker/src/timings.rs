//! How long events wait, handlers run, and questions take, for the metrics.
//!
//! A worker has it where `metrics_listen` is set; without it, no time is taken for it. `handler` observes events,
//! the client library questions. The clock of events is the coarse one, exact to some milliseconds.

use std::sync::Arc;
use std::time::Duration;

use gatewayworker_client::Unreached;
use gatewayworker_client::worker::QuestionObserver;
use gatewayworker_daemon::{Histogram, HistogramCounts};

use crate::handler_times::HANDLERS;

/// The times of a worker.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    /// From when an event came until its handler began.
    pub(crate) wait: Histogram,
    handlers: [Histogram; HANDLERS.len()],
    answered: Histogram,
    unanswered: Histogram,
    /// From a report to a gateway until its answer.
    pub(crate) round_trip: Histogram,
}

impl Timings {
    /// Notes how long a handler ran. Of others than those of events nothing is noted.
    pub(crate) fn handler_ran(&self, event: &str, time: Duration) {
        if let Some(index) = HANDLERS.iter().position(|name| *name == event) {
            self.handlers[index].observe_us(us(time));
        }
    }

    /// Returns how long the handlers ran, by the name of the event.
    pub(crate) fn handlers(&self) -> impl Iterator<Item = (&'static str, HistogramCounts)> {
        HANDLERS.into_iter().zip(self.handlers.iter().map(Histogram::read))
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
            histogram.observe_us(us(time));
        })
    }
}

fn us(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}
