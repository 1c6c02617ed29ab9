//! [`UseMark`]: whether anything follows a table of the worker's file.
//!
//! The stock worker follows all tables. An application of one's own follows `[events]` and `[client_calls]` only where it
//! makes its handlers from them. What it makes sets the mark of the table, and `run` warns of a table without one. Nothing
//! else depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether anything follows the settings that contain it. Clones of the settings share it; it is no setting itself, so any
/// two are equal.
#[derive(Debug, Clone, Default)]
pub(crate) struct UseMark(Arc<AtomicBool>);

impl UseMark {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for UseMark {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for UseMark {}
