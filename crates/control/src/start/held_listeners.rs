//! The listeners that the supervisor holds for a daemon, so that connections wait while
//! one process of it takes another's place, and none is lost.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;

/// What a listener is for, as the configuration calls it, and its address.
pub(super) type ListenerKey = (String, SocketAddr);

/// The listeners.
#[derive(Debug, Default)]
pub(crate) struct HeldListeners(Mutex<HashMap<ListenerKey, TcpListener>>);

impl HeldListeners {
    /// The listener, which is opened unless it is already.
    ///
    /// # Errors
    /// When it cannot be opened.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn open(&self, port: &ListenerKey) -> anyhow::Result<TcpListener> {
        let mut held = self.held();
        let (key, address) = port;
        if let Some(listener) = held.get(port) {
            return listener.try_clone().with_context(|| format!("{key}: {address}"));
        }
        let listener = gatewayworker_daemon::bind(key, *address)?.into_std()?;
        let theirs = listener.try_clone()?;
        held.insert(port.clone(), listener);
        Ok(theirs)
    }

    /// Lets go of those that are not `wanted`: they close with the process that has them.
    /// Nobody would accept what comes to them.
    pub(super) fn keep_only(&self, wanted: &HashSet<ListenerKey>) {
        self.held().retain(|port, _| wanted.contains(port));
    }

    fn held(&self) -> MutexGuard<'_, HashMap<ListenerKey, TcpListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_stays_open_for_the_next_process_and_a_port_in_use_is_named() {
        let ports = HeldListeners::default();
        let any = ("http_listen".to_owned(), "127.0.0.1:0".parse().unwrap());
        let first = ports.open(&any).unwrap();
        let address = first.local_addr().unwrap();
        drop(first);
        assert_eq!(ports.open(&any).unwrap().local_addr().unwrap(), address);
        let same = ("http_listen".to_owned(), address);
        let refused = HeldListeners::default().open(&same).unwrap_err().to_string();
        assert!(refused.contains("http_listen") && refused.contains("in use"), "{refused}");
        ports.keep_only(&HashSet::from([any]));
        assert!(HeldListeners::default().open(&same).is_err());
        ports.keep_only(&HashSet::from([same.clone()]));
        HeldListeners::default().open(&same).unwrap();
    }
}
