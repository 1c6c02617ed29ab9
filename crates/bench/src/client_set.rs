//! The clients of a round: each is polled by its own task, and all can be looked at between two polls.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use crate::client::Client;

/// Shared by the tasks of a round; it goes with the last of them.
#[derive(Clone)]
pub(crate) struct ClientSet(Rc<[RefCell<Client>]>);

impl ClientSet {
    pub(crate) fn new(clients: Vec<Client>) -> Self {
        ClientSet(clients.into_iter().map(RefCell::new).collect())
    }

    /// One of them, for the length of a poll.
    pub(crate) fn client(&self, index: usize) -> RefMut<'_, Client> {
        self.0[index].borrow_mut()
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Segments with data that all of them have got, where the system says.
    pub(crate) fn segments(&self) -> Option<u64> {
        self.0.iter().map(|client| client.borrow().segments().map(u64::from)).sum()
    }
}
