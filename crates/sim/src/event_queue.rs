//! What will happen, in the order of its time; what happens at one time keeps the order in which it was added.
//!
//! It has no clock: whoever takes an event out moves the simulated time on to that event's.

use std::collections::BTreeMap;

/// Events to come.
#[derive(Debug)]
pub(crate) struct EventQueue<E> {
    events: BTreeMap<(u64, u64), E>,
    sequence: u64,
}

/// The place of an event in the queue, to cancel it by.
pub(crate) type Ticket = (u64, u64);

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), sequence: 0 }
    }
}

impl<E> EventQueue<E> {
    /// Adds an event that happens at `at_ms`.
    pub(crate) fn push(&mut self, at_ms: u64, event: E) -> Ticket {
        self.sequence += 1;
        let ticket = (at_ms, self.sequence);
        self.events.insert(ticket, event);
        ticket
    }

    /// Adds an event that happens before all others of the time `at_ms`.
    pub(crate) fn push_first(&mut self, at_ms: u64, event: E) {
        self.events.insert((at_ms, 0), event);
    }

    /// Removes an event that has not happened.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.events.remove(&ticket);
    }

    /// Takes out the next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(u64, E)> {
        self.events.pop_first().map(|((at_ms, _), event)| (at_ms, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_adding() {
        let mut queue = EventQueue::default();
        queue.push(5, 'c');
        queue.push(1, 'a');
        let cancelled = queue.push(1, 'x');
        queue.push(5, 'd');
        queue.push(1, 'b');
        queue.cancel(cancelled);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [(1, 'a'), (1, 'b'), (5, 'c'), (5, 'd')]);
    }
}
