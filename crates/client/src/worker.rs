//! The handle of a businessworker: for all that an application may not do.
//!
//! `gatewayworker_businessworker` holds a [`WorkerHandle`] and gives its application
//! [`Gateway`]s made from it. An application needs nothing from this module.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use gatewayworker_protocol::{ClientId, Command, SecretKey};
use tokio::sync::watch;

pub use crate::gateway_list::follow_gateways;
pub use crate::session_observer::SessionObserver;
use crate::{Delivery, Error, Gateway, GatewayBuilder, OutMessage};

/// The worker's own handle. It shares its links with every [`Gateway`] made from it.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    gateway: Gateway,
}

/// Makes a [`WorkerHandle`].
#[must_use = "it does nothing until it is connected"]
pub struct WorkerBuilder {
    builder: GatewayBuilder,
    observer: Option<Arc<dyn SessionObserver>>,
}

/// The features of one gateway, as it has announced them on the event link. A gateway of the
/// original announces none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayFeatures {
    passes_events_on: bool,
    takes_large_frames: bool,
}

impl GatewayFeatures {
    /// Whether the gateway passes published events on. No by default.
    #[must_use]
    pub fn with_passing_events_on(mut self, can: bool) -> Self {
        self.passes_events_on = can;
        self
    }

    /// Whether the gateway takes frames of more than 10 MiB. No by default.
    #[must_use]
    pub fn with_large_frames(mut self, can: bool) -> Self {
        self.takes_large_frames = can;
        self
    }
}

impl WorkerBuilder {
    /// Sets the key of the cluster; none by default.
    pub fn secret_key(mut self, key: SecretKey) -> Self {
        self.builder = self.builder.secret_key(key);
        self
    }

    /// Sets how long a question may take; 5 seconds by default. See
    /// [`GatewayBuilder::question_timeout`].
    pub fn question_timeout(mut self, limit: Duration) -> Self {
        self.builder = self.builder.question_timeout(limit);
        self
    }

    /// Tells `observer` of every session that is written through the handle and through
    /// every [`Gateway`] made from it.
    pub fn observer(mut self, observer: Arc<dyn SessionObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Connects the handle in the background; see [`GatewayBuilder::connect`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(self) -> WorkerHandle {
        WorkerHandle { gateway: self.builder.gather_writes().connect_observed(self.observer) }
    }
}

impl WorkerHandle {
    /// A handle on the gateways in a list that the worker keeps, each `host:port`.
    pub fn builder(addresses: watch::Receiver<Vec<String>>) -> WorkerBuilder {
        WorkerBuilder { builder: Gateway::following(addresses), observer: None }
    }

    /// The application's handle.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// An application's handle whose session writes `observer` is told of too.
    pub fn gateway_observed_by(&self, observer: Arc<dyn SessionObserver>) -> Gateway {
        self.gateway.observed_by(observer)
    }

    /// Admits a client whose gateway waits for the answer to its handshake.
    ///
    /// # Errors
    /// None today; an unreached gateway is named in the [`Delivery`].
    pub async fn admit_client(&self, id: ClientId) -> Result<Delivery, Error> {
        self.gateway.tell_client(id, Command::Admit(id.connection_id())).await
    }

    /// Refuses a client: it gets a last message, if there is one, then a close frame with
    /// `code`. A gateway of the original closes without the code.
    ///
    /// # Errors
    /// When the message does not fit a frame.
    pub async fn refuse_client(
        &self,
        id: ClientId,
        message: Option<OutMessage>,
        code: u16,
    ) -> Result<Delivery, Error> {
        let message = message.map(OutMessage::into_payload);
        let command = Command::Refuse { connection_id: id.connection_id(), message, code };
        self.gateway.tell_client(id, command).await
    }

    /// Notes the features of a gateway. Call it with the default when the event link has ended.
    pub fn set_features(&self, gateway: SocketAddrV4, features: GatewayFeatures) {
        self.gateway.bus().set_passes_on(gateway, features.passes_events_on);
        if let Some(link) = self.gateway.links().all().get(&gateway) {
            link.set_takes_large_frames(features.takes_large_frames);
        }
    }

    /// Passes an event that came over an event link to the subscribers of the
    /// [`Bus`](crate::bus::Bus). Copies it.
    pub fn deliver_published(&self, topic: &[u8], payload: &[u8]) {
        self.gateway.bus().deliver(topic, payload);
    }
}
