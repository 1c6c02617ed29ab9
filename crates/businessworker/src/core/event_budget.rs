//! The budget of events: a bound on the memory of all events that wait or run.
//!
//! Each event has a cost. It is reserved before the event enters its client's queue and
//! given back when the event's handler has ended. Nothing waits in here: where the budget
//! does not suffice, [`EventBudget::try_reserve`] says so, and the caller reads no more
//! from its gateway until something was given back.
//!
//! A semaphore would do; but it takes a lock for each permit that is given back, and
//! here nobody ever waits, until the application is far behind.

use std::sync::atomic::{AtomicIsize, Ordering};

/// An amount that is reserved from and given back to, by several threads.
#[derive(Debug)]
pub struct EventBudget {
    /// Below zero where more was [charged](EventBudget::charge) than was left.
    left: AtomicIsize,
    total: usize,
}

impl EventBudget {
    /// A budget of `total`, roughly in bytes.
    pub fn new(total: usize) -> Self {
        let total = total.min(isize::MAX as usize);
        Self { left: AtomicIsize::new(total as isize), total }
    }

    /// Reserves `cost`; false where so much is not left, and then nothing is reserved.
    ///
    /// A cost above the total counts as the total, so that a large event gets its turn
    /// once it has the budget for itself.
    pub fn try_reserve(&self, cost: usize) -> bool {
        let cost = self.bounded(cost);
        let reserve = |left: isize| (left >= cost).then(|| left - cost);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, reserve).is_ok()
    }

    /// Takes `cost` whether or not so much is left: where it is not, nothing is reserved until enough was
    /// given back.
    pub fn charge(&self, cost: usize) {
        self.left.fetch_sub(self.bounded(cost), Ordering::SeqCst);
    }

    /// Gives back a cost that was reserved.
    pub fn give_back(&self, cost: usize) {
        self.left.fetch_add(self.bounded(cost), Ordering::SeqCst);
    }

    fn bounded(&self, cost: usize) -> isize {
        cost.min(self.total) as isize
    }

    /// Returns whether everything was given back.
    pub fn is_whole(&self) -> bool {
        self.left.load(Ordering::SeqCst) == self.total as isize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserves_no_more_than_there_is() {
        let budget = EventBudget::new(10);
        assert!(budget.try_reserve(6));
        assert!(!budget.try_reserve(6));
        assert!(budget.try_reserve(4));
        budget.give_back(6);
        assert!(budget.try_reserve(6));
        budget.give_back(6);
        budget.give_back(4);
        assert!(budget.is_whole());
    }

    #[test]
    fn what_is_charged_beyond_the_budget_is_given_back_before_anything_is_reserved() {
        let budget = EventBudget::new(10);
        assert!(budget.try_reserve(6));
        budget.charge(8);
        budget.give_back(6);
        assert!(!budget.try_reserve(3));
        assert!(budget.try_reserve(2));
        budget.give_back(8);
        budget.give_back(2);
        assert!(budget.is_whole());
    }

    #[test]
    fn a_cost_above_the_total_takes_all_of_it() {
        let budget = EventBudget::new(10);
        assert!(budget.try_reserve(100));
        assert!(!budget.try_reserve(1));
        budget.give_back(100);
        assert!(budget.is_whole());
    }
}
