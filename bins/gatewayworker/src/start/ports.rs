//! The listeners that the supervisor holds for a daemon, so that connections wait while
//! one process of it takes another's place, and none is lost.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;

/// By the key that the configuration has for each.
#[derive(Debug, Default)]
pub(crate) struct Ports(Mutex<HashMap<String, (SocketAddr, TcpListener)>>);

impl Ports {
    /// The listener for `key`, which is opened unless it is, at that address, already.
    ///
    /// # Errors
    /// When it cannot be opened.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn open(&self, key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
        let mut held = self.held();
        if let Some((_, listener)) = held.get(key).filter(|(at, _)| *at == address) {
            return listener.try_clone().with_context(|| format!("{key}: {address}"));
        }
        let listener = gatewayworker_daemon::bind(key, address)?.into_std()?;
        let theirs = listener.try_clone()?;
        held.insert(key.to_owned(), (address, listener));
        Ok(theirs)
    }

    /// Lets go of all: they close with the process that has them.
    pub(super) fn close(&self) {
        self.held().clear();
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, (SocketAddr, TcpListener)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_stays_open_for_the_next_process_and_a_port_in_use_is_named() {
        let ports = Ports::default();
        let any = "127.0.0.1:0".parse().unwrap();
        let first = ports.open("http_listen", any).unwrap();
        let address = first.local_addr().unwrap();
        drop(first);
        assert_eq!(ports.open("http_listen", any).unwrap().local_addr().unwrap(), address);
        let refused = Ports::default().open("http_listen", address).unwrap_err().to_string();
        assert!(refused.contains("http_listen") && refused.contains("in use"), "{refused}");
        ports.close();
        Ports::default().open("http_listen", address).unwrap();
    }
}
