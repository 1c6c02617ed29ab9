//! Closing clients: built, refined, then awaited.
//!
//! `emulated.rs` finds the clients of uids and groups; `dispatch.rs` awaits.

use std::collections::HashSet;

use gatewayworker_protocol::{ClientId, Command, GroupId, IdError, Payload, Uid};

use crate::dispatch::{CommandFuture, Dispatch, Operation};
use crate::targets::{ToClient, ToGroups, ToUids, group_bytes, uid_bytes};
use crate::{Gateway, OutMessage, emulated};

/// The closing of some clients; nobody is closed until it is awaited.
#[must_use = "nobody is closed until it is awaited"]
#[derive(Debug, Clone)]
pub struct Closing<T> {
    gateway: Gateway,
    to: T,
    last_message: Option<OutMessage>,
}

impl Gateway {
    /// Closes a client's connection after the messages on their way to it
    /// (`closeClient`); [`.last_message(…)`](Closing::last_message) adds a message.
    ///
    /// A gateway that was not reached is named in the [`Delivery`](crate::Delivery). Awaiting
    /// it fails only when the last message does not fit a frame.
    pub fn close_client(&self, id: ClientId) -> Closing<ToClient> {
        self.closing(ToClient(id))
    }

    /// Closes every client that is bound to one of these uids, in the way that
    /// [`close_client`](Self::close_client) does; `.except(ids)` spares some. Not in the
    /// original.
    ///
    /// It asks all gateways for the clients first, so it is not atomic: a client that is bound
    /// meanwhile is missed. A gateway that does not answer, or cannot be told, is named in the
    /// [`Delivery`](crate::Delivery). Awaiting it fails when a uid is empty or `"0"`, no
    /// gateway is known, or the last message does not fit a frame.
    pub fn close_uid<I>(&self, uids: I) -> Closing<ToUids>
    where
        I: IntoIterator<Item: TryInto<Uid, Error: Into<IdError>>>,
    {
        self.closing(ToUids { uids: uid_bytes(uids), except: HashSet::new() })
    }

    /// Closes every member of these groups, in the way that [`close_client`](Self::close_client) does;
    /// `.except(ids)` spares some. Not in the original.
    ///
    /// It asks all gateways for the members first, so it is not atomic: a client that joins
    /// meanwhile is missed. A gateway that does not answer, or cannot be told, is named in the
    /// [`Delivery`](crate::Delivery). Awaiting it fails when a group is empty or `"0"`, no
    /// gateway is known, or the last message does not fit a frame.
    pub fn close_group<I>(&self, groups: I) -> Closing<ToGroups>
    where
        I: IntoIterator<Item: TryInto<GroupId, Error: Into<IdError>>>,
    {
        self.closing(ToGroups { groups: group_bytes(groups), except: Vec::new() })
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

impl Closing<ToUids> {
    /// Spares these clients.
    pub fn except(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.to.except.extend(ids);
        self
    }
}

impl Closing<ToGroups> {
    /// Spares these clients.
    pub fn except(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.to.except.extend(ids);
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
        let id = gateway.own_form(self.0);
        Dispatch::Done(gateway.tell_one(id.gateway(), &command.into_frame()))
    }
}

impl Closable for ToUids {
    fn close(self, gateway: Gateway, last_message: Option<Payload>) -> Dispatch {
        Dispatch::Asking(Box::pin(async move {
            emulated::close_uids(&gateway, self.uids?, &self.except, last_message.as_ref()).await
        }))
    }
}

impl Closable for ToGroups {
    fn close(self, gateway: Gateway, last_message: Option<Payload>) -> Dispatch {
        Dispatch::Asking(Box::pin(async move {
            let except = self.except.into_iter().collect();
            emulated::close_groups(&gateway, self.groups?, &except, last_message.as_ref()).await
        }))
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
