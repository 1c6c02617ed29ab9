//! The arguments of all actions: the application's state, and the client that sends the request.
//!
//! The application makes them, and `Router` passes them to an action.

use std::sync::Arc;

use gatewayworker::Client;

use crate::auth::{Key, Ticket};
use crate::cleanup::Cleaner;
use crate::limiter::Limiter;
use crate::store::Store;

/// The state of the application.
pub(crate) struct State {
    pub(crate) key: Key,
    pub(crate) max_age: i64,
    pub(crate) max_text: usize,
    pub(crate) limiter: Limiter,
    pub(crate) cleaner: Cleaner,
    pub(crate) store: Arc<Store>,
}

/// The client of a request, with the ticket that it has shown.
pub(crate) struct Visitor {
    pub(crate) client: Client,
    pub(crate) user: Ticket,
}

impl AsRef<Client> for Visitor {
    fn as_ref(&self) -> &Client {
        &self.client
    }
}
