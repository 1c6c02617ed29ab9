//! The reasons for which the register closes or refuses a connection, with their counts for the metrics.
//!
//! `server` and `connection` give the reason; `metrics` reads the counts.

use gatewayworker_daemon::Counter;

/// The reason for which the register closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RejectReason {
    /// `max_connections` or `max_unauthenticated` is reached.
    Full,
    /// The peer has not shown the key in time.
    NoIntroduction,
    /// Its key is not the cluster's.
    WrongKey,
    /// It announces an address that cannot be one.
    BadAddress,
    /// A line is no JSON object with an event.
    BadRequest,
    /// A line has an event that no peer sends.
    UnknownEvent,
    /// A line lacks a key that its event needs.
    BadEvent,
    /// A line is too long.
    LineTooLong,
    /// It has pinged before, and is silent.
    Silent,
    /// It does not read the lists that it is sent.
    SlowReader,
}

/// Each reason with its name, in the order of the enum.
const NAMES: [(RejectReason, &str); 10] = [
    (RejectReason::Full, "full"),
    (RejectReason::NoIntroduction, "no-introduction"),
    (RejectReason::WrongKey, "wrong-key"),
    (RejectReason::BadAddress, "bad-address"),
    (RejectReason::BadRequest, "bad-request"),
    (RejectReason::UnknownEvent, "unknown-event"),
    (RejectReason::BadEvent, "bad-event"),
    (RejectReason::LineTooLong, "line-too-long"),
    (RejectReason::Silent, "silent"),
    (RejectReason::SlowReader, "slow-reader"),
];

/// How many connections were closed, by reason.
#[derive(Debug, Default)]
pub(crate) struct Rejections([Counter; NAMES.len()]);

impl Rejections {
    pub(crate) fn count(&self, reason: RejectReason) {
        self.0[reason as usize].count();
    }

    /// Returns the number of each reason, by its name.
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.iter().zip(&self.0).map(|((_, name), count)| (*name, count.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_count_and_a_name_of_its_own() {
        let rejections = Rejections::default();
        for (n, (reason, _)) in (1..).zip(NAMES) {
            assert_eq!(reason as usize + 1, n);
            (0..n).for_each(|_| rejections.count(reason));
        }
        assert!(rejections.by_reason().map(|(_, count)| count).eq(1..=NAMES.len() as u64));
        let names: std::collections::BTreeSet<_> = rejections.by_reason().map(|(name, _)| name).collect();
        assert_eq!(names.len(), NAMES.len());
    }
}
