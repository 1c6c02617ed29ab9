//! Events between workers, by way of the gateways: what a `Channel` stands on.
//!
//! It is an extension between our own daemons. Only a worker has part in it, as only
//! its event link learns what a gateway can do and hears what is passed on; other
//! handles have nobody to publish to.

use std::net::SocketAddrV4;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use gatewayworker_protocol::Command;
use tokio::sync::broadcast;

use crate::{Error, Gateway};

/// How many events may wait for who is slow to take them.
const WAITING: usize = 1024;

/// The longest event that can be published, topic and payload, in bytes. With how
/// many may wait this bounds what they take.
pub const MAX_PUBLISHED: usize = 64 * 1024;

/// An event that some worker has published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What it is about.
    pub topic: Bytes,
    /// What it says.
    pub payload: Bytes,
}

/// Where a worker's links put what they hear, and its application takes it from.
#[derive(Debug)]
pub struct Bus {
    /// The gateways that pass events on, in the order in which they have come: the first
    /// is used for as long as it is there, so that what is published stays in order.
    gateways: RwLock<Vec<SocketAddrV4>>,
    heard: broadcast::Sender<Published>,
}

impl Default for Bus {
    fn default() -> Self {
        Self { gateways: RwLock::default(), heard: broadcast::Sender::new(WAITING) }
    }
}

impl Bus {
    /// Events from now on. Who takes them too slowly is told how many it has missed.
    pub fn subscribe(&self) -> broadcast::Receiver<Published> {
        self.heard.subscribe()
    }

    /// For a worker's event link: its gateway has passed an event on.
    pub fn hear(&self, topic: Bytes, payload: Bytes) {
        if self.heard.receiver_count() == 0 {
            return;
        }
        // Copied: it shares its memory with what was read together with it.
        let copy = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
        let _ = self.heard.send(Published { topic: copy(topic), payload: copy(payload) });
    }

    /// For a worker's event link: whether its gateway passes events on.
    pub fn set_passes_on(&self, gateway: SocketAddrV4, passes_on: bool) {
        let mut gateways = self.gateways.write().unwrap_or_else(PoisonError::into_inner);
        let known = gateways.contains(&gateway);
        if passes_on && !known {
            gateways.push(gateway);
        } else if !passes_on {
            gateways.retain(|other| *other != gateway);
        }
    }

    fn gateways(&self) -> Vec<SocketAddrV4> {
        self.gateways.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Gateway {
    /// Hands an event to one gateway, to be passed on to all workers, this one too.
    ///
    /// # Errors
    /// When it is longer than [`MAX_PUBLISHED`], or no gateway of ours is connected:
    /// the original's cannot pass it on, and outside of a worker there never is one.
    pub fn publish(&self, topic: impl Into<Bytes>, payload: impl Into<Bytes>) -> Result<(), Error> {
        let (topic, payload) = (topic.into(), payload.into());
        let len = topic.len() + payload.len();
        if len > MAX_PUBLISHED {
            return Err(Error::TooLarge { len, limit: MAX_PUBLISHED });
        }
        let frame = Command::Publish { topic, payload }.into_frame();
        let mut outcome = Err(Error::NoGateways);
        for gateway in self.bus().gateways() {
            let delivery = self.tell_one(gateway, &frame)?;
            let Some((gateway, why)) = delivery.unreached.first().copied() else { return Ok(()) };
            outcome = Err(Error::Unreached { gateway, why });
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gateway_is_kept_to_for_as_long_as_it_is_there() {
        let bus = Bus::default();
        let [one, other, third] =
            [2302, 2300, 2301].map(|port| SocketAddrV4::new([127, 0, 0, 1].into(), port));
        for gateway in [one, other, one, third] {
            bus.set_passes_on(gateway, true);
        }
        assert_eq!(bus.gateways(), [one, other, third]);
        bus.set_passes_on(one, false);
        bus.set_passes_on(one, true);
        assert_eq!(bus.gateways(), [other, third, one]);
    }

    #[test]
    fn who_is_slow_misses_the_oldest() {
        let bus = Bus::default();
        bus.hear("t".into(), "before anybody listens".into());
        let mut heard = bus.subscribe();
        for n in 0..WAITING + 2 {
            bus.hear("t".into(), n.to_string().into());
        }
        assert_eq!(heard.try_recv(), Err(broadcast::error::TryRecvError::Lagged(2)));
        assert_eq!(heard.try_recv().unwrap().payload, "2");
    }
}
