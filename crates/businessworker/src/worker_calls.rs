//! The calls on the [`Gateway`] handle that only a worker makes, in one place: answers to
//! handshakes, and what its event links learn of gateways.

use std::net::SocketAddrV4;

use bytes::Bytes;
use gatewayworker_client::{ClientId, Delivery, Error, Gateway, OutMessage};
use gatewayworker_protocol::Features;

/// Tells a client's gateway that the client is admitted.
pub(crate) async fn admit(gateway: &Gateway, id: ClientId) -> Result<Delivery, Error> {
    gateway.admit_client(id).await
}

/// Tells a client's gateway to close the client, which is refused.
pub(crate) async fn refuse(
    gateway: &Gateway,
    id: ClientId,
    message: Option<OutMessage>,
    code: u16,
) -> Result<Delivery, Error> {
    gateway.refuse_client(id, message, code).await
}

/// Notes what a gateway can do; nothing beyond the original, when its event link ends.
pub(crate) fn note_features(gateway: &Gateway, address: SocketAddrV4, features: Features) {
    gateway.bus().set_passes_on(address, features.channel);
    gateway.set_takes_large_frames(address, features.large_frames);
}

/// Hands what a worker has published to the application's subscribers.
pub(crate) fn deliver_published(gateway: &Gateway, topic: Bytes, payload: Bytes) {
    gateway.bus().hear(topic, payload);
}
