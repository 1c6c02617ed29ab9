//! The port through which the core reaches its clients' states.
//!
//! The worker keeps them in a concurrent map (`client_map.rs`), the simulator in a
//! [`BTreeMap`] on its one thread.

use std::cell::RefCell;
use std::collections::BTreeMap;

use gatewayworker_client::ClientId;

use super::client_state::ClientState;

/// A map from clients to their states, which returns at once.
///
/// An implementation keeps no state that [is empty](ClientState::is_empty), and calls
/// nothing but `change` while it has one borrowed or locked.
pub trait ClientTable {
    /// Changes the state of `id`, after adding one where there is none.
    fn upsert<R>(&self, id: ClientId, change: impl FnOnce(&mut ClientState) -> R) -> R;

    /// Changes the state of `id`; `None` where there is none.
    fn update<R>(&self, id: ClientId, change: impl FnOnce(&mut ClientState) -> R) -> Option<R>;

    /// Changes every state.
    fn update_all(&self, change: impl FnMut(ClientId, &mut ClientState));
}

/// The states in order of their ids, for one thread.
#[derive(Debug, Default)]
pub struct OrderedTable(RefCell<BTreeMap<ClientId, ClientState>>);

impl OrderedTable {
    /// Returns whether nothing is known of any client.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

impl ClientTable for OrderedTable {
    fn upsert<R>(&self, id: ClientId, change: impl FnOnce(&mut ClientState) -> R) -> R {
        let mut states = self.0.borrow_mut();
        let state = states.entry(id).or_default();
        let changed = change(state);
        if state.is_empty() {
            states.remove(&id);
        }
        changed
    }

    fn update<R>(&self, id: ClientId, change: impl FnOnce(&mut ClientState) -> R) -> Option<R> {
        let mut states = self.0.borrow_mut();
        let state = states.get_mut(&id)?;
        let changed = change(state);
        if state.is_empty() {
            states.remove(&id);
        }
        Some(changed)
    }

    fn update_all(&self, mut change: impl FnMut(ClientId, &mut ClientState)) {
        self.0.borrow_mut().retain(|id, state| {
            change(*id, state);
            !state.is_empty()
        });
    }
}
