//! Claims: a process says which names it is about to join, before it says anything else to other clusters.
//!
//! The announcing worker tells the same a little later, over another connection. A claim goes over the connection of what is sent next,
//! so it is there first.
//!
//! - [`PendingClaims`]: what this process has still to claim,
//! - [`Claims`]: what was claimed for a cluster.

use std::collections::{BTreeMap, BTreeSet};

use gatewayworker_client::ClusterName;
use gatewayworker_protocol::interest::Name;

/// A claim counts for twice that at most, and for that at least, in ms: longer than a join waits for any subscriber of its gateway, so that the
/// announcing worker has told of it.
const CLAIM_MS: u64 = 10_000;

/// So many claims wait for the next send.
const MAX_PENDING: usize = 1_024;

/// So many claims are told apart for a cluster. With more it counts as having everything for a while.
const MAX_CLAIMS: usize = 64 * 1_024;

/// The names that this process has still to claim, for each cluster.
#[derive(Debug, Default)]
pub(crate) struct PendingClaims {
    claims: BTreeMap<ClusterName, Vec<Name>>,
    count: usize,
}

impl PendingClaims {
    /// Adds a name. Returns whether there are so many that they have to be said now.
    pub(crate) fn add(&mut self, cluster: &ClusterName, name: Name) -> bool {
        self.claims.entry(cluster.clone()).or_default().push(name);
        self.count += 1;
        self.count >= MAX_PENDING
    }

    /// Takes all.
    pub(crate) fn take(&mut self) -> BTreeMap<ClusterName, Vec<Name>> {
        std::mem::take(self).claims
    }
}

/// The names that were claimed for a cluster in the last seconds.
#[derive(Debug, Default)]
pub(super) struct Claims {
    recent: BTreeSet<Name>,
    older: BTreeSet<Name>,
    /// When the recent ones become the older ones.
    turn_ms: u64,
    everything_until_ms: u64,
}

impl Claims {
    pub(super) fn add(&mut self, names: impl IntoIterator<Item = Name>, now_ms: u64) {
        self.forget(now_ms);
        for name in names {
            if self.recent.len() < MAX_CLAIMS {
                self.recent.insert(name);
            } else {
                self.everything_until_ms = now_ms + CLAIM_MS;
            }
        }
    }

    pub(super) fn has(&self, name: Name, now_ms: u64) -> bool {
        now_ms < self.everything_until_ms || self.recent.contains(&name) || self.older.contains(&name)
    }

    /// Forgets what is old.
    pub(super) fn forget(&mut self, now_ms: u64) {
        if now_ms >= self.turn_ms {
            self.older = std::mem::take(&mut self.recent);
            self.turn_ms = now_ms + CLAIM_MS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_counts_for_ten_seconds_at_least_and_is_forgotten_in_the_end() {
        let mut claims = Claims::default();
        claims.add([Name::from_bits(1)], 9_999);
        claims.add([Name::from_bits(2)], 19_000);
        assert!(claims.has(Name::from_bits(1), 19_998));
        claims.forget(2 * CLAIM_MS);
        assert!(claims.has(Name::from_bits(1), 20_000));
        claims.forget(5 * CLAIM_MS);
        assert!(!claims.has(Name::from_bits(1), 50_000));
    }

    #[test]
    fn too_many_claims_are_a_claim_of_everything_for_a_while() {
        let mut claims = Claims::default();
        claims.add((0..=MAX_CLAIMS as u64).map(Name::from_bits), 0);
        assert!(claims.has(Name::from_bits(u64::MAX), CLAIM_MS - 1));
        assert!(!claims.has(Name::from_bits(u64::MAX), CLAIM_MS));
    }

    #[test]
    fn pending_claims_are_taken_once() {
        let cluster = "a".parse().unwrap();
        let mut pending = PendingClaims::default();
        assert!((1..MAX_PENDING as u64).all(|bits| !pending.add(&cluster, Name::from_bits(bits))));
        assert!(pending.add(&cluster, Name::from_bits(0)));
        assert_eq!(pending.take()[&cluster].len(), MAX_PENDING);
        assert!(pending.take().is_empty());
    }
}
