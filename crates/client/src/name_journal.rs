//! [`NameJournal`]: what gateways have announced since somebody looked last.
//!
//! `link/interest.rs` writes it, and `federation/cluster_names.rs` reads it in the one worker that tells other clusters which groups and
//! uids its own has. Where nobody follows it, nothing is written.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gatewayworker_protocol::interest::{FilterPiece, InterestUpdate, Name};
use tokio::sync::Notify;

/// So many names of a gateway are kept. Beyond that the reader reads the gateway's whole filter.
const MAX_NAMES: usize = 16 * 1024;

/// What a gateway has announced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// These names, which are in its filter now.
    Names(Vec<Name>),
    /// Another filter, or more names than are kept.
    Filter,
}

/// The announcements of all gateways of a handle.
#[derive(Debug, Default)]
pub(crate) struct NameJournal {
    is_followed: AtomicBool,
    announced: Mutex<BTreeMap<SocketAddrV4, Announced>>,
    changed: Notify,
}

impl NameJournal {
    /// Begins to keep what gateways announce, or ends it.
    pub(crate) fn set_followed(&self, is_followed: bool) {
        self.is_followed.store(is_followed, Ordering::Relaxed);
        self.lock().clear();
    }

    /// What is to be noted of an update, once it is in the view.
    pub(crate) fn prepare(&self, update: &InterestUpdate) -> Option<Announced> {
        if !self.is_followed.load(Ordering::Relaxed) {
            return None;
        }
        match update {
            InterestUpdate::Names { names, .. } => Some(Announced::Names(names.clone())),
            InterestUpdate::Filter(FilterPiece { len, offset, bits, .. }) => {
                let is_whole = u64::from(*offset) + bits.len() as u64 >= u64::from(*len);
                is_whole.then_some(Announced::Filter)
            }
            InterestUpdate::Grant { .. } => None,
        }
    }

    /// Notes what is in the view of a gateway now. Call it before the gateway is told so.
    pub(crate) fn note(&self, gateway: SocketAddrV4, announced: Announced) {
        let mut all = self.lock();
        match (all.get_mut(&gateway), announced) {
            (Some(Announced::Filter), _) => {}
            (Some(Announced::Names(names)), Announced::Names(more))
                if names.len() + more.len() <= MAX_NAMES =>
            {
                names.extend(more);
            }
            (None, announced @ Announced::Names(_)) => drop(all.insert(gateway, announced)),
            _ => drop(all.insert(gateway, Announced::Filter)),
        }
        drop(all);
        self.changed.notify_one();
    }

    /// Takes what was announced.
    pub(crate) fn take(&self) -> BTreeMap<SocketAddrV4, Announced> {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until something is announced.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddrV4, Announced>> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: u64) -> Announced {
        Announced::Names((0..count).map(Name::from_bits).collect())
    }

    #[test]
    fn names_are_kept_until_they_are_too_many_or_another_filter_comes() {
        let (gateway, other) = (([10, 0, 0, 1], 1), ([10, 0, 0, 1], 2));
        let [gateway, other] = [gateway, other].map(|(ip, port)| SocketAddrV4::new(ip.into(), port));
        let journal = NameJournal::default();
        journal.note(gateway, names(1));
        journal.note(gateway, names(MAX_NAMES as u64 - 1));
        journal.note(other, names(3));
        journal.note(other, Announced::Filter);
        journal.note(other, names(3));
        let taken = journal.take();
        assert!(matches!(&taken[&gateway], Announced::Names(names) if names.len() == MAX_NAMES));
        assert_eq!(taken[&other], Announced::Filter);
        journal.note(gateway, names(1));
        journal.note(gateway, names(MAX_NAMES as u64));
        assert_eq!(journal.take()[&gateway], Announced::Filter);
        assert!(journal.take().is_empty());
    }

    #[test]
    fn nothing_is_kept_where_nobody_follows_and_a_filter_only_when_it_is_whole() {
        let journal = NameJournal::default();
        let update = InterestUpdate::Names { version: 1, names: vec![Name::from_bits(1)] };
        assert_eq!(journal.prepare(&update), None);
        journal.set_followed(true);
        assert_eq!(journal.prepare(&update), Some(Announced::Names(vec![Name::from_bits(1)])));
        let piece = |offset| FilterPiece { version: 1, len: 8, offset, bits: vec![0; 4].into() };
        assert_eq!(journal.prepare(&InterestUpdate::Filter(piece(0))), None);
        assert_eq!(journal.prepare(&InterestUpdate::Filter(piece(4))), Some(Announced::Filter));
    }
}
