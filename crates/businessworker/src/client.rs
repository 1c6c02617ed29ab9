//! [`Client`]: the client whose event is being handled, and what is most often done to it.
//!
//! `handler` makes one for each event and lends it to the application's handler. Each call
//! goes on to the [`Gateway`] handle; nothing is decided in here.

use std::net::SocketAddrV4;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_client::worker::{EventCalls, Fence, SessionObserver, WorkerHandle};
use gatewayworker_client::{
    ClientId, Delivery, Error, Gateway, GroupId, IdError, OutMessage, Sending, ToClient, Uid, php,
};
use gatewayworker_protocol::{ClientCloseFrame, EventContext, Origin};

use crate::Session;
use crate::core::Epoch;

/// The client whose event is being handled, and what is most often done to it.
///
/// A clone may outlive the handler; changes to its [`Session`] are then lost.
///
/// # When a link to the gateway ends
///
/// An event belongs to the worker that it was given to for as long as the links to its gateway stand.
/// When one of them ends, each call of this handler, through the client or its
/// [`gateway`](Self::gateway), fails with [`Error::Fenced`] and sends nothing, from then on. Return that
/// error (`?`): the event is handled once more. If the gateway lives, it gives the event to another
/// worker, or again. If it is lost, this worker runs the handler again, before `on_close`. Either time
/// [`redelivered`](Self::redelivered) is true.
#[derive(Debug, Clone)]
pub struct Client {
    id: ClientId,
    origin: Origin,
    gateway: Gateway,
    /// For calls to the client itself, where its gateway is lost: they fail.
    own: Option<Box<Gateway>>,
    session: Session,
    close_frame: Option<Arc<ClientCloseFrame>>,
    redelivered: bool,
    context: Option<Arc<EventContext>>,
    /// The id of the gateway's process, where there is a context.
    instance: Option<u64>,
}

/// How an event reaches its handler.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// The event's epoch, where the gateway acknowledges events.
    pub(crate) epoch: Option<&'a Arc<Epoch>>,
    pub(crate) redelivered: bool,
    pub(crate) has_lost_gateway: bool,
    pub(crate) context: Option<Arc<EventContext>>,
}

/// Refuses each call to a client whose gateway is lost.
struct LostGateway(Fence);

impl LostGateway {
    fn new() -> Self {
        let fence = Fence::new();
        fence.end();
        Self(fence)
    }
}

impl SessionObserver for LostGateway {
    fn session_replaced(&self, _: ClientId, _: &[u8]) {}
    fn session_merged(&self, _: ClientId, _: &php::Array) {}

    fn fence(&self) -> Option<&Fence> {
        Some(&self.0)
    }
}

impl Client {
    pub(crate) fn new(origin: Origin, worker: &WorkerHandle, session: Bytes, given: Given<'_>) -> Self {
        let id = ClientId::new(origin.gateway, origin.connection_id);
        let Given { epoch, redelivered, has_lost_gateway, context } = given;
        // The epoch of a lost gateway is over, and the handler may still speak to other gateways.
        let session = Session::new(id, session, epoch.filter(|_| !has_lost_gateway));
        let gateway = worker.gateway_observed_by(session.observer());
        // Other gateways are there; of this one, another process may have the address.
        let own =
            has_lost_gateway.then(|| Box::new(worker.gateway_observed_by(Arc::new(LostGateway::new()))));
        let instance = context.as_ref().and(epoch).map(|epoch| epoch.instance());
        Self { id, origin, gateway, own, session, close_frame: None, redelivered, context, instance }
    }

    /// Whether calls of the handler were refused, as the epoch of the event is over, or the handler has given it back.
    pub(crate) fn was_fenced(&self) -> bool {
        self.session.calls().is_some_and(EventCalls::was_fenced)
    }

    /// Whether the handler has given the event back [begun](Self::give_back_begun).
    pub(crate) fn was_given_back_begun(&self) -> bool {
        self.session.calls().is_some_and(EventCalls::is_begun)
    }

    /// Reads the client's close frame in the body of ON_CLOSE.
    pub(crate) fn read_close_frame(&mut self, body: &[u8]) {
        self.close_frame = ClientCloseFrame::from_wire(body).map(Arc::new);
    }

    /// The handle for calls to the client itself.
    fn own(&self) -> &Gateway {
        self.own.as_deref().unwrap_or(&self.gateway)
    }

    /// Returns whether the event may have been handled before, in whole or in part, by this worker or
    /// another one.
    ///
    /// A gateway gives an event again when the worker that it was given to first has died, has fallen
    /// silent, or was cut off, without having said that the event is done, or has given it back
    /// [begun](Self::give_back_begun). So does a worker that runs
    /// `on_close` for the clients of a gateway that is [lost](crate::CloseReason::GatewayLost). Most
    /// handlers need not look at it: sending a message twice is better than never. Where twice is wrong
    /// (money, a counter), remember under a key of the message's own that it was handled.
    ///
    /// `false` says that nobody has handled it, unless the gateway is one of the original, which gives
    /// no event again.
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// Returns what the gateway knew when the event came: the client's uid and groups, and the event's number. For a
    /// close, that is how it was before the client was taken out of them; a handler could not ask for it any more.
    ///
    /// `None` unless [`Events::takes_context`](crate::Events::takes_context) says that the application wants it. It is
    /// `None`, too, for events of a gateway of the original or of an older version, for the close that a worker calls as
    /// the gateway is [lost](crate::CloseReason::GatewayLost), and where the event's message, session and context are
    /// longer than a frame may be. An event that was made while no worker was linked that asks has the groups and uid
    /// of the time when it was given.
    ///
    /// What an earlier event of the client does may not be seen here yet, as events are given ahead: a client that
    /// sends two messages in a row, the first of which makes it join a group, may not be in that group by the context
    /// of the second.
    pub fn context(&self) -> Option<&EventContext> {
        self.context.as_deref()
    }

