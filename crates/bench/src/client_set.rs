//! The clients of a round. A task polls each of them, and between two polls anybody may read all of them.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use crate::client::Client;

/// Clients that the tasks of a round share. The last task drops them.
#[derive(Clone)]
pub(crate) struct ClientSet(Rc<[Rc<RefCell<Client>>]>);

impl ClientSet {
    pub(crate) fn new(clients: Vec<Client>) -> Self {
        ClientSet(clients.into_iter().map(|client| Rc::new(RefCell::new(client))).collect())
    }

    /// Those of the same clients that `order` names by their places, in this order.
    ///
    /// # Panics
    /// There is no such client.
    pub(crate) fn ordered(&self, order: &[usize]) -> Self {
        ClientSet(order.iter().map(|&place| self.0[place].clone()).collect())
    }

    /// Borrows a client, for one poll.
    ///
    /// # Panics
    /// It is borrowed already.
    pub(crate) fn client(&self, index: usize) -> RefMut<'_, Client> {
        self.0[index].borrow_mut()
    }

    /// The number of clients.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many TCP segments with data all clients have received, if the system counts them.
    pub(crate) fn segments(&self) -> Option<u64> {
        self.0.iter().map(|client| client.borrow().segments().map(u64::from)).sum()
    }
}
