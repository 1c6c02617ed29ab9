//! The state of the bus: the gateways that pass events on, and the subscribers here.
//!
//! A worker's event links write it, by way of [`WorkerHandle`](crate::worker::WorkerHandle);
//! [`Bus`](crate::bus::Bus) reads it. It sends nothing itself.

use std::net::SocketAddrV4;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::broadcast;

/// How many events may wait for a subscriber that is slow to take them.
const MAX_WAITING: usize = 1024;

/// An event that some worker has published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The topic that it was published under.
    pub topic: Bytes,
    /// The content.
    pub payload: Bytes,
}

/// The gateways that pass events on, and the subscribers of this process.
#[derive(Debug)]
pub(crate) struct BusState {
    /// In the order in which they have come. The first one passes on all events for as long as
    /// it is there, so that they stay in order.
    gateways: RwLock<Vec<SocketAddrV4>>,
    subscribers: broadcast::Sender<Published>,
}

impl Default for BusState {
    fn default() -> Self {
        Self { gateways: RwLock::default(), subscribers: broadcast::Sender::new(MAX_WAITING) }
    }
}

impl BusState {
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Published> {
        self.subscribers.subscribe()
    }

    /// Passes an event to the subscribers.
    pub(crate) fn deliver(&self, topic: &[u8], payload: &[u8]) {
        if self.subscribers.receiver_count() == 0 {
            return;
        }
        // Copied: the event shares its memory with all that was read from the link with it.
        let (topic, payload) = (Bytes::copy_from_slice(topic), Bytes::copy_from_slice(payload));
        let _ = self.subscribers.send(Published { topic, payload });
    }

    /// Notes whether a gateway passes events on.
    pub(crate) fn set_passes_on(&self, gateway: SocketAddrV4, passes_on: bool) {
        let mut gateways = self.gateways.write().unwrap_or_else(PoisonError::into_inner);
        let known = gateways.contains(&gateway);
        if passes_on && !known {
            gateways.push(gateway);
        } else if !passes_on {
            gateways.retain(|other| *other != gateway);
        }
    }

    /// The gateways that pass events on, in the order in which to try them.
    pub(crate) fn gateways(&self) -> Vec<SocketAddrV4> {
        self.gateways.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_to_one_gateway_for_as_long_as_it_is_there() {
        let bus = BusState::default();
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
    fn a_slow_subscriber_misses_the_oldest_events() {
        let bus = BusState::default();
        bus.deliver(b"t", b"before anybody listens");
        let mut heard = bus.subscribe();
        for n in 0..MAX_WAITING + 2 {
            bus.deliver(b"t", n.to_string().as_bytes());
        }
        assert_eq!(heard.try_recv(), Err(broadcast::error::TryRecvError::Lagged(2)));
        assert_eq!(heard.try_recv().unwrap().payload, "2");
    }
}
