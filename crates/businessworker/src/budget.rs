//! What events may still cost together.
//!
//! A semaphore would do; but it takes a lock for each permit that is given back, and
//! here nobody ever waits, until the application is far behind.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// An amount that is taken from, given back to, and waited for.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicUsize,
    given_back: Notify,
}

impl Budget {
    pub(crate) fn new(amount: usize) -> Self {
        Self { left: AtomicUsize::new(amount), given_back: Notify::new() }
    }

    /// Takes `amount`, once there is so much left. Returns whether it had to wait for that.
    ///
    /// Cancel safe: nothing is taken then. Not fair: a small amount may overtake a
    /// large one.
    pub(crate) async fn take(&self, amount: usize) -> bool {
        let mut waited = false;
        while !self.try_take(amount) {
            let given_back = self.given_back.notified();
            tokio::pin!(given_back);
            given_back.as_mut().enable();
            // It may have come back before anybody listened.
            if self.try_take(amount) {
                return waited;
            }
            given_back.await;
            waited = true;
        }
        waited
    }

    fn try_take(&self, amount: usize) -> bool {
        let taken = |left: usize| left.checked_sub(amount);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken).is_ok()
    }

    pub(crate) fn give_back(&self, amount: usize) {
        self.left.fetch_add(amount, Ordering::SeqCst);
        self.given_back.notify_waiters();
    }

    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }
}
