//! [`SharedNames`]: what a process knows of the names of clusters, for all of its tasks.
//!
//! `shared.rs` asks it for each send to groups or uids; `following_names.rs` keeps it up to date. What is known is decided in `core/names`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::core::KnownNames;

/// The names of clusters.
#[derive(Debug, Default)]
pub(crate) struct SharedNames {
    known: RwLock<KnownNames>,
    /// This process sends to names: until then it does not want to know everything.
    is_used: AtomicBool,
}

impl SharedNames {
    pub(crate) fn known(&self) -> RwLockReadGuard<'_, KnownNames> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn known_mut(&self) -> RwLockWriteGuard<'_, KnownNames> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that this process sends to names.
    pub(crate) fn note_use(&self) {
        if !self.is_used() {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }
}
