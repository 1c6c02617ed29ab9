//! Sends: built, refined, then awaited. `targets.rs` says which commands each send becomes.

use std::collections::HashSet;

use gatewayworker_protocol::{ClientId, GroupId, IdError, Uid};

use crate::dispatch::{CommandFuture, Dispatch, Operation};
use crate::targets::{Target, ToAll, ToClient, ToClients, ToGroups, ToUids, group_bytes, uid_bytes};
use crate::{Gateway, OutMessage, elsewhere};

/// A message on its way to `T`; nothing is sent until it is awaited.
#[must_use = "nothing is sent until it is awaited"]
#[derive(Debug, Clone)]
pub struct Sending<T> {
    gateway: Gateway,
    message: OutMessage,
    to: T,
}

impl<T> Sending<T> {
    /// Marks the message as encoded for the client's protocol already: a whole WebSocket
    /// frame, say (the original's `$raw`).
    pub fn raw(mut self) -> Self {
        self.message.payload_mut().raw = true;
        self
    }

    /// Marks the message as binary for WebSocket clients. (A gateway of the original
    /// does not know this, and sends text.)
    pub fn binary(mut self) -> Self {
        self.message.payload_mut().binary = true;
        self
    }
}

/// Awaiting a send fails when a uid or group is empty or `"0"`, no gateway is known, or the
/// message does not fit a frame. A gateway that was not reached is no failure: it is named in
/// the [`Delivery`](crate::Delivery).
impl Gateway {
    /// Sends to every client (`sendToAll`); `.only(ids)` or `.except(ids)` narrow it.
    pub fn send_to_all(&self, message: impl Into<OutMessage>) -> Sending<ToAll> {
        self.sending(message, ToAll { except: Vec::new() })
    }

    /// Sends to one client (`sendToClient`). A client that is gone gets nothing, and the
    /// sender is not told: ask [`is_online`](Self::is_online).
    pub fn send_to_client(&self, id: ClientId, message: impl Into<OutMessage>) -> Sending<ToClient> {
        self.sending(message, ToClient(id))
    }

    /// Sends to every client that is bound to one of these uids (`sendToUid`); `.except(ids)`
    /// narrows it.
    pub fn send_to_uid<I>(&self, uids: I, message: impl Into<OutMessage>) -> Sending<ToUids>
    where
        I: IntoIterator<Item: TryInto<Uid, Error: Into<IdError>>>,
    {
        self.sending(message, ToUids { uids: uid_bytes(uids), except: HashSet::new() })
    }

    /// Sends to every member of these groups (`sendToGroup`); `.except(ids)` narrows it. A
    /// member of two of them gets the message twice, as in the original.
    pub fn send_to_group<I>(&self, groups: I, message: impl Into<OutMessage>) -> Sending<ToGroups>
    where
        I: IntoIterator<Item: TryInto<GroupId, Error: Into<IdError>>>,
    {
        self.sending(message, ToGroups { groups: group_bytes(groups), except: Vec::new() })
    }

    fn sending<T>(&self, message: impl Into<OutMessage>, to: T) -> Sending<T> {
        Sending { gateway: self.clone(), message: message.into(), to }
    }
}

impl Sending<ToAll> {
    /// Sends only to these clients; to nobody, if there are none. A list that takes several
    /// frames (some 400,000 clients) may be cut short where the link is overloaded;
    /// the [`Delivery`](crate::Delivery) names the gateway then.
    pub fn only(self, ids: impl IntoIterator<Item = ClientId>) -> Sending<ToClients> {
        let to = ToClients { ids: ids.into_iter().collect(), except: self.to.except.into_iter().collect() };
        Sending { gateway: self.gateway, message: self.message, to }
    }

    /// Does not send to these clients.
    pub fn except(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.to.except.extend(ids);
        self
    }
}

impl Sending<ToClients> {
    /// Does not send to these clients, even if they are listed.
    pub fn except(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.to.except.extend(ids);
        self
    }
}

impl Sending<ToUids> {
    /// Does not send to these clients. Not in the original.
    ///
    /// With it the send asks all gateways for the clients of the uids first, so it is not
    /// atomic: a client that is bound meanwhile gets nothing. A gateway that does not answer
    /// is named in the [`Delivery`](crate::Delivery).
    pub fn except(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.to.except.extend(ids);
        self
    }
}

impl Sending<ToGroups> {
    /// Does not send to these clients.
    pub fn except(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.to.except.extend(ids);
        self
    }
}

impl<T: Target> Operation for Sending<T> {
    fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    fn start(self) -> Dispatch {
        let message = self.message.into_payload();
        match self.gateway.federation() {
            None => self.to.send(&self.gateway, message),
            Some(federation) => elsewhere::send(&self.gateway, federation, self.to, message),
        }
    }
}

impl<T: Target> IntoFuture for Sending<T> {
    type Output = <CommandFuture<Self> as Future>::Output;
    type IntoFuture = CommandFuture<Self>;

    fn into_future(self) -> Self::IntoFuture {
        CommandFuture::new(self)
    }
}
