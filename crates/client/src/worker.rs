//! The handle of a businessworker: for all that an application may not do.
//!
//! `gatewayworker_businessworker` holds a [`WorkerHandle`] and gives its application
//! [`Gateway`]s made from it. An application needs nothing from this module.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use gatewayworker_net::LinkConnector;
use gatewayworker_protocol::{ClientId, Command, EventCounts, Pairing, SecretKey, encode_done};
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use crate::call_connection::CallLinkEnd;
#[cfg(feature = "otel")]
pub use crate::call_spans::CallObserver;
pub use crate::event_calls::{EventCalls, Written, WrittenMark};
use crate::federation::Federation;
pub use crate::fence::Fence;
pub use crate::gateway_list::follow_gateways;
use crate::link::Link;
pub use crate::link::QuestionObserver;
pub use crate::session_observer::SessionObserver;
use crate::{Delivery, Error, Gateway, GatewayBuilder, Liveness, OutMessage, Unreached};

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
    announces_names: bool,
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

    /// Whether the gateway tells which groups and uids it may have, and this worker is to ask for it. No by
    /// default.
    #[must_use]
    pub fn with_interest(mut self, can: bool) -> Self {
        self.announces_names = can;
        self
    }
}

impl WorkerBuilder {
    /// Sets the key of the cluster; none by default.
    pub fn secret_key(mut self, key: SecretKey) -> Self {
        self.builder = self.builder.secret_key(key);
        self
    }

    /// Connects to gateways by `connector`. See [`GatewayBuilder::link_tls`] and
    /// [`GatewayBuilder::unix_links`].
    pub fn connector(mut self, connector: LinkConnector) -> Self {
        self.builder = self.builder.connector(connector);
        self
    }

    /// Sets how long a question may take; 5 seconds by default. See
    /// [`GatewayBuilder::question_timeout`].
    pub fn question_timeout(mut self, limit: Duration) -> Self {
        self.builder = self.builder.question_timeout(limit);
        self
    }

    /// Sets the id of the worker process, which its event links say too; 0 by default.
    pub fn process(mut self, id: u64) -> Self {
        self.builder = self.builder.process(id);
        self
    }

    /// Sets how gateways that are frozen or gone are noticed; see [`Liveness`] for the defaults.
    pub fn liveness(mut self, liveness: Liveness) -> Self {
        self.builder = self.builder.liveness(liveness);
        self
    }

    /// Sets whether sends to groups and uids, and questions about them, leave gateways out that say that they have none;
    /// true by default.
    pub fn interest(mut self, interest: bool) -> Self {
        self.builder = self.builder.offered_interest(interest);
        self
    }

    /// Sets the runtime of the interest links; by default the one in which the handle is connected. A gateway's first joins
    /// wait for what is done there, so nothing may block it.
    pub fn interest_runtime(mut self, runtime: Handle) -> Self {
        self.builder = self.builder.interest_runtime(runtime);
        self
    }

    /// Adds to `counter` each gateway that a send to groups or uids, or a question about them, leaves out; no counter by
    /// default.
    pub fn left_out_counter(mut self, counter: Option<Arc<AtomicU64>>) -> Self {
        self.builder = self.builder.left_out_counter(counter);
        self
    }

    /// Reaches the clients of other clusters, too. See [`GatewayBuilder::federation`].
    pub fn federation(mut self, federation: Option<Arc<dyn Federation>>) -> Self {
        self.builder = self.builder.federation(federation);
        self
    }

