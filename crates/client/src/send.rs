//! Sends: built, refined, then awaited.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use gatewayworker_protocol::{Audience, Body, ClientId, Command, GroupId, HEADER_LEN, IdError, Payload, Uid};

use crate::{Delivery, Error, Gateway, OutMessage};

/// What an id takes in the JSON of a frame at most, `"4294967295":4294967295,`.
const ID_COST: usize = 24;

/// What the JSON around a list of ids takes at most.
const LIST_COST: usize = 64;

/// A message on its way to `T`; nothing is sent until it is awaited.
#[must_use = "nothing is sent until it is awaited"]
#[derive(Debug, Clone)]
pub struct Sending<T> {
    gateway: Gateway,
    message: OutMessage,
    to: T,
}

impl<T> Sending<T> {
    /// The message is already encoded for the client's protocol: a whole WebSocket
    /// frame, say (the original's `$raw`).
    pub fn raw(mut self) -> Self {
        self.message.payload_mut().raw = true;
        self
    }

    /// WebSocket clients get it as a binary message. (A gateway of the original
    /// does not know this, and sends text.)
    pub fn binary(mut self) -> Self {
        self.message.payload_mut().binary = true;
        self
    }
}

/// Where a [`Sending`] goes. Implemented here only.
pub trait Target: sealed::Target {}

mod sealed {
    use super::{Delivery, Error, Gateway, Payload};

    pub trait Target {
        fn send(self, gateway: &Gateway, message: Payload) -> Result<Delivery, Error>;
    }
}

/// To one client.
#[derive(Debug, Clone)]
pub struct ToClient(ClientId);

/// To every client, or all but some.
#[derive(Debug, Clone)]
pub struct ToAll {
    except: Vec<ClientId>,
}

/// To these clients and nobody else.
#[derive(Debug, Clone)]
pub struct ToClients {
    ids: Vec<ClientId>,
    except: HashSet<ClientId>,
}

/// To all clients of some uids.
#[derive(Debug, Clone)]
pub struct ToUids(Result<Vec<Bytes>, IdError>);

/// To the members of some groups, or all but some of them.
#[derive(Debug, Clone)]
pub struct ToGroups {
    groups: Result<Vec<Bytes>, IdError>,
    except: Vec<ClientId>,
}

impl Gateway {
    /// To every client (`sendToAll`); `.only(ids)` or `.except(ids)` narrow it.
    pub fn send_to_all(&self, message: impl Into<OutMessage>) -> Sending<ToAll> {
        self.sending(message, ToAll { except: Vec::new() })
    }

    /// To one client (`sendToClient`). One that is gone gets nothing, and nobody
    /// is told: ask [`is_online`](Self::is_online).
    pub fn send_to_client(&self, id: ClientId, message: impl Into<OutMessage>) -> Sending<ToClient> {
        self.sending(message, ToClient(id))
    }

    /// To every client that is bound to one of these uids (`sendToUid`).
    pub fn send_to_uid<I>(&self, uids: I, message: impl Into<OutMessage>) -> Sending<ToUids>
    where
        I: IntoIterator<Item: TryInto<Uid, Error: Into<IdError>>>,
    {
        self.sending(message, ToUids(uid_bytes(uids)))
    }

    /// To every member of these groups (`sendToGroup`), `.except(ids)`. Who is in
    /// two of them gets it twice, as in the original.
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
    /// Only to these clients; to nobody, if there are none. A list that takes several
    /// frames (some 400,000 clients) may be cut short where the link is overloaded;
    /// the [`Delivery`] names the gateway then.
    pub fn only(self, ids: impl IntoIterator<Item = ClientId>) -> Sending<ToClients> {
        let to = ToClients { ids: ids.into_iter().collect(), except: self.to.except.into_iter().collect() };
        Sending { gateway: self.gateway, message: self.message, to }
    }

    /// Not to these clients.
    pub fn except(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.to.except.extend(ids);
        self
    }
}

impl Sending<ToClients> {
    /// Not to these clients, even if they are listed.
    pub fn except(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.to.except.extend(ids);
        self
    }
}

impl Sending<ToGroups> {
    /// Not to these clients.
    pub fn except(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.to.except.extend(ids);
        self
    }
}

impl Target for ToClient {}
impl sealed::Target for ToClient {
    fn send(self, gateway: &Gateway, message: Payload) -> Result<Delivery, Error> {
        let command = Command::SendToOne { to: self.0.connection_id(), message };
        gateway.tell_one(self.0.gateway(), &command.into_frame())
    }
}

impl Target for ToAll {}
impl sealed::Target for ToAll {
    fn send(self, gateway: &Gateway, message: Payload) -> Result<Delivery, Error> {
        if self.except.is_empty() {
            return gateway.tell_all(&Command::SendToAll { to: Audience::Everyone, message }.into_frame());
        }
        to_each(gateway, self.except, |except| {
            let to = if except.is_empty() { Audience::Everyone } else { Audience::Except(except) };
            vec![Command::SendToAll { to, message: message.clone() }]
        })
    }
}

impl Target for ToClients {}
impl sealed::Target for ToClients {
    fn send(self, gateway: &Gateway, message: Payload) -> Result<Delivery, Error> {
        let ToClients { ids, except } = self;
        let room = room_beside(gateway, &message, 0);
        let mut plan = Vec::new();
        for (address, ids) in by_gateway(ids.into_iter().filter(|id| !except.contains(id))) {
            for ids in chunks(ids, |_| ID_COST, room) {
                let command = Command::SendToAll { to: Audience::Only(ids), message: message.clone() };
                plan.push((address, command.into_frame()));
            }
        }
        gateway.tell_some(&plan)
    }
}

