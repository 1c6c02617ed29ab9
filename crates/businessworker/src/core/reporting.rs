//! When a worker reports itself to a gateway, and how long the answers take.
//!
//! Each event link to a gateway that lists `worker-reports` has one. The heartbeats' thread asks it for the next report,
//! the reader tells it what the gateway has answered. What a report says is none of its business.

use std::collections::VecDeque;

/// The time between two reports, in microseconds.
const INTERVAL_US: u64 = 5_000_000;

/// The same until a round trip is known, so that an operator need not wait for it.
const FIRST_INTERVAL_US: u64 = 1_000_000;

/// How many reports without an answer are remembered. Of those behind them no round trip is known.
const MAX_UNANSWERED: usize = 16;

/// The reports on one event link. Times are in microseconds by any clock that does not go back.
#[derive(Debug, Default)]
pub struct Reporting {
    /// The number of the last report.
    last_number: u32,
    next_us: u64,
    /// The numbers of reports without an answer, and when they were sent; the oldest first.
    unanswered: VecDeque<(u32, u64)>,
    round_trip: Option<RoundTrip>,
}

/// How long the answer to a report took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrip {
    /// The number of the report.
    pub number: u32,
    /// Microseconds.
    pub us: u64,
}

/// The next report, without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextReport {
    /// Its number.
    pub number: u32,
    /// The last round trip that is known.
    pub round_trip: Option<RoundTrip>,
    /// For how long the oldest report without an answer waits for one, in microseconds; 0 where none does.
    pub unanswered_us: u64,
}

impl Reporting {
    /// When the next report is due. The first one is due at once.
    pub fn next_deadline_us(&self) -> u64 {
        self.next_us
    }

    /// Begins a report, which is sent now; `None` where none is due.
    pub fn begin(&mut self, now_us: u64) -> Option<NextReport> {
        if now_us < self.next_us {
            return None;
        }
        let unanswered_us = self.unanswered.front().map_or(0, |(_, sent_us)| now_us.saturating_sub(*sent_us));
        self.next_us = now_us + if self.round_trip.is_some() { INTERVAL_US } else { FIRST_INTERVAL_US };
        self.last_number = self.last_number.wrapping_add(1);
        if self.unanswered.len() < MAX_UNANSWERED {
            self.unanswered.push_back((self.last_number, now_us));
        }
        Some(NextReport { number: self.last_number, round_trip: self.round_trip, unanswered_us })
    }

    /// Puts off a report that cannot be sent now.
    pub fn postpone(&mut self, now_us: u64) {
        self.next_us = now_us + FIRST_INTERVAL_US;
    }

    /// Takes the answer to the report with this number, and to those before it. Returns how long it took, in
    /// microseconds; `None` for a number that waits for no answer.
    pub fn answered(&mut self, number: u32, now_us: u64) -> Option<u64> {
        let at = self.unanswered.iter().position(|(waiting, _)| *waiting == number)?;
        let (_, sent_us) = self.unanswered.drain(..=at).next_back()?;
        let us = now_us.saturating_sub(sent_us);
        self.round_trip = Some(RoundTrip { number, us });
        Some(us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn reports_come_each_second_until_a_round_trip_is_known_and_then_each_five_seconds() {
        let mut reporting = Reporting::default();
        let first = reporting.begin(7).unwrap();
        assert_eq!(first, NextReport { number: 1, round_trip: None, unanswered_us: 0 });
        assert_eq!(reporting.begin(SECOND), None);
        assert_eq!(reporting.answered(1, 307), Some(300));
        let second = reporting.begin(SECOND + 7).unwrap();
        let known = Some(RoundTrip { number: 1, us: 300 });
        assert_eq!(second, NextReport { number: 2, round_trip: known, unanswered_us: 0 });
        assert_eq!(reporting.next_deadline_us(), 6 * SECOND + 7);
    }

    #[test]
    fn a_report_says_how_long_an_answer_is_waited_for() {
        let mut reporting = Reporting::default();
        reporting.begin(0).unwrap();
        assert_eq!(reporting.begin(SECOND).unwrap().unanswered_us, SECOND);
        assert_eq!(reporting.begin(2 * SECOND).unwrap().unanswered_us, 2 * SECOND);
        // It answers the first two late.
        assert_eq!(reporting.answered(2, 2 * SECOND + 5), Some(SECOND + 5));
        assert_eq!(reporting.answered(1, 2 * SECOND + 5), None);
        assert_eq!(reporting.begin(3 * SECOND).unwrap().unanswered_us, SECOND, "of the third");
    }

    #[test]
    fn answers_to_nothing_count_as_nothing() {
        let mut reporting = Reporting::default();
        assert_eq!(reporting.answered(0, 1), None);
        reporting.begin(0).unwrap();
        for number in [0, 2, u32::MAX] {
            assert_eq!(reporting.answered(number, 1), None);
        }
        assert_eq!(reporting.begin(SECOND).unwrap().round_trip, None);
    }

    #[test]
    fn a_gateway_that_never_answers_costs_no_memory() {
        let mut reporting = Reporting::default();
        let last = (0..1000).map(|second| reporting.begin(second * SECOND).unwrap()).last().unwrap();
        assert_eq!((last.number, last.unanswered_us), (1000, 999 * SECOND));
        assert_eq!(reporting.unanswered.len(), MAX_UNANSWERED);
    }

    #[test]
    fn a_report_that_cannot_be_sent_is_put_off() {
        let mut reporting = Reporting::default();
        reporting.postpone(SECOND);
        assert_eq!(reporting.begin(SECOND), None);
        assert_eq!(reporting.begin(2 * SECOND).unwrap().number, 1);
    }
}
