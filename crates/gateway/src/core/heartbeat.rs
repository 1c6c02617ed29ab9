//! When a silent client is pinged, and when it is closed.
//!
//! Plain data: the rules ([`Heartbeat::due`]), and a [`TimerQueue`] of the clients, in which
//! each stands once and moves only when its time has come. Nothing here pings or closes:
//! `silence` does.

use std::collections::BTreeMap;
use std::time::Duration;

/// The rules, from `ping_interval`, `ping_not_response_limit`, `ping_data`.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    interval_ms: u64,
    limit: u32,
    pings: bool,
}

/// What is to be done about a client, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Ping(u64),
    Close(u64),
}

impl Due {
    pub(crate) fn at_ms(self) -> u64 {
        let (Self::Ping(at) | Self::Close(at)) = self;
        at
    }
}

impl Heartbeat {
    /// `None` where silence never means anything.
    pub fn new(interval: Duration, limit: u32, pings: bool) -> Option<Self> {
        let interval_ms = interval.as_millis() as u64;
        (interval_ms > 0 && (pings || limit > 0)).then_some(Self { interval_ms, limit, pings })
    }

    /// What is due next for a client that has been silent since `silent_since_ms` and was sent
    /// `pings` since then. It is closed half an interval after the last ping that may go
    /// unanswered.
    pub(crate) fn due(&self, silent_since_ms: u64, pings: u32) -> Due {
        let close_at = silent_since_ms + self.interval_ms * u64::from(self.limit) + self.interval_ms / 2;
        if self.limit > 0 && (!self.pings || pings >= self.limit) {
            Due::Close(close_at)
        } else {
            Due::Ping(silent_since_ms + self.interval_ms * (u64::from(pings) + 1))
        }
    }

    /// How exact its times are: a hundredth of the interval, so that a ping is that much late
    /// at most, and the clients that are due at about the same time are looked at together.
    pub(crate) fn tick(&self) -> Duration {
        Duration::from_millis((self.interval_ms / 100).clamp(5, 500))
    }
}

/// Keys by the time at which they are due. Times are put into buckets of one tick.
#[derive(Debug)]
pub(crate) struct TimerQueue<K> {
    tick_ms: u64,
    buckets: BTreeMap<u64, Vec<K>>,
}

impl<K> TimerQueue<K> {
    pub(crate) fn new(tick: Duration) -> Self {
        Self { tick_ms: (tick.as_millis() as u64).max(1), buckets: BTreeMap::new() }
    }

    pub(crate) fn insert(&mut self, at_ms: u64, key: K) {
        self.buckets.entry(at_ms.div_ceil(self.tick_ms)).or_default().push(key);
    }

    /// When the next bucket is due, in ms.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.buckets.first_key_value().map(|(tick, _)| tick * self.tick_ms)
    }

    /// Takes out the next bucket whose time has come.
    pub(crate) fn pop_due(&mut self, now_ms: u64) -> Option<Vec<K>> {
        let first = self.buckets.first_entry()?;
        (*first.key() <= now_ms / self.tick_ms).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(limit: u32, pings: bool) -> Heartbeat {
        Heartbeat::new(Duration::from_secs(55), limit, pings).unwrap()
    }

    #[test]
    fn a_silent_client_is_pinged_at_55_s_and_closed_at_82_5_s() {
        let beat = heartbeat(1, true);
        assert_eq!(beat.due(0, 0), Due::Ping(55_000));
        assert_eq!(beat.due(0, 1), Due::Close(82_500));
    }

    #[test]
    fn with_a_limit_of_two_it_is_closed_half_an_interval_after_the_second_ping() {
        let beat = heartbeat(2, true);
        assert_eq!(beat.due(1000, 1), Due::Ping(111_000));
        assert_eq!(beat.due(1000, 2), Due::Close(1000 + 137_500));
    }

    #[test]
    fn without_a_limit_it_is_pinged_for_ever() {
        assert_eq!(heartbeat(0, true).due(0, 9), Due::Ping(550_000));
    }

    #[test]
    fn without_data_it_is_only_closed() {
        assert_eq!(heartbeat(1, false).due(0, 0), Due::Close(82_500));
        assert!(Heartbeat::new(Duration::from_secs(55), 0, false).is_none());
        assert!(Heartbeat::new(Duration::ZERO, 1, true).is_none());
    }

    #[test]
    fn the_timer_queue_gives_out_each_key_once_and_none_early() {
        let mut queue = TimerQueue::new(Duration::from_millis(10));
        for at in [25, 30, 7] {
            queue.insert(at, at);
        }
        assert_eq!(queue.next_ms(), Some(10));
        assert_eq!(queue.pop_due(9), None);
        assert_eq!(queue.pop_due(10), Some(vec![7]));
        assert_eq!(queue.pop_due(29), None);
        assert_eq!(queue.pop_due(31), Some(vec![25, 30]));
        assert_eq!(queue.pop_due(1000), None);
    }
}
