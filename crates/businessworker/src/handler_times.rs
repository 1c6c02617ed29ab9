//! How often handlers are called and how long they run, for the reports to gateways.
//!
//! `handler` counts; `reports` reads the totals once in some seconds, and a [`HandlerWindow`] makes the last minute of
//! them. A message costs nothing here: the stats count it anyway, and its handler's time is added only where the
//! clock, which the handler's limits need anyway, has moved meanwhile. So the sum is right on average.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gatewayworker_daemon::Counter;
use gatewayworker_protocol::report::HandlerTimes;

use crate::timings::{Handler, OF_EVENTS};

/// The times of each handler of an event, in the order of [`OF_EVENTS`].
type Times = [HandlerTimes; OF_EVENTS.len()];

/// For how long the window reaches back, in milliseconds.
const WINDOW_MS: u64 = 60_000;

/// The length of one of its slots, in milliseconds.
const SLOT_MS: u64 = 5_000;

/// What was counted since the worker started, by event.
#[derive(Debug, Default)]
pub(crate) struct HandlerTotals {
    handlers: [Totals; OF_EVENTS.len()],
}

#[derive(Debug, Default)]
struct Totals {
    /// The calls; not of messages, which are what is left of all events.
    calls: Counter,
    total_ms: AtomicU64,
    /// The longest since it was last read.
    max_ms: AtomicU64,
}

impl HandlerTotals {
    /// Counts a call, unless it is for a message. Of a handler of no event nothing is counted.
    #[inline]
    pub(crate) fn begun(&self, handler: Handler) {
        if handler != Handler::Message
            && let Some(totals) = self.handlers.get(handler as usize)
        {
            totals.calls.count();
        }
    }

    /// Notes how long a handler ran. Of a handler of no event nothing is noted.
    #[inline]
    pub(crate) fn ended(&self, handler: Handler, time: Duration) {
        let ms = time.as_millis() as u64;
        if ms == 0 {
            return;
        }
        if let Some(totals) = self.handlers.get(handler as usize) {
            totals.total_ms.fetch_add(ms, Ordering::Relaxed);
            totals.max_ms.fetch_max(ms, Ordering::Relaxed);
        }
    }

    /// Reads the totals; `events` is the number of all events that were handled. The longest times begin anew.
    pub(crate) fn read(&self, events: u64) -> Times {
        let mut times: Times = std::array::from_fn(|index| {
            let Totals { calls, total_ms, max_ms } = &self.handlers[index];
            HandlerTimes {
                count: calls.get(),
                total_ms: total_ms.load(Ordering::Relaxed),
                max_ms: max_ms.swap(0, Ordering::Relaxed),
            }
        });
        let others: u64 = times.iter().map(|times| times.count).sum();
        times[Handler::Message as usize].count = events.saturating_sub(others);
        times
    }
}

/// The last minute of the totals, or the time since the start. Plain data.
#[derive(Debug)]
pub(crate) struct HandlerWindow {
    /// The oldest first; never empty.
    slots: VecDeque<Slot>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    since_ms: u64,
    /// The totals when it began.
    before: Times,
    max_ms: [u64; OF_EVENTS.len()],
}

impl HandlerWindow {
    /// The window of a worker that starts now.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            slots: [Slot { since_ms: now_ms, before: Default::default(), max_ms: Default::default() }].into(),
        }
    }

    /// Takes the totals of now. Returns the difference to those of a minute ago, by event; events that did not happen
    /// are left out.
    pub(crate) fn advance(&mut self, totals: Times, now_ms: u64) -> BTreeMap<String, HandlerTimes> {
        let Some(last) = self.slots.back_mut() else { return BTreeMap::new() };
        for (max_ms, times) in last.max_ms.iter_mut().zip(totals) {
            *max_ms = (*max_ms).max(times.max_ms);
        }
        if now_ms.saturating_sub(last.since_ms) >= SLOT_MS {
            self.slots.push_back(Slot { since_ms: now_ms, before: totals, max_ms: Default::default() });
        }
        // The first slot begins a minute ago, or before that.
        while self.slots.get(1).is_some_and(|second| now_ms.saturating_sub(second.since_ms) >= WINDOW_MS) {
            self.slots.pop_front();
        }
        let times = |index: usize| {
            let before = self.slots[0].before[index];
            HandlerTimes {
                count: totals[index].count.saturating_sub(before.count),
                total_ms: totals[index].total_ms.saturating_sub(before.total_ms),
                max_ms: self.slots.iter().map(|slot| slot.max_ms[index]).max().unwrap_or_default(),
            }
        };
        let all = OF_EVENTS.iter().map(|handler| (handler.name().to_owned(), times(*handler as usize)));
        all.filter(|(_, times)| *times != HandlerTimes::default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn messages_are_what_is_left_of_all_events() {
        let totals = HandlerTotals::default();
        for handler in [Handler::Connect, Handler::Message, Handler::Close, Handler::WorkerStop] {
            totals.begun(handler);
        }
        totals.ended(Handler::Message, Duration::from_micros(900));
        totals.ended(Handler::Message, ms(4));
        totals.ended(Handler::Message, ms(8));
        totals.ended(Handler::WorkerStop, ms(8));
        let read = totals.read(10);
        assert_eq!(read.map(|times| times.count), [1, 0, 8, 1, 0, 0]);
        assert_eq!(read[2], HandlerTimes { count: 8, total_ms: 12, max_ms: 8 });
        assert_eq!(totals.read(10)[2].max_ms, 0, "the longest begins anew");
    }

    fn messages(count: u64, total_ms: u64, max_ms: u64) -> Times {
        let mut totals: Times = Default::default();
        totals[Handler::Message as usize] = HandlerTimes { count, total_ms, max_ms };
        totals
    }

    #[test]
    fn the_window_has_the_last_minute_and_forgets_what_was_before() {
        let mut window = HandlerWindow::new(1000);
        let mut at = |seconds: u64, totals| {
            let mut all = window.advance(totals, 1000 + seconds * 1000);
            assert!(all.len() <= 1, "other events did not happen");
            all.remove("on_message").unwrap_or_default()
        };
        assert_eq!(at(0, messages(0, 0, 0)), HandlerTimes::default());
        assert_eq!(at(1, messages(5, 300, 200)), HandlerTimes { count: 5, total_ms: 300, max_ms: 200 });
        for seconds in 2..=60 {
            assert_eq!(at(seconds, messages(5, 300, 0)).max_ms, 200, "{seconds} s");
        }
        assert_eq!(at(61, messages(7, 340, 30)).count, 7);
        // A slot of five seconds leaves as a whole.
        assert_eq!(at(66, messages(7, 340, 0)), HandlerTimes { count: 2, total_ms: 40, max_ms: 30 });
        assert_eq!(at(200, messages(7, 340, 0)), HandlerTimes::default());
    }

    #[test]
    fn the_window_keeps_few_slots() {
        let mut window = HandlerWindow::new(0);
        for at_ms in (0..600_000).step_by(100) {
            window.advance(messages(1, 1, 1), at_ms);
        }
        assert!(window.slots.len() <= 14, "{}", window.slots.len());
    }
}