impl Target for ToUids {}
impl sealed::Target for ToUids {
    fn send(self, gateway: &Gateway, message: Payload) -> Result<Delivery, Error> {
        let room = room_beside(gateway, &message, 0);
        let chunks = chunks(self.0?, name_cost, room);
        to_each(gateway, Vec::new(), |_| {
            let command = |uids: &Vec<_>| Command::SendToUid { uids: uids.clone(), message: message.clone() };
            chunks.iter().map(command).collect()
        })
    }
}

impl Target for ToGroups {}
impl sealed::Target for ToGroups {
    fn send(self, gateway: &Gateway, message: Payload) -> Result<Delivery, Error> {
        let room = room_beside(gateway, &message, self.except.len());
        let chunks = chunks(self.groups?, name_cost, room);
        to_each(gateway, self.except, |except| {
            let command = |groups: &Vec<_>| Command::SendToGroup {
                groups: groups.clone(),
                except: except.clone(),
                message: message.clone(),
            };
            chunks.iter().map(command).collect()
        })
    }
}

/// To every gateway, what `commands` makes of those of the ids that are its own.
fn to_each(
    gateway: &Gateway,
    ids: Vec<ClientId>,
    commands: impl Fn(Vec<u32>) -> Vec<Command>,
) -> Result<Delivery, Error> {
    let links = gateway.links().all();
    if links.is_empty() {
        return Err(Error::NoGateways);
    }
    let mut own = by_gateway(ids);
    let mut plan = Vec::new();
    for address in links.keys() {
        let commands = commands(own.remove(address).unwrap_or_default());
        plan.extend(commands.into_iter().map(|command| (*address, command.into_frame())));
    }
    gateway.tell_some(&plan)
}

fn by_gateway(ids: impl IntoIterator<Item = ClientId>) -> BTreeMap<SocketAddrV4, Vec<u32>> {
    let mut own = BTreeMap::<_, Vec<u32>>::new();
    for id in ids {
        own.entry(id.gateway()).or_default().push(id.connection_id());
    }
    own
}

/// The bytes that a frame with this message has left for a list.
fn room_beside(gateway: &Gateway, message: &Payload, ids: usize) -> usize {
    let (Body::Plain(body) | Body::Php(body)) = &message.body;
    let body = body.len();
    gateway.max_frame_len().saturating_sub(HEADER_LEN + LIST_COST + body + ids.saturating_mul(ID_COST))
}

/// What a name takes in JSON at most: each byte may be escaped (`\u001f`), or
/// replaced by three.
fn name_cost(name: &Bytes) -> usize {
    name.len() * 6 + 3
}

/// Cuts a list so that no part costs more than `room`. What does not fit alone
/// gets a part of its own, and its frame is found too long later.
fn chunks<T>(items: Vec<T>, cost: impl Fn(&T) -> usize, room: usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut left = 0;
    for item in items {
        let cost = cost(&item);
        match parts.last_mut() {
            Some(part) if cost <= left => {
                left -= cost;
                part.push(item);
            }
            _ => {
                parts.push(vec![item]);
                left = room.saturating_sub(cost);
            }
        }
    }
    parts
}

pub(crate) fn uid_bytes<I>(uids: I) -> Result<Vec<Bytes>, IdError>
where
    I: IntoIterator<Item: TryInto<Uid, Error: Into<IdError>>>,
{
    uids.into_iter().map(|uid| Ok(uid.try_into().map_err(Into::into)?.as_bytes().clone())).collect()
}

pub(crate) fn group_bytes<I>(groups: I) -> Result<Vec<Bytes>, IdError>
where
    I: IntoIterator<Item: TryInto<GroupId, Error: Into<IdError>>>,
{
    groups.into_iter().map(|group| Ok(group.try_into().map_err(Into::into)?.as_bytes().clone())).collect()
}

/// A [`Sending`] being awaited. It waits only where the handle is so new that its
/// gateways are not known yet.
pub struct SendFuture<T> {
    sending: Option<Sending<T>>,
    settling: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<T: Target + Unpin> IntoFuture for Sending<T> {
    type Output = Result<Delivery, Error>;
    type IntoFuture = SendFuture<T>;

    fn into_future(self) -> Self::IntoFuture {
        SendFuture { sending: Some(self), settling: None }
    }
}

impl<T: Target + Unpin> Future for SendFuture<T> {
    type Output = Result<Delivery, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(sending) = this.sending.as_ref().filter(|sending| !sending.gateway.links().is_settled()) {
            let settling = this.settling.get_or_insert_with(|| {
                let gateway = sending.gateway.clone();
                Box::pin(async move { gateway.links().settle().await })
            });
            std::task::ready!(settling.as_mut().poll(cx));
        }
        let Sending { gateway, message, to } = this.sending.take().expect("polled after it was ready");
        Poll::Ready(to.send(&gateway, message.into_payload()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_so_that_each_part_fits() {
        let parts = chunks(vec![4, 4, 4, 9, 100, 1], |n| *n, 10);
        assert_eq!(parts, [vec![4, 4], vec![4], vec![9], vec![100], vec![1]]);
        assert!(chunks(Vec::<usize>::new(), |n| *n, 10).is_empty());
    }
}
