//! [`DropReport`]: what to log about messages that were dropped: one line in ten seconds at most, however many there were.
//!
//! `federation.rs` asks it each second.

use std::fmt::Write;

/// The least time between two lines, in ms.
const INTERVAL_MS: u64 = 10_000;

/// Counters of dropped messages, by the reason.
pub(crate) type Dropped<const N: usize> = [(&'static str, u64); N];

/// Remembers what was reported of counters that only grow.
#[derive(Debug)]
pub(crate) struct DropReport<const N: usize> {
    reported: [u64; N],
    due_ms: u64,
}

impl<const N: usize> DropReport<N> {
    pub(crate) fn new() -> Self {
        Self { reported: [0; N], due_ms: 0 }
    }

    /// What was dropped since the last report, as "unsigned 3, stale 1"; `None` if nothing was, or if the last report is not ten seconds old.
    pub(crate) fn due(&mut self, dropped: Dropped<N>, now_ms: u64) -> Option<String> {
        if now_ms < self.due_ms {
            return None;
        }
        let mut text = String::new();
        for ((reason, count), reported) in dropped.into_iter().zip(&mut self.reported) {
            if count > *reported {
                let comma = if text.is_empty() { "" } else { ", " };
                // Writing to a text never fails.
                let _ = write!(text, "{comma}{reason} {}", count - *reported);
                *reported = count;
            }
        }
        if text.is_empty() {
            return None;
        }
        self.due_ms = now_ms + INTERVAL_MS;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_dropped_messages_makes_a_line_in_ten_seconds_with_their_number() {
        let mut report = DropReport::new();
        assert_eq!(report.due([("unsigned", 0), ("slow", 0)], 0), None);
        assert_eq!(report.due([("unsigned", 1), ("slow", 0)], 1_000).unwrap(), "unsigned 1");
        assert_eq!(report.due([("unsigned", 5_000), ("slow", 7)], 10_999), None);
        let line = report.due([("unsigned", 9_001), ("slow", 7)], 11_000);
        assert_eq!(line.unwrap(), "unsigned 9000, slow 7");
        assert_eq!(report.due([("unsigned", 9_001), ("slow", 7)], 30_000), None);
    }
}
