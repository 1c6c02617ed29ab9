//! Names in a client's session that say what is to happen when the client leaves.
//!
//! A worker may end before its clients do, and another worker gets their closes. So the names are in
//! the session, which outlives the worker. They are written *at once*, before the action that is to
//! be undone, and not after the handler as other changes of a session are: if the worker is killed
//! in between, there is a name too many, and none is missing.

use std::collections::BTreeMap;

use gatewayworker_businessworker::{Client, SessionError};
use gatewayworker_client::Error;
use serde_json::json;

/// A set of names in a client's session, for example of things to delete when the client leaves. In
/// PHP it is an array whose keys are the names.
#[derive(Debug, Clone, Copy)]
pub struct SessionNames {
    key: &'static str,
}

const CONTROLLERS: SessionNames = SessionNames::under("_controllers");

impl SessionNames {
    /// The names under `key` of the session.
    pub const fn under(key: &'static str) -> Self {
        Self { key }
    }

    /// Adds a name. When this returns, the command is on its way to the client's gateway.
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

    /// Removes a name, and returns whether it was there. It is written with the session, after the
    /// handler.
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

/// Makes the router call the handler of `controller` ([`Router::on_leave`](crate::Router::on_leave))
/// when this client leaves, in whichever worker gets the close.
///
/// # Errors
/// When the session cannot be read or the client's gateway cannot be reached.
pub async fn add_controller(client: &Client, controller: &str) -> Result<(), Error> {
    CONTROLLERS.add(client, controller).await
}

/// Removes a controller that was added, and returns whether it was there.
///
/// # Errors
/// When the session cannot be read.
pub fn remove_controller(client: &Client, controller: &str) -> Result<bool, SessionError> {
    CONTROLLERS.remove(client, controller)
}

/// The controllers of this client, in alphabetical order.
///
/// # Errors
/// When the session cannot be read.
pub fn controllers(client: &Client) -> Result<Vec<String>, SessionError> {
    CONTROLLERS.all(client)
}
