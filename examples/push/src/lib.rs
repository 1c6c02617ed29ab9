//! A web shop's backend that pushes messages to its customers' browsers.
//!
//! A browser holds a WebSocket to a gateway, and the backend has no part in this connection. The backend names the
//! recipients, a user or a group, and the gateways know their clients.

use gatewayworker_client::{AskError, ClientId, Delivery, Error, Gateway};
use serde_json::{Value, json};

/// The shop. One per process: it holds a link to each gateway, and its clones share these links.
#[derive(Debug, Clone)]
pub struct Shop {
    gateway: Gateway,
}

/// The number of customers, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Online {
    /// The exact number.
    Exactly(usize),
    /// A lower bound: not all gateways have answered.
    AtLeast(usize),
}

impl Shop {
    /// Returns a shop that pushes through `gateway`.
    pub fn new(gateway: Gateway) -> Self {
        Self { gateway }
    }

    /// Binds a page's client to its user, and lets it receive offers. Call it when a page has posted its client id. The uid
    /// must come from the page's login (its cookie), and from nothing else in the request.
    ///
    /// # Errors
    /// No gateway is connected.
    pub async fn logged_in(&self, page: ClientId, uid: &str) -> Result<(), Error> {
        self.check(self.gateway.bind_uid(page, uid).await?);
        self.check(self.gateway.join_group(page, "offers").await?);
        Ok(())
    }

    /// Sends a notice to one user, on all their pages and devices.
    ///
    /// # Errors
    /// No gateway is connected.
    pub async fn shipped(&self, uid: &str, order: u64) -> Result<(), Error> {
        let text = format!("Your order {order} is on its way");
        self.check(self.gateway.send_to_uid([uid], notice(&text)).await?);
        Ok(())
    }

    /// Sends a notice to all who receive offers.
    ///
    /// # Errors
    /// No gateway is connected.
    pub async fn offer(&self, text: &str) -> Result<(), Error> {
        self.check(self.gateway.send_to_group(["offers"], notice(text)).await?);
        Ok(())
    }

    /// Sends a notice to all clients.
    ///
    /// # Errors
    /// No gateway is connected.
    pub async fn announce(&self, text: &str) -> Result<(), Error> {
        self.check(self.gateway.send_to_all(notice(text)).await?);
        Ok(())
    }

    /// Counts the customers who are logged in and online.
    ///
    /// # Errors
    /// No gateway is connected.
    pub async fn online(&self) -> Result<Online, Error> {
        match self.gateway.uids_by_group("offers").await {
            Ok(uids) => Ok(Online::Exactly(uids.len())),
            // The library marks an incomplete answer, and the application decides whether it is enough. Here it is.
            Err(AskError::Incomplete { partial, missing, .. }) => {
                eprintln!("{} gateways did not answer", missing.len());
                Ok(Online::AtLeast(partial.len()))
            }
            Err(AskError::NotAsked(error)) => Err(error),
        }
    }

    /// Logs the gateways that a message has not reached. Their customers find it in the shop's database when their pages
    /// connect again: a push only tells that there is something new.
    fn check(&self, delivery: Delivery) {
        for (gateway, why) in delivery.unreached {
            eprintln!("the customers at gateway {gateway} were not reached: {why}");
        }
    }
}

/// A message that the chat's page can show.
fn notice(text: &str) -> Value {
    json!({"type": "system", "message": text})
}
