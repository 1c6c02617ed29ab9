//! The concurrent map of the worker's clients, which links and handlers change from many
//! threads. What the states in it mean is the `core`'s business.

use dashmap::DashMap;
use foldhash::fast::RandomState;
use gatewayworker_client::worker::SessionObserver;
use gatewayworker_client::{ClientId, php};

use crate::core::{ClientState, ClientTable, Clients};

/// The states of clients, by id.
#[derive(Debug, Default)]
pub(crate) struct ClientMap(DashMap<ClientId, ClientState, RandomState>);

impl ClientMap {
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn has_written_session(&self, id: ClientId) -> bool {
        self.0.get(&id).is_some_and(|state| state.has_written_session())
    }
}

impl ClientTable for ClientMap {
    fn upsert<R>(&self, id: ClientId, change: impl FnOnce(&mut ClientState) -> R) -> R {
        change(self.0.entry(id).or_default().value_mut())
    }

    fn update<R>(&self, id: ClientId, change: impl FnOnce(&mut ClientState) -> R) -> Option<R> {
        let mut state = self.0.get_mut(&id)?;
        let changed = change(&mut state);
        if state.is_empty() {
            drop(state);
            self.0.remove_if(&id, |_, state| state.is_empty());
        }
        Some(changed)
    }

    fn update_all(&self, mut change: impl FnMut(ClientId, &mut ClientState)) {
        self.0.retain(|id, state| {
            change(*id, state);
            !state.is_empty()
        });
    }
}

/// Learns of sessions that were written through a handle.
impl SessionObserver for Clients<ClientMap> {
    fn session_replaced(&self, id: ClientId, bytes: &[u8]) {
        self.note_write(id, bytes);
    }

    fn session_merged(&self, id: ClientId, with: &php::Array) {
        self.note_merge(id, with);
    }
}
