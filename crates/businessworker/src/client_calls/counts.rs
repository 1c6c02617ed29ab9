//! Counts answers to calls of clients, for the metrics. `docs/guide/metrics.md` has the table of all.
//!
//! Labels are the words of the answer: its `gw`, and `ok` or its `error`. There are only so many: a client cannot make one up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gatewayworker_metrics::prometheus_client::collector::Collector;
use gatewayworker_metrics::prometheus_client::encoding::DescriptorEncoder;
use gatewayworker_metrics::{Families, Kind};

use super::vocabulary::Answer;

/// What answers name as their call: `error` where it cannot be read, or is none that exists.
const CALLS: [&str; 5] = ["join", "leave", "publish", "presence", "error"];

/// What comes of calls.
const RESULTS: [&str; 8] =
    ["ok", "bad-request", "unknown-call", "forbidden", "too-many", "too-long", "not-a-member", "unavailable"];

/// The counters. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct CallCounts(Arc<[[AtomicU64; RESULTS.len()]; CALLS.len()]>);

impl CallCounts {
    /// Counts an answer.
    pub(super) fn count(&self, answer: &Answer<'_>) {
        if let Some(counter) = self.counter(answer.name(), answer.refusal().unwrap_or("ok")) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counter of a call and a result; `None` where a word is missing above.
    fn counter(&self, call: &str, result: &str) -> Option<&AtomicU64> {
        let call = CALLS.iter().position(|name| *name == call)?;
        let result = RESULTS.iter().position(|name| *name == result)?;
        Some(&self.0[call][result])
    }

    /// What was done, and the refusals that have occurred, as a family of metrics.
    fn families(&self) -> Families {
        let mut into = Families::default();
        let calls = into.add(
            Kind::Counter,
            "gatewayworker_client_calls_total",
            "Calls of clients that were answered, by call and by result.",
        );
        for (call, of_call) in CALLS.into_iter().zip(&*self.0) {
            for (result, count) in RESULTS.into_iter().zip(of_call) {
                let count = count.load(Ordering::Relaxed);
                // A family without a number would not be shown.
                if count > 0 || (result == "ok" && call != "error") {
                    calls.with(vec![("call", call.into()), ("result", result.into())], count);
                }
            }
        }
        into
    }
}

impl Collector for CallCounts {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        self.families().encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::{Refusal, Verb};
    use super::*;

    #[test]
    fn each_answer_has_a_counter() {
        let counts = CallCounts::default();
        let refusals = [
            Refusal::BadRequest("x"),
            Refusal::UnknownCall,
            Refusal::Forbidden,
            Refusal::TooMany,
            Refusal::TooLong("x"),
            Refusal::NotAMember,
            Refusal::Unavailable,
        ];
        assert_eq!(refusals.len() + 1, RESULTS.len());
        for call in Verb::ALL.map(Verb::name).into_iter().chain(["error"]) {
            for refusal in refusals {
                counts.count(&Answer::refused(call, None, refusal));
            }
            counts.counter(call, "ok").expect(call).fetch_add(1, Ordering::Relaxed);
        }
        let all: Vec<_> = counts.0.iter().flatten().map(|count| count.load(Ordering::Relaxed)).collect();
        assert_eq!(all, [1; RESULTS.len() * CALLS.len()]);
    }
}
