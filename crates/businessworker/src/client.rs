//! The client whose event is being handled.

use std::net::SocketAddrV4;

use bytes::Bytes;
use gatewayworker_client::worker::WorkerHandle;
use gatewayworker_client::{
    ClientId, Delivery, Error, Gateway, GroupId, IdError, OutMessage, Sending, ToClient, Uid,
};
use gatewayworker_protocol::Origin;

use crate::Session;

/// The client whose event is being handled, and what is most often done to it.
///
/// A clone may outlive the handler; its [`Session`] then goes nowhere.
#[derive(Debug, Clone)]
pub struct Client {
    id: ClientId,
    origin: Origin,
    gateway: Gateway,
    session: Session,
}

impl Client {
    pub(crate) fn new(origin: Origin, worker: &WorkerHandle, session: Bytes) -> Self {
        let id = ClientId::new(origin.gateway, origin.connection_id);
        let session = Session::new(id, session);
        Self { id, origin, gateway: worker.gateway_observed_by(session.observer()), session }
    }

    /// Its name throughout the cluster.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Its address, or `None` where it came over IPv6, which the protocol has no
    /// room for: see [`Handshake::remote_addr`](crate::Handshake::remote_addr).
    ///
    /// Behind a proxy that its gateway trusts it is the person's; the port is 0 where the
    /// proxy does not say it.
    pub fn remote_addr(&self) -> Option<SocketAddrV4> {
        let address = self.origin.client;
        (!address.ip().is_unspecified()).then_some(address)
    }

    /// The port that it connected to.
    pub fn gateway_port(&self) -> u16 {
        self.origin.gateway_port
    }

    /// What may be done to any client. What it writes into this client's session
    /// shows in [`session`](Self::session).
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Its session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Sends it a message (`sendToCurrentClient`).
    pub fn send(&self, message: impl Into<OutMessage>) -> Sending<ToClient> {
        self.gateway.send_to_client(self.id, message)
    }

    /// Closes it after what is already on its way to it (`closeCurrentClient`).
    ///
    /// # Errors
    /// None today.
    pub async fn close(&self) -> Result<Delivery, Error> {
        self.gateway.close_client(self.id).await
    }

    /// The same with a last message.
    ///
    /// # Errors
    /// When the message does not fit a frame.
    pub async fn close_with(&self, message: impl Into<OutMessage>) -> Result<Delivery, Error> {
        self.gateway.close_client(self.id).last_message(message).await
    }

    /// Closes it at once (`destoryCurrentClient`).
    ///
    /// # Errors
    /// None today.
    pub async fn destroy(&self) -> Result<Delivery, Error> {
        self.gateway.destroy_client(self.id).await
    }

    /// Binds it to a uid, and thereby unbinds it from another.
    ///
    /// # Errors
    /// When the uid is empty or `"0"`.
    pub async fn bind_uid(&self, uid: impl TryInto<Uid, Error: Into<IdError>>) -> Result<Delivery, Error> {
        self.gateway.bind_uid(self.id, uid).await
    }

    /// Unbinds it.
    ///
    /// # Errors
    /// When the uid is empty or `"0"`.
    pub async fn unbind_uid(&self, uid: impl TryInto<Uid, Error: Into<IdError>>) -> Result<Delivery, Error> {
        self.gateway.unbind_uid(self.id, uid).await
    }

    /// Puts it into a group.
    ///
    /// # Errors
    /// When the group is empty or `"0"`.
    pub async fn join_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Result<Delivery, Error> {
        self.gateway.join_group(self.id, group).await
    }

    /// Takes it out.
    ///
    /// # Errors
    /// When the group is empty or `"0"`.
    pub async fn leave_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Result<Delivery, Error> {
        self.gateway.leave_group(self.id, group).await
    }
}

/// For what takes a client or something that an application made of one.
impl AsRef<Client> for Client {
    fn as_ref(&self) -> &Client {
        self
    }
}
