//! The events of one epoch that are done, until the gateway is told so.
//!
//! The gateway counts the events of a client: "one of client 7" is always the first that it waits for.
//! So where one event of a client has to wait, those of the same client behind it wait too. Plain data;
//! the event queues fill it when a handler has ended, and `done` in the worker tells what it takes out.

use std::collections::{BTreeSet, VecDeque};

/// So many events are told at once, and wait no longer for others.
const ENOUGH: u32 = 64;

/// The events of one epoch that are done.
#[derive(Debug, Default)]
pub struct DoneQueue {
    /// What may be told, in the order in which it was done.
    ready: Vec<(u32, u32)>,
    /// The number of events in `ready`.
    events: u32,
    /// What may not be told yet, likewise: the number of its hold, or `None` where it waits for an
    /// earlier event of its client only.
    held: VecDeque<(u32, Option<u64>)>,
    /// The clients in `held`.
    waiting: BTreeSet<u32>,
    /// Somebody tells soon what is in here: the reader of the link, or a timer.
    is_attended: bool,
}

/// When the gateway is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// Now: enough has come together.
    Now,
    /// Within a few milliseconds, by whoever the caller asks to.
    Soon,
    /// By the one who was asked before.
    Attended,
}

impl DoneQueue {
    /// Notes that an event of a client is done, and says when the gateway is to be told. Where something
    /// has to happen before, `hold` is its number.
    pub fn push(&mut self, connection_id: u32, hold: Option<u64>) -> Tell {
        self.settle(connection_id, hold);
        if self.events >= ENOUGH {
            Tell::Now
        } else if std::mem::replace(&mut self.is_attended, true) {
            Tell::Attended
        } else {
            Tell::Soon
        }
    }

    fn settle(&mut self, connection_id: u32, hold: Option<u64>) {
        if hold.is_some() || self.waiting.contains(&connection_id) {
            self.waiting.insert(connection_id);
            self.held.push_back((connection_id, hold));
            return;
        }
        self.events += 1;
        match self.ready.last_mut() {
            Some((last, events)) if *last == connection_id => *events += 1,
            _ => self.ready.push((connection_id, 1)),
        }
    }

    /// Releases the events whose hold `is_over`.
    pub fn release(&mut self, is_over: impl Fn(u64) -> bool) {
        self.waiting.clear();
        for (connection_id, hold) in std::mem::take(&mut self.held) {
            self.settle(connection_id, hold.filter(|hold| !is_over(*hold)));
        }
    }

    /// Notes that the caller tells soon what comes until then.
    pub fn attend(&mut self) {
        self.is_attended = true;
    }

    /// Notes that the caller [attends](Self::attend) no more, unless events are held: then it goes on, and
    /// looks again after a while.
    pub fn leave(&mut self) {
        self.is_attended = !self.held.is_empty();
    }

    /// Gives what can be told to `tell`, if that is anything: connections, and how many events of each.
    pub fn take(&mut self, tell: impl FnOnce(&[(u32, u32)])) {
        self.events = 0;
        if !self.ready.is_empty() {
            tell(&self.ready);
            self.ready.clear();
        }
    }

    /// Whether events are held.
    pub fn has_held(&self) -> bool {
        !self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(done: &mut DoneQueue) -> Vec<(u32, u32)> {
        let mut taken = Vec::new();
        done.take(|counts| taken.extend_from_slice(counts));
        done.leave();
        taken
    }

    #[test]
    fn events_of_one_client_behind_each_other_are_one_entry() {
        let mut done = DoneQueue::default();
        for client in [1, 1, 2, 1] {
            done.push(client, None);
        }
        assert_eq!(take(&mut done), [(1, 2), (2, 1), (1, 1)]);
        assert_eq!(take(&mut done), []);
    }

    #[test]
    fn an_event_that_is_held_holds_those_of_its_client_behind_it_and_no_others() {
        let mut done = DoneQueue::default();
        done.push(1, Some(7));
        done.push(1, None);
        done.push(2, None);
        assert_eq!(take(&mut done), [(2, 1)]);
        done.release(|_| false);
        assert!(done.has_held());
        assert_eq!(take(&mut done), []);
        done.release(|hold| hold == 7);
        assert_eq!(take(&mut done), [(1, 2)]);
    }

    #[test]
    fn a_later_event_is_not_told_before_an_earlier_one_that_is_held_for_longer() {
        let mut done = DoneQueue::default();
        for (client, hold) in [(1, 1), (1, 2), (2, 2)] {
            done.push(client, Some(hold));
        }
        done.release(|hold| hold == 2);
        assert_eq!(take(&mut done), [(2, 1)]);
        done.release(|hold| hold == 1);
        assert_eq!(take(&mut done), [(1, 2)]);
        assert!(!done.has_held());
    }

    #[test]
    fn one_who_tells_is_asked_once_and_many_events_are_told_at_once() {
        let mut done = DoneQueue::default();
        assert_eq!(done.push(1, None), Tell::Soon);
        assert_eq!(done.push(2, None), Tell::Attended);
        take(&mut done);
        assert_eq!(done.push(1, None), Tell::Soon);
        take(&mut done);
        done.attend();
        for client in 1..64 {
            assert_eq!(done.push(client, None), Tell::Attended);
        }
        assert_eq!(done.push(64, None), Tell::Now);
        done.take(|counts| assert_eq!(counts.len(), 64));
        assert_eq!(done.push(65, None), Tell::Attended, "as before");
    }
}