    /// Tells `observer` of every session that is written through the handle and through
    /// every [`Gateway`] made from it.
    pub fn observer(mut self, observer: Arc<dyn SessionObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Tells `observer` of each question that a gateway is asked through the handle and through every
    /// [`Gateway`] made from it; nobody by default.
    pub fn question_observer(mut self, observer: Option<QuestionObserver>) -> Self {
        self.builder = self.builder.question_observer(observer);
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
        WorkerBuilder { builder: Gateway::following(addresses).offered_interest(true), observer: None }
    }

    /// The application's handle.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// An application's handle, also for the handler of one event. `observer` is told of its session
    /// writes too; it may have [`EventCalls`], and a [`Fence`]: when that is over, each call fails with
    /// [`Error::Fenced`] and sends nothing.
    pub fn gateway_observed_by(&self, observer: Arc<dyn SessionObserver>) -> Gateway {
        self.gateway.observed_by(observer)
    }

    /// Lets `observer` see the calls that are made through the handle and through every [`Gateway`] made from it,
    /// from now on. The first one stays.
    #[cfg(feature = "otel")]
    pub fn observe_calls(&self, observer: impl FnOnce() -> Arc<dyn CallObserver>) {
        self.gateway.observe_calls(observer);
    }

    /// Attaches the call link to an epoch, which the gateway has named on the event link. Says before
    /// that `on_close` has run for the clients with the connections in `closed`.
    ///
    /// What is returned tells when that connection has ended, and with it the epoch. An attached
    /// connection is never attached again: if it is one of an earlier epoch, it is closed here, and
    /// the caller has to begin anew, behind [`Gateway::connected`].
    ///
    /// # Errors
    /// When the call link is not connected, or is attached already.
    pub fn attach(
        &self,
        gateway: SocketAddrV4,
        pairing: Pairing,
        closed: &[u32],
    ) -> Result<CallLinkEnd, Unreached> {
        self.link(gateway)?.attach(pairing, closed)
    }

    /// Calls `hear` whenever something of the gateway is read on the call link of an epoch, from now on.
    /// It is told whether these bytes have come since the read before: there was nothing more to read then.
    ///
    /// It is called by whoever reads, must not wait, and must not use the handle.
    ///
    /// # Errors
    /// When the call link is not attached to that epoch any more.
    pub fn listen(
        &self,
        gateway: SocketAddrV4,
        epoch: u32,
        hear: impl Fn(bool) + Send + Sync + 'static,
    ) -> Result<(), Unreached> {
        self.link(gateway)?.listen(epoch, hear)
    }

    /// Closes the call link of an epoch at once, if it is still there. What waits to be written is
    /// lost. The next connection belongs to no epoch.
    pub fn end_call_link(&self, gateway: SocketAddrV4, epoch: u32) {
        if let Ok(link) = self.link(gateway) {
            link.end_epoch(epoch);
        }
    }

    /// Says that events of an epoch are done: connections, and how many events of each. It goes behind
    /// all commands that were given to the call link before. A full outbox refuses it not. It is written
    /// soon, not at once.
    ///
    /// # Errors
    /// When the call link is not attached to that epoch any more.
    pub fn tell_done(
        &self,
        gateway: SocketAddrV4,
        epoch: u32,
        counts: &[(u32, u32)],
    ) -> Result<(), Unreached> {
        self.link(gateway)?.tell_in_epoch(epoch, |out| encode_done(epoch, counts, out))
    }

    /// Gives events of an epoch back that were not finished, as [`tell_done`](Self::tell_done) says
    /// that others are done. The first of each client may have been handled in part where it `is_begun`; the others were
    /// not begun.
    ///
    /// # Errors
    /// When the call link is not attached to that epoch any more.
    pub fn tell_return(
        &self,
        gateway: SocketAddrV4,
        epoch: u32,
        counts: EventCounts,
        is_begun: bool,
    ) -> Result<(), Unreached> {
        self.link(gateway)?
            .tell_in_epoch(epoch, |out| Command::Return { epoch, counts, is_begun }.encode(out))
    }

    /// Gives each attached call link a sign of life. Waits for nothing, and may be called from a
    /// thread outside of the runtime: it writes even while the runtime's threads are held up.
    pub fn ping_links(&self) {
        self.gateway.links().all().values().for_each(|link| link.ping());
    }

    /// Returns how many questions wait for the answers of gateways: those of handlers, and of every [`Gateway`] made from
    /// this handle.
    pub fn waiting_questions(&self) -> usize {
        self.gateway.links().all().values().map(|link| link.waiting_questions()).sum()
    }

    /// Whether the call link to `gateway` takes commands at the moment.
    pub fn is_connected(&self, gateway: SocketAddrV4) -> bool {
        self.link(gateway).is_ok_and(|link| link.is_live())
    }

    /// Whether something waits to be written on the call link to `gateway`: what is told now leaves with it.
    pub fn has_unwritten(&self, gateway: SocketAddrV4) -> bool {
        self.link(gateway).is_ok_and(|link| link.has_unwritten())
    }

    /// Whether there is a call link to `gateway`, connected or not: a register lists the gateway, or
    /// the link stands nevertheless.
    pub fn has_link(&self, gateway: SocketAddrV4) -> bool {
        self.link(gateway).is_ok()
    }

    fn link(&self, gateway: SocketAddrV4) -> Result<Arc<Link>, Unreached> {
        self.gateway.links().read().get(&gateway).cloned().ok_or(Unreached::NotKnown)
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
            link.set_announces_names(features.announces_names);
        }
    }

    /// Passes an event that came over an event link to the subscribers of the
    /// [`Bus`](crate::bus::Bus). Copies it.
    pub fn deliver_published(&self, topic: &[u8], payload: &[u8]) {
        self.gateway.bus().deliver(topic, payload);
    }
}
