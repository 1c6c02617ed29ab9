//! [`Fence`]: ends the handles of an epoch, all at once.
//!
//! The businessworker makes one for each epoch and gives it to the handles of the epoch's events;
//! `gateway.rs` looks at it before each call. An application only sees [`Error::Fenced`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::Error;

/// Refuses the calls of handles whose epoch is over: their events may have been given to another worker by
/// then, or are given again.
#[derive(Debug, Default)]
pub struct Fence {
    is_over: AtomicBool,
    refused: AtomicU64,
}

impl Fence {
    /// The fence of an epoch that lives.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the epoch. Calls that begin afterwards fail.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Whether the epoch is over.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Returns how many calls were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Lets a call begin, unless the epoch is over.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_over() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Fenced);
        }
        Ok(())
    }
}
