//! Closing clients: built, refined, then awaited.

use gatewayworker_protocol::{ClientId, Command, Payload};

use crate::dispatch::{CommandFuture, Dispatch, Operation};
use crate::targets::ToClient;
use crate::{Gateway, OutMessage};

/// The closing of some clients; nobody is closed until it is awaited.
#[must_use = "nobody is closed until it is awaited"]
#[derive(Debug, Clone)]
pub struct Closing<T> {
    gateway: Gateway,
    to: T,
    last_message: Option<OutMessage>,
}

impl Gateway {
    /// Closes a client's connection after what is already on its way to it
    /// (`closeClient`); [`.last_message(…)`](Closing::last_message) adds a message.
    ///
    /// A gateway that was not reached is named in the [`Delivery`](crate::Delivery). Awaiting
    /// it fails only when the last message does not fit a frame.
    pub fn close_client(&self, id: ClientId) -> Closing<ToClient> {
        self.closing(ToClient(id))
    }

    fn closing<T>(&self, to: T) -> Closing<T> {
        Closing { gateway: self.clone(), to, last_message: None }
    }
}

impl<T> Closing<T> {
    /// Sends a last message before the connection is closed.
    pub fn last_message(mut self, message: impl Into<OutMessage>) -> Self {
        self.last_message = Some(message.into());
        self
    }
}

/// Targets that can be closed.
pub trait Closable: Send + Unpin + 'static {
    /// Tells the gateways of these clients.
    fn close(self, gateway: Gateway, last_message: Option<Payload>) -> Dispatch;
}

impl Closable for ToClient {
    fn close(self, gateway: Gateway, message: Option<Payload>) -> Dispatch {
        let command = Command::Kick { connection_id: self.0.connection_id(), message };
        Dispatch::Done(gateway.tell_one(self.0.gateway(), &command.into_frame()))
    }
}

impl<T: Closable> Operation for Closing<T> {
    fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    fn start(self) -> Dispatch {
        self.to.close(self.gateway, self.last_message.map(OutMessage::into_payload))
    }
}

impl<T: Closable> IntoFuture for Closing<T> {
    type Output = <CommandFuture<Self> as Future>::Output;
    type IntoFuture = CommandFuture<Self>;

    fn into_future(self) -> Self::IntoFuture {
        CommandFuture::new(self)
    }
}