    /// Returns an id of the event, which no other event of any gateway has, and which the event keeps when it is given
    /// again ([`redelivered`](Self::redelivered)): a key under which to remember that it was handled. `None` where there
    /// is no [`context`](Self::context), or the gateway does not give events again.
    pub fn event_id(&self) -> Option<String> {
        Some(self.context()?.id(self.instance?))
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

    /// Checks that the event is still this worker's, without a call.
    ///
    /// # Errors
    /// [`Error::Fenced`], when the event is given to another worker. Return it: as after a call that was refused, the
    /// event is handled once more.
    pub fn check_fence(&self) -> Result<(), Error> {
        self.session.check_fence()
    }

    /// Gives the event back, as the handler has not begun with it: it has made no call. Return from the handler then,
    /// with any result. Where the worker drains, the gateway gives the event to another worker; otherwise this one
    /// handles it once more. False where the gateway takes no event back, as one of the original's does not: finish it.
    pub fn give_back(&self) -> bool {
        self.note_unhandled(false)
    }

    /// Gives the event back as [`give_back`](Self::give_back) does, where the handler has made no call to a gateway, but
    /// may have done something elsewhere. [`redelivered`](Self::redelivered) is true then when the event is handled
    /// once more, but for an event of a gateway of an older version that goes to another worker.
    pub fn give_back_begun(&self) -> bool {
        self.note_unhandled(true)
    }

    fn note_unhandled(&self, is_begun: bool) -> bool {
        self.session.calls().map(|calls| calls.note_unhandled(is_begun)).is_some()
    }

    /// Sends the client a message (`sendToCurrentClient`).
    pub fn send(&self, message: impl Into<OutMessage>) -> Sending<ToClient> {
        self.own().send_to_client(self.id, message)
    }

    /// Closes the client, after what was sent to it before (`closeCurrentClient`).
    ///
    /// # Errors
    /// [`Error::Fenced`], when the event is given to another worker.
    pub async fn close(&self) -> Result<Delivery, Error> {
        self.own().close_client(self.id).await
    }

    /// Closes the client after a last message.
    ///
    /// # Errors
    /// When the message does not fit a frame, or the event is given to another worker
    /// ([`Error::Fenced`]).
    pub async fn close_with(&self, message: impl Into<OutMessage>) -> Result<Delivery, Error> {
        self.own().close_client(self.id).last_message(message).await
    }

    /// Closes the client with a WebSocket close code, after what was sent to it before. `on_close` gets the reason
    /// [`Refused`](crate::CloseReason::Refused). A gateway of the original closes without the code.
    ///
    /// # Errors
    /// [`Error::Fenced`], when the event is given to another worker.
    pub async fn close_with_code(&self, code: u16) -> Result<Delivery, Error> {
        self.own().close_client_with_code(self.id, code).await
    }

    /// Closes the client at once; what was sent to it before may be lost
    /// (`destoryCurrentClient`).
    ///
    /// # Errors
    /// [`Error::Fenced`], when the event is given to another worker.
    pub async fn destroy(&self) -> Result<Delivery, Error> {
        self.own().destroy_client(self.id).await
    }

    /// Binds the client to a uid; it is no longer bound to another.
    ///
    /// # Errors
    /// When the uid is empty or `"0"`, or the event is given to another worker ([`Error::Fenced`]).
    pub async fn bind_uid(&self, uid: impl TryInto<Uid, Error: Into<IdError>>) -> Result<Delivery, Error> {
        self.own().bind_uid(self.id, uid).await
    }

    /// Unbinds the client from a uid.
    ///
    /// # Errors
    /// When the uid is empty or `"0"`, or the event is given to another worker ([`Error::Fenced`]).
    pub async fn unbind_uid(&self, uid: impl TryInto<Uid, Error: Into<IdError>>) -> Result<Delivery, Error> {
        self.own().unbind_uid(self.id, uid).await
    }

    /// Puts the client into a group.
    ///
    /// # Errors
    /// When the group is empty or `"0"`, or the event is given to another worker ([`Error::Fenced`]).
    pub async fn join_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Result<Delivery, Error> {
        self.own().join_group(self.id, group).await
    }

    /// Takes the client out of a group.
    ///
    /// # Errors
    /// When the group is empty or `"0"`, or the event is given to another worker ([`Error::Fenced`]).
    pub async fn leave_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Result<Delivery, Error> {
        self.own().leave_group(self.id, group).await
    }
}

/// For functions that take a client, or a type of the application that holds one.
impl AsRef<Client> for Client {
    fn as_ref(&self) -> &Client {
        self
    }
}
