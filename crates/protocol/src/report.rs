//! What a worker tells its gateways about itself: the JSON of REPORT.
//!
//! A worker sends a [`Report`] on each event link every few seconds, and the gateway answers with REPORTED, so that the
//! worker knows the round trip. The gateway shows the last report of each worker to operators
//! ([`inspect::WorkerReport`](crate::inspect::WorkerReport)). It decides nothing by it.
//!
//! The two sides may be of different versions: unknown fields are ignored, missing ones have a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The longest body of REPORT, in bytes. A longer one is not read.
pub const MAX_REPORT_BYTES: usize = 16 * 1024;

/// How many of the handlers that run for long a report names at most.
pub const MAX_LONGEST: usize = 5;

/// How many events a report has times of at most; four are known today.
const MAX_EVENTS: usize = 16;

/// The longest name of a version, an event or a client in a report, in bytes. A longer one is left out.
const MAX_TEXT_BYTES: usize = 64;

/// What a worker tells a gateway about itself: the body of REPORT.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The version of its program.
    pub version: String,
    /// Milliseconds since its start.
    pub uptime_ms: u64,
    /// How long the last REPORTED of this gateway took, in microseconds; `None` before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
    /// The number of the report that this REPORTED had answered.
    #[serde(skip_serializing_if = "is_zero")]
    pub answered: u32,
    /// For how many milliseconds the oldest report without an answer waits for one; 0 where none does.
    pub unanswered_ms: u64,
    /// What its handlers do.
    pub handlers: HandlersReport,
}

/// What the handlers of a worker do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HandlersReport {
    /// How many run now.
    pub running: u64,
    /// How many questions of theirs wait for the answer of a gateway.
    pub questions: u64,
    /// How often they were called and how long they ran in the last minute, or since the start of a younger worker,
    /// by the name of the event: `on_message`.
    pub events: BTreeMap<String, HandlerTimes>,
    /// Those that run now and have run for longest, a second at least; at most [`MAX_LONGEST`], the longest first.
    pub longest: Vec<RunningHandler>,
}

/// How often the handler of an event was called, and how long it ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HandlerTimes {
    /// The calls.
    pub count: u64,
    /// Milliseconds of all that have returned. One call is exact to some milliseconds, and the sum is right on average.
    pub total_ms: u64,
    /// Milliseconds of the longest that has returned; 0 where it is shorter than the clock's step.
    pub max_ms: u64,
}

/// A handler that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunningHandler {
    /// The event: `on_message`.
    pub event: String,
    /// The client id; `None` where no client is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// For how many milliseconds it runs.
    pub ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Report {
    /// Reads a body; `None` where it is over [`MAX_REPORT_BYTES`], or is no report. What is too much in it is left out.
    pub fn from_json(body: &[u8]) -> Option<Self> {
        let mut report: Self = Some(body)
            .filter(|body| body.len() <= MAX_REPORT_BYTES)
            .and_then(|body| serde_json::from_slice(body).ok())?;
        if report.version.len() > MAX_TEXT_BYTES {
            report.version.clear();
        }
        let HandlersReport { events, longest, .. } = &mut report.handlers;
        events.retain(|event, _| event.len() <= MAX_TEXT_BYTES);
        while events.len() > MAX_EVENTS {
            events.pop_last();
        }
        let is_long = |text: &str| text.len() > MAX_TEXT_BYTES;
        longest.retain(|one| !is_long(&one.event) && !one.client.as_deref().is_some_and(is_long));
        longest.truncate(MAX_LONGEST);
        longest.shrink_to_fit();
        Some(report)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers always serialize")
    }
}

impl HandlersReport {
    /// Returns the report without the clients of handlers: for those who may not know any client.
    #[must_use]
    pub fn without_clients(&self) -> Self {
        let mut report = self.clone();
        report.longest.iter_mut().for_each(|one| one.client = None);
        report
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Report {
        let times = HandlerTimes { count: 9, total_ms: 40, max_ms: 12 };
        let hangs = RunningHandler { event: "on_message".into(), client: Some("7f".into()), ms: 12_000 };
        Report {
            version: "0.1.0".into(),
            uptime_ms: 5000,
            round_trip_us: Some(310),
            answered: 3,
            unanswered_ms: 0,
            handlers: HandlersReport {
                running: 2,
                questions: 1,
                events: [("on_message".to_owned(), times)].into(),
                longest: vec![hangs],
            },
        }
    }

    #[test]
    fn a_report_is_what_it_was_when_it_is_read_again() {
        let wire = json!({
            "version": "0.1.0", "uptime_ms": 5000, "round_trip_us": 310, "answered": 3, "unanswered_ms": 0,
            "handlers": {
                "running": 2, "questions": 1,
                "events": {"on_message": {"count": 9, "total_ms": 40, "max_ms": 12}},
                "longest": [{"event": "on_message", "client": "7f", "ms": 12000}],
            },
        });
        let body = report().to_json();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), wire);
        assert_eq!(Report::from_json(&body), Some(report()));
    }

    #[test]
    fn a_report_of_another_version_is_read_as_far_as_it_is_known() {
        let later = br#"{"version":"9","moon":"full","handlers":{"running":1,"longest":[{"event":"on_tick","at":7}]}}"#;
        let read = Report::from_json(later).unwrap();
        assert_eq!((read.version.as_str(), read.uptime_ms, read.handlers.running), ("9", 0, 1));
        assert_eq!(read.handlers.longest[0].event, "on_tick");
        assert_eq!(Report::from_json(b"{}"), Some(Report::default()));
    }

    #[test]
    fn what_is_no_report_is_not_read() {
        let huge = format!(r#"{{"version":"{}"}}"#, "x".repeat(MAX_REPORT_BYTES));
        for body in ["", "no JSON", "3", r#"{"uptime_ms":-1}"#, r#"{"handlers":7}"#, &huge] {
            assert_eq!(Report::from_json(body.as_bytes()), None, "{:.40}", body);
        }
    }

    #[test]
    fn what_is_kept_of_a_report_is_small() {
        let longest = vec![json!({}); 3000];
        let events: serde_json::Map<_, _> =
            (0..300).map(|n| (format!("on_{n}"), json!({"count": n}))).collect();
        let body = json!({"version": "v".repeat(65), "handlers": {"longest": longest, "events": events}});
        let read = Report::from_json(body.to_string().as_bytes()).unwrap();
        assert_eq!((read.version.len(), read.handlers.longest.len(), read.handlers.events.len()), (0, 5, 16));
        let long =
            json!({"handlers": {"longest": [{"client": "c".repeat(65)}, {"event": "e".repeat(65)}, {}]}});
        assert_eq!(Report::from_json(long.to_string().as_bytes()).unwrap().handlers.longest.len(), 1);
    }

    #[test]
    fn without_clients_nobody_is_named() {
        let handlers = report().handlers.without_clients();
        assert_eq!((handlers.longest[0].client.as_deref(), handlers.longest[0].ms), (None, 12_000));
    }
}
