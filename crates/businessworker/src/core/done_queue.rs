//! The events of one epoch that are done, until the gateway is told so.
//!
//! The gateway counts the events of a client: "one of client 7" is always the first that it waits for.
//! So where one event of a client has to wait, those of the same client behind it wait too. Plain data;
//! `done` in the worker fills it when a handler has ended, and tells what it takes out.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddrV4;

use gatewayworker_protocol::EventCounts;

/// Why the gateway is not told yet that an event is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// What the handler said to other gateways is not written yet: nothing that was pushed before this
    /// mark may be missing. The worker numbers its marks.
    Unwritten(u64),
    /// The handler's words to these gateways met dead links.
    DeadLinks {
        /// The gateways.
        gateways: Box<[SocketAddrV4]>,
        /// When it is told nevertheless, in milliseconds.
        until_ms: u64,
    },
}

/// The events of one epoch that are done.
#[derive(Debug, Default)]
pub struct DoneQueue {
    /// What may be told, in the order in which it was done.
    ready: Vec<(u32, u32)>,
    /// The number of events in `ready`.
    events: u32,
    /// What may not be told yet, likewise; `None` waits for an earlier event of its client only.
    held: VecDeque<(u32, Option<Hold>)>,
    /// The clients in `held`.
    waiting: BTreeSet<u32>,
}

impl DoneQueue {
    /// Notes that an event of a client is done; `hold` says what has to happen before the gateway is
    /// told. Returns the number of events that can be told.
    pub fn push(&mut self, connection_id: u32, hold: Option<Hold>) -> u32 {
        self.settle(connection_id, hold);
        self.events
    }

    fn settle(&mut self, connection_id: u32, hold: Option<Hold>) {
        if hold.is_some() || self.waiting.contains(&connection_id) {
            self.waiting.insert(connection_id);
            self.held.push_back((connection_id, hold));
        } else {
            self.ready(connection_id);
        }
    }

    fn ready(&mut self, connection_id: u32) {
        self.events += 1;
        match self.ready.last_mut() {
            Some((last, events)) if *last == connection_id => *events += 1,
            _ => self.ready.push((connection_id, 1)),
        }
    }

    /// Releases the events for which `is_over` says that they need not be held any more.
    pub fn release(&mut self, mut is_over: impl FnMut(&Hold) -> bool) {
        self.waiting.clear();
        for (connection_id, mut hold) in std::mem::take(&mut self.held) {
            if hold.as_ref().is_some_and(&mut is_over) {
                hold = None;
            }
            self.settle(connection_id, hold);
        }
    }

    /// Whether events are held.
    pub fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether there are events that can be told.
    pub fn has_ready(&self) -> bool {
        self.events > 0
    }

    /// Takes what can be told; `None` where that is nothing.
    pub fn take(&mut self) -> Option<EventCounts> {
        self.events = 0;
        (!self.ready.is_empty()).then(|| EventCounts(std::mem::take(&mut self.ready)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_client_behind_each_other_are_one_entry() {
        let mut done = DoneQueue::default();
        for client in [1, 1, 2, 1] {
            done.push(client, None);
        }
        assert_eq!(done.take(), Some(EventCounts(vec![(1, 2), (2, 1), (1, 1)])));
        assert_eq!(done.take(), None);
    }

    #[test]
    fn an_event_that_is_held_holds_those_of_its_client_behind_it_and_no_others() {
        let mut done = DoneQueue::default();
        done.push(1, Some(Hold::Unwritten(7)));
        done.push(1, None);
        assert_eq!(done.push(2, None), 1);
        assert_eq!(done.take(), Some(EventCounts(vec![(2, 1)])));
        done.release(|_| false);
        assert!(done.has_held() && !done.has_ready());
        done.release(|hold| *hold == Hold::Unwritten(7));
        assert_eq!(done.take(), Some(EventCounts(vec![(1, 2)])));
    }

    #[test]
    fn a_later_event_is_not_told_before_an_earlier_one_that_is_held_for_longer() {
        let mut done = DoneQueue::default();
        let dead = Hold::DeadLinks { gateways: Box::new([]), until_ms: 9 };
        done.push(1, Some(dead.clone()));
        done.push(1, Some(Hold::Unwritten(1)));
        done.push(2, Some(Hold::Unwritten(1)));
        done.release(|hold| *hold == Hold::Unwritten(1));
        assert_eq!(done.take(), Some(EventCounts(vec![(2, 1)])));
        done.release(|hold| *hold == dead);
        assert_eq!(done.take(), Some(EventCounts(vec![(1, 2)])));
        assert!(!done.has_held());
    }
}
