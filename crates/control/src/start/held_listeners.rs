//! The listeners that the supervisor holds for a daemon, so that connections wait in their queue while one process
//! of it takes the place of another, and none is lost. `child_reader.rs` opens them when a child asks;
//! `supervisor.rs` closes those that no process wants any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;

/// The name of the setting that has a listener's address, and the address.
pub(super) type ListenerKey = (String, SocketAddr);

/// The listeners of one daemon.
#[derive(Debug, Default)]
pub(super) struct HeldListeners(Mutex<BTreeMap<ListenerKey, TcpListener>>);

impl HeldListeners {
    /// Returns a handle of the listener; opens it first if it is not held.
    ///
    /// # Errors
    /// When it cannot be opened.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn open(&self, wanted: &ListenerKey) -> anyhow::Result<TcpListener> {
        let mut held = self.held();
        let (key, address) = wanted;
        if let Some(listener) = held.get(wanted) {
            return listener.try_clone().with_context(|| format!("{key}: {address}"));
        }
        let listener = gatewayworker_daemon::bind(key, *address)?.into_std()?;
        let handle = listener.try_clone()?;
        held.insert(wanted.clone(), listener);
        Ok(handle)
    }

    /// Closes the listeners that are not `wanted`. Each stays open in the processes that have it, and closes with
    /// the last of them.
    pub(super) fn keep_only(&self, wanted: &BTreeSet<ListenerKey>) {
        self.held().retain(|key, _| wanted.contains(key));
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<ListenerKey, TcpListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_stays_open_for_the_next_process_and_a_port_in_use_is_named() {
        let held = HeldListeners::default();
        let any = ("http.listen".to_owned(), "127.0.0.1:0".parse().unwrap());
        let first = held.open(&any).unwrap();
        let address = first.local_addr().unwrap();
        drop(first);
        assert_eq!(held.open(&any).unwrap().local_addr().unwrap(), address);
        let same = ("http.listen".to_owned(), address);
        let refused = HeldListeners::default().open(&same).unwrap_err().to_string();
        assert!(refused.contains("http.listen") && refused.contains("in use"), "{refused}");
        held.keep_only(&BTreeSet::from([any]));
        assert!(HeldListeners::default().open(&same).is_err());
        held.keep_only(&BTreeSet::from([same.clone()]));
        HeldListeners::default().open(&same).unwrap();
    }
}
