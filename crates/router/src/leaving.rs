//! What is to happen when a client leaves, kept where it outlives a worker.
//!
//! A worker that ends takes its memory with it, and another one gets the client's close.
//! So what is to be done then stands in the client's session, and is written there *at
//! once* and before the deed that it undoes, rather than after the handler as other
//! changes of a session are: a worker killed in between has at worst noted too much.

use std::collections::BTreeMap;

use gatewayworker_businessworker::{Client, SessionError};
use gatewayworker_client::Error;
use serde_json::json;

/// Names that are kept in a client's session, each once: what is to be cleared away
/// when it leaves, say. In PHP it is an array with the names for keys.
#[derive(Debug, Clone, Copy)]
pub struct SessionNames {
    key: &'static str,
}

const CONTROLLERS: SessionNames = SessionNames::under("_controllers");

impl SessionNames {
    /// Those under `key` of the session.
    pub const fn under(key: &'static str) -> Self {
        Self { key }
    }

    /// Adds a name. When this returns, the client's gateway has been told.
    ///
    /// # Errors
    /// When the session cannot be read or the gateway cannot be reached.
    pub async fn add(&self, client: &Client, name: &str) -> Result<(), Error> {
        if self.names(client)?.contains_key(name) {
            return Ok(());
        }
        let delivery =
            client.gateway().update_session(client.id(), &json!({ self.key: { name: true } })).await?;
        match delivery.unreached.first() {
            None => Ok(()),
            Some(&(gateway, why)) => Err(Error::Unreached { gateway, why }),
        }
    }

    /// Takes a name away; whether it was there. Written with the session after the handler.
    ///
    /// # Errors
    /// When the session cannot be read.
    pub fn remove(&self, client: &Client, name: &str) -> Result<bool, SessionError> {
        let mut names = self.names(client)?;
        let removed = names.remove(name).is_some();
        if removed && names.is_empty() {
            client.session().remove(self.key)?;
        } else if removed {
            client.session().insert(self.key, names)?;
        }
        Ok(removed)
    }

    /// All names, in alphabetical order.
    ///
    /// # Errors
    /// When the session cannot be read.
    pub fn all(&self, client: &Client) -> Result<Vec<String>, SessionError> {
        Ok(self.names(client)?.into_keys().collect())
    }

    fn names(&self, client: &Client) -> Result<BTreeMap<String, bool>, SessionError> {
        Ok(client.session().get(self.key)?.unwrap_or_default())
    }
}

/// Has the handler that [`Router::on_leave`](crate::Router::on_leave) names `controller`
/// told when this client leaves, whichever worker that is at then.
///
/// # Errors
/// When the session cannot be read or the client's gateway cannot be reached.
pub async fn add_controller(client: &Client, controller: &str) -> Result<(), Error> {
    CONTROLLERS.add(client, controller).await
}

/// Has it not told any more; whether it would have been.
///
/// # Errors
/// When the session cannot be read.
pub fn remove_controller(client: &Client, controller: &str) -> Result<bool, SessionError> {
    CONTROLLERS.remove(client, controller)
}

/// Whoever is told when this client leaves, in alphabetical order.
///
/// # Errors
/// When the session cannot be read.
pub fn controllers(client: &Client) -> Result<Vec<String>, SessionError> {
    CONTROLLERS.all(client)
}
