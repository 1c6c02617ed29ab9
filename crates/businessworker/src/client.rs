//! [`Client`]: the client whose event is being handled, and what is most often done to it.
//!
//! `handler` makes one for each event and lends it to the application's handler. Each call
//! goes on to the [`Gateway`] handle; nothing is decided in here.

use std::net::SocketAddrV4;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_client::worker::WorkerHandle;
use gatewayworker_client::{
    ClientId, Delivery, Error, Gateway, GroupId, IdError, OutMessage, Sending, ToClient, Uid,
};
use gatewayworker_protocol::{ClientCloseFrame, Origin};

use crate::Session;

/// The client whose event is being handled, and what is most often done to it.
///
/// A clone may outlive the handler; changes to its [`Session`] are then lost.
#[derive(Debug, Clone)]
pub struct Client {
    id: ClientId,
    origin: Origin,
    gateway: Gateway,
    session: Session,
    close_frame: Option<Arc<ClientCloseFrame>>,
}

impl Client {
    pub(crate) fn new(origin: Origin, worker: &WorkerHandle, session: Bytes) -> Self {
        let id = ClientId::new(origin.gateway, origin.connection_id);
        let session = Session::new(id, session);
        Self {
            id,
            origin,
            gateway: worker.gateway_observed_by(session.observer()),
            session,
            close_frame: None,
        }
    }

    /// Reads the client's close frame in the body of ON_CLOSE.
    pub(crate) fn read_close_frame(&mut self, body: &[u8]) {
        self.close_frame = ClientCloseFrame::from_wire(body).map(Arc::new);
    }

    /// Returns the id of the client, the same everywhere in the cluster.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Returns the client's address, or `None` where it came over IPv6, which the protocol
    /// has no room for: see [`Handshake::remote_addr`](crate::Handshake::remote_addr).
    ///
    /// Behind a proxy that the gateway trusts, it is the address of the person behind the
    /// proxy; the port is 0 where the proxy does not say it.
    pub fn remote_addr(&self) -> Option<SocketAddrV4> {
        let address = self.origin.client;
        (!address.ip().is_unspecified()).then_some(address)
    }

    /// Returns the gateway's port that the client connected to.
    pub fn gateway_port(&self) -> u16 {
        self.origin.gateway_port
    }

    /// Returns the handle for calls to any client. A write through it to this client's
    /// session shows in [`session`](Self::session).
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Returns the client's session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the close frame that the client sent: in `on_close`, where a WebSocket client closed
    /// with a code. `None` in other handlers, where the client's connection just ended or the
    /// gateway closed it, and from a PHP gateway, which does not say.
    ///
    /// A browser sends 1001 when its page is left, and the code and reason that the page gives to
    /// `close(code, reason)`. They are the client's words: do not trust them.
    pub fn close_frame(&self) -> Option<&ClientCloseFrame> {
        self.close_frame.as_deref()
    }

    /// Sends the client a message (`sendToCurrentClient`).
    pub fn send(&self, message: impl Into<OutMessage>) -> Sending<ToClient> {
        self.gateway.send_to_client(self.id, message)
    }

    /// Closes the client, after what was sent to it before (`closeCurrentClient`).
    ///
    /// # Errors
    /// None today.
    pub async fn close(&self) -> Result<Delivery, Error> {
        self.gateway.close_client(self.id).await
    }

    /// Closes the client after a last message.
    ///
    /// # Errors
    /// When the message does not fit a frame.
    pub async fn close_with(&self, message: impl Into<OutMessage>) -> Result<Delivery, Error> {
        self.gateway.close_client(self.id).last_message(message).await
    }

    /// Closes the client at once; what was sent to it before may be lost
    /// (`destoryCurrentClient`).
    ///
    /// # Errors
    /// None today.
    pub async fn destroy(&self) -> Result<Delivery, Error> {
        self.gateway.destroy_client(self.id).await
    }

    /// Binds the client to a uid; it is no longer bound to another.
    ///
    /// # Errors
    /// When the uid is empty or `"0"`.
    pub async fn bind_uid(&self, uid: impl TryInto<Uid, Error: Into<IdError>>) -> Result<Delivery, Error> {
        self.gateway.bind_uid(self.id, uid).await
    }

    /// Unbinds the client from a uid.
    ///
    /// # Errors
    /// When the uid is empty or `"0"`.
    pub async fn unbind_uid(&self, uid: impl TryInto<Uid, Error: Into<IdError>>) -> Result<Delivery, Error> {
        self.gateway.unbind_uid(self.id, uid).await
    }

    /// Puts the client into a group.
    ///
    /// # Errors
    /// When the group is empty or `"0"`.
    pub async fn join_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Result<Delivery, Error> {
        self.gateway.join_group(self.id, group).await
    }

    /// Takes the client out of a group.
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

/// For functions that take a client, or a type of the application that holds one.
impl AsRef<Client> for Client {
    fn as_ref(&self) -> &Client {
        self
    }
}
