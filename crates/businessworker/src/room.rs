//! Room for events: links wait here while the budget of events is used up, and are woken when something was
//! given back.
//!
//! `event_queues` calls it, and has the budget. Also the count by which it knows that somebody waits.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The links that wait for room.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Wakes them when there may be some,
    given_back: Notify,
    /// of which there are so many: mostly none, and then nobody is to be woken.
    waiting: AtomicUsize,
}

impl Room {
    /// Waits until `reserve` succeeds, which tries to reserve the budget for an event.
    ///
    /// Cancel safe: nothing is reserved then. Not fair: a small event may overtake a large one.
    pub(crate) async fn wait(&self, reserve: impl Fn() -> bool) {
        let _waits = Counted::new(&self.waiting);
        loop {
            let mut given_back = pin!(self.given_back.notified());
            given_back.as_mut().enable();
            // Something may have been given back before this began to listen.
            if reserve() {
                return;
            }
            given_back.await;
        }
    }

    /// Wakes the links that wait. The budget was given back before, in one order with the count: either it
    /// sees the link, or the link sees the budget.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.given_back.notify_waiters();
        }
    }
}

/// Counts one, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    pub(crate) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
