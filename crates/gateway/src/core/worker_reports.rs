//! What workers report about themselves with REPORT: read as often as it makes sense, and the last report of each kept.
//!
//! The link's task gives what has come to the link's [`ReportReader`] and keeps it in the worker's [`LastReport`], which
//! INSPECT shows. Nothing is decided by it: a report that is wrong harms nobody.

use std::sync::{Arc, Mutex, PoisonError};

use gatewayworker_protocol::report::Report;

/// The least time between two reports that are read, in milliseconds. Workers report every few seconds.
const MIN_INTERVAL_MS: u64 = 500;

/// Reads the reports of one link. One that comes too soon behind another is not read, so that a worker which reports
/// without a pause costs no more than its bytes.
#[derive(Debug, Default)]
pub(super) struct ReportReader {
    next_ms: u64,
    /// The number of the last report whose round trip is known.
    answered: u32,
}

/// A report that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct NewReport {
    /// The report.
    pub report: Report,
    /// A round trip that no report before has told, in microseconds.
    pub round_trip_us: Option<u64>,
}

/// A report is no JSON, or is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("REPORT that cannot be read")]
pub struct UnreadableReport;

impl ReportReader {
    /// Reads a report; `None` where it comes too soon.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(&mut self, body: &[u8], now_ms: u64) -> Result<Option<NewReport>, UnreadableReport> {
        if now_ms < self.next_ms {
            return Ok(None);
        }
        self.next_ms = now_ms + MIN_INTERVAL_MS;
        let report = Report::from_json(body).ok_or(UnreadableReport)?;
        let is_new = report.answered != std::mem::replace(&mut self.answered, report.answered);
        let round_trip_us = report.round_trip_us.filter(|_| is_new);
        Ok(Some(NewReport { report, round_trip_us }))
    }
}

/// The last report of a worker. Shared by the link's task, which writes it, and whoever answers an operator.
#[derive(Debug, Default)]
pub(super) struct LastReport(Mutex<Option<Arc<KeptReport>>>);

/// A report, and when it came.
#[derive(Debug)]
pub struct KeptReport {
    /// The report.
    pub report: Report,
    /// When it came, by the clock of the shards.
    pub at_ms: u64,
}

impl LastReport {
    pub(super) fn keep(&self, report: Report, now_ms: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::new(KeptReport { report, at_ms: now_ms }));
    }

    pub(super) fn get(&self) -> Option<Arc<KeptReport>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(answered: u32) -> Vec<u8> {
        Report { answered, round_trip_us: Some(300), ..Report::default() }.to_json()
    }

    #[test]
    fn a_report_that_comes_too_soon_is_not_read() {
        let mut reader = ReportReader::default();
        assert!(reader.read(&body(0), 1000).unwrap().is_some());
        for _ in 0..10_000 {
            assert_eq!(reader.read(&body(0), 1499), Ok(None));
        }
        assert!(reader.read(&body(0), 1500).unwrap().is_some());
    }

    #[test]
    fn a_round_trip_counts_once() {
        let mut reader = ReportReader::default();
        let mut told = |answered, at_ms| reader.read(&body(answered), at_ms).unwrap().unwrap().round_trip_us;
        assert_eq!(told(1, 0), Some(300));
        assert_eq!(told(1, 1000), None, "the same one again");
        assert_eq!(told(2, 2000), Some(300));
    }

    #[test]
    fn a_report_that_cannot_be_read_is_an_error_and_no_more_often_than_one_that_can() {
        let mut reader = ReportReader::default();
        assert_eq!(reader.read(b"no JSON", 0), Err(UnreadableReport));
        assert_eq!(reader.read(b"no JSON", 1), Ok(None));
        assert_eq!(reader.read(&vec![b' '; 1 << 20], 1000), Err(UnreadableReport));
    }
}
