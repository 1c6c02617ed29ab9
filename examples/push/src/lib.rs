//! What a web shop tells its customers' browsers.
//!
//! The browsers hold a WebSocket to a gateway; the shop's backend, which is this
//! program, never sees it. It says *to whom*, and the gateways know where that is.

use gatewayworker_client::{AskError, ClientId, Delivery, Error, Gateway};
use serde_json::{Value, json};

/// The backend's side of it. One for the whole process: it holds a link to each
/// gateway, and a clone of it is the same links.
#[derive(Debug, Clone)]
pub struct Shop {
    gateway: Gateway,
}

/// How many customers there are, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Online {
    /// So many.
    Exactly(usize),
    /// Not all gateways answered; so many are with those that did.
    AtLeast(usize),
}

impl Shop {
    /// A shop whose customers are at the gateways of `gateway`.
    pub fn new(gateway: Gateway) -> Self {
        Self { gateway }
    }

    /// A page has posted the client id that its gateway gave it, with the cookie that
    /// says who is logged in. From now on its connection is that user's, and hears of
    /// offers. Nothing but that cookie may say which uid it is.
    ///
    /// # Errors
    /// When no gateway is there.
    pub async fn logged_in(&self, page: ClientId, uid: &str) -> Result<(), Error> {
        self.check(self.gateway.bind_uid(page, uid).await?);
        self.check(self.gateway.join_group(page, "offers").await?);
        Ok(())
    }

    /// Tells one user, on every page and device that they have open.
    ///
    /// # Errors
    /// When no gateway is there.
    pub async fn shipped(&self, uid: &str, order: u64) -> Result<(), Error> {
        let text = format!("Your order {order} is on its way");
        self.check(self.gateway.send_to_uid([uid], notice(&text)).await?);
        Ok(())
    }

    /// Tells everybody who wants to hear of offers.
    ///
    /// # Errors
    /// When no gateway is there.
    pub async fn offer(&self, text: &str) -> Result<(), Error> {
        self.check(self.gateway.send_to_group(["offers"], notice(text)).await?);
        Ok(())
    }

    /// Tells everybody.
    ///
    /// # Errors
    /// When no gateway is there.
    pub async fn announce(&self, text: &str) -> Result<(), Error> {
        self.check(self.gateway.send_to_all(notice(text)).await?);
        Ok(())
    }

    /// How many customers are logged in and here.
    ///
    /// # Errors
    /// When no gateway is there.
    pub async fn online(&self) -> Result<Online, Error> {
        match self.gateway.uids_by_group("offers").await {
            Ok(uids) => Ok(Online::Exactly(uids.len())),
            // A part is never passed off as the whole; whether it will do is for the
            // application to say. Here it will.
            Err(AskError::Incomplete { partial, missing }) => {
                eprintln!("{} gateways did not answer", missing.len());
                Ok(Online::AtLeast(partial.len()))
            }
            Err(AskError::NotAsked(error)) => Err(error),
        }
    }

    /// The others have got it. What these customers missed is in the shop's database,
    /// and their pages ask for it when they connect again: a push is a hint that there
    /// is something new, not where it is kept.
    fn check(&self, delivery: Delivery) {
        for (gateway, why) in delivery.unreached {
            eprintln!("the customers at gateway {gateway} were not reached: {why}");
        }
    }
}

/// As the chat's page shows it.
fn notice(text: &str) -> Value {
    json!({"type": "system", "message": text})
}
