//! [`SharedNames`]: what a process knows of the names of clusters, and what it has to claim, for all of its tasks.
//!
//! `shared.rs` asks it for each send to groups or uids; `following_names.rs` keeps it up to date. What is known is decided in `core/names`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use gatewayworker_client::ClusterName;
use gatewayworker_protocol::interest::Name;

use crate::core::{KnownNames, PendingClaims};

/// The names of clusters.
#[derive(Debug, Default)]
pub(crate) struct SharedNames {
    known: RwLock<KnownNames>,
    /// This process sends to names or makes clients members of them: until then it does not want to know everything.
    is_used: AtomicBool,
    claims: Mutex<PendingClaims>,
    has_claims: AtomicBool,
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

    /// Notes that a client of this cluster is about to become a member. Returns whether there are so many claims that they have to be
    /// said now.
    pub(crate) fn note_join(&self, cluster: &ClusterName, name: Name, now_ms: u64) -> bool {
        self.note_use();
        if self.known().needs_no_claim(cluster, name, now_ms) {
            return false;
        }
        // It counts here from now on, so that it is claimed once.
        self.known_mut().claim(cluster, [name], now_ms);
        let is_full = self.claims.lock().unwrap_or_else(PoisonError::into_inner).add(cluster, name);
        self.has_claims.store(true, Ordering::Relaxed);
        is_full
    }

    /// Takes what is to be claimed, cluster by cluster.
    pub(crate) fn take_claims(&self) -> impl Iterator<Item = (ClusterName, Vec<Name>)> + use<> {
        let claims = self.has_claims.swap(false, Ordering::Relaxed);
        let claims = claims
            .then(|| self.claims.lock().unwrap_or_else(PoisonError::into_inner).take())
            .unwrap_or_default();
        claims.into_iter()
    }
}
