//! Events between workers, by way of the gateways: the base of `gatewayworker_channel`.
//!
//! An application uses a `Channel`, which also checks topics and calls handlers. The bus is
//! an extension between our own daemons, and only a worker takes part in it: only its event
//! links learn what a gateway can do, and receive what is passed on. Any other handle has no
//! gateway to publish to.

use bytes::Bytes;
use gatewayworker_protocol::Command;
use tokio::sync::broadcast;

pub use crate::bus_state::Published;
use crate::{Error, Gateway};

/// The longest event that can be published, topic and payload together, in bytes. With the
/// number of events that may wait for a subscriber, it bounds their memory.
pub const MAX_PUBLISHED: usize = 64 * 1024;

/// The bus that a handle has part in.
#[derive(Debug, Clone)]
pub struct Bus {
    gateway: Gateway,
}

impl Bus {
    /// The bus of this handle and its clones.
    pub fn of(gateway: &Gateway) -> Self {
        Self { gateway: gateway.clone() }
    }

    /// Returns the events from now on. A subscriber that is too slow learns how many it has
    /// missed.
    pub fn subscribe(&self) -> broadcast::Receiver<Published> {
        self.gateway.bus().subscribe()
    }

    /// Hands an event to one gateway, which passes it on to all workers, this one too.
    /// Waits for nothing.
    ///
    /// # Errors
    /// When the event is longer than [`MAX_PUBLISHED`], or no gateway of ours is connected:
    /// a gateway of the original cannot pass it on.
    pub fn publish(&self, topic: impl Into<Bytes>, payload: impl Into<Bytes>) -> Result<(), Error> {
        let (topic, payload) = (topic.into(), payload.into());
        let len = topic.len() + payload.len();
        if len > MAX_PUBLISHED {
            return Err(Error::TooLarge { len, limit: MAX_PUBLISHED });
        }
        let frame = Command::Publish { topic, payload }.into_frame();
        let mut outcome = Err(Error::NoGateways);
        for gateway in self.gateway.bus().gateways() {
            let delivery = self.gateway.tell_one(gateway, &frame)?;
            let Some((gateway, why)) = delivery.unreached.first().copied() else { return Ok(()) };
            outcome = Err(Error::Unreached { gateway, why });
        }
        outcome
    }
}
