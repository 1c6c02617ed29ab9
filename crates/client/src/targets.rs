//! The receivers of a send: one client, all, some, or those of uids and groups.
//!
//! Each target knows which commands reach its receivers at which gateways. `send.rs` makes
//! targets, `close.rs` uses those of uids and groups too.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use gatewayworker_protocol::{Audience, ClientId, Command, GroupId, IdError, Payload, Uid};

use crate::dispatch::Dispatch;
use crate::elsewhere::Elsewhere;
use crate::frames::{Plan, by_gateway, name_chunks, name_chunks_within, send_to_clients, to_each};
use crate::names::Names;
use crate::{Delivery, Error, Gateway, emulated};

/// The receivers of a [`Sending`](crate::Sending). Implemented in this crate only.
pub trait Target: sealed::Target + Send + Unpin + 'static {}

pub(crate) mod sealed {
    use super::{Dispatch, Elsewhere, Gateway, Payload};

    pub trait Target {
        /// Sends to receivers at the own gateways.
        fn send(self, gateway: &Gateway, message: Payload) -> Dispatch;

        /// The same send for other clusters, in frames of at most so many bytes; `None` if it goes to clients by their ids, whose gateways
        /// say where they are.
        fn elsewhere(&self, message: &Payload, limit: usize) -> Option<Elsewhere>;
    }
}

/// One client.
#[derive(Debug, Clone)]
pub struct ToClient(pub(crate) ClientId);

/// Every client, or all but some.
#[derive(Debug, Clone)]
pub struct ToAll {
    pub(crate) except: Vec<ClientId>,
}

/// These clients and nobody else.
#[derive(Debug, Clone)]
pub struct ToClients {
    pub(crate) ids: Vec<ClientId>,
    pub(crate) except: HashSet<ClientId>,
}

/// The clients of some uids, or all but some of them.
#[derive(Debug, Clone)]
pub struct ToUids {
    pub(crate) uids: Result<Vec<Bytes>, IdError>,
    pub(crate) except: HashSet<ClientId>,
}

/// The members of some groups, or all but some of them.
#[derive(Debug, Clone)]
pub struct ToGroups {
    pub(crate) groups: Result<Vec<Bytes>, IdError>,
    pub(crate) except: Vec<ClientId>,
}

impl Target for ToClient {}
impl sealed::Target for ToClient {
    fn send(self, gateway: &Gateway, message: Payload) -> Dispatch {
        let command = Command::SendToOne { to: self.0.connection_id(), message };
        let id = gateway.own_form(self.0);
        Dispatch::Done(gateway.tell_one(id.gateway(), &command.into_frame()))
    }

    fn elsewhere(&self, _message: &Payload, _limit: usize) -> Option<Elsewhere> {
        None
    }
}

impl Target for ToAll {}
impl sealed::Target for ToAll {
    fn send(self, gateway: &Gateway, message: Payload) -> Dispatch {
        if self.except.is_empty() {
            let command = Command::SendToAll { to: Audience::Everyone, message };
            return Dispatch::Done(gateway.tell_all(&command.into_frame()));
        }
        Dispatch::Done(to_each(gateway, &Names::Any, self.except, |except| {
            let to = if except.is_empty() { Audience::Everyone } else { Audience::Except(except) };
            vec![Command::SendToAll { to, message: message.clone() }]
        }))
    }

    fn elsewhere(&self, message: &Payload, _limit: usize) -> Option<Elsewhere> {
        let command = Command::SendToAll { to: Audience::Everyone, message: message.clone() };
        let except = self.except.clone();
        Some(Elsewhere { names: Names::Any, frames: vec![command.into_frame()], except })
    }
}

impl Target for ToClients {}
impl sealed::Target for ToClients {
    fn send(self, gateway: &Gateway, message: Payload) -> Dispatch {
        let Self { ids, except } = self;
        let mut plan = Plan::new();
        for (address, ids) in by_gateway(without(gateway, ids, &except)) {
            plan.extend(send_to_clients(gateway, address, ids, &message));
        }
        Dispatch::Done(gateway.tell_some(&plan))
    }

    fn elsewhere(&self, _message: &Payload, _limit: usize) -> Option<Elsewhere> {
        None
    }
}

impl Target for ToUids {}
impl sealed::Target for ToUids {
    fn send(self, gateway: &Gateway, message: Payload) -> Dispatch {
        let uids = match self.uids {
            Ok(uids) => uids,
            Err(error) => return Dispatch::Done(Err(error.into())),
        };
        if !self.except.is_empty() {
            let gateway = gateway.clone();
            let send = async move { emulated::send_to_uids(&gateway, uids, &self.except, &message).await };
            return Dispatch::Asking(Box::pin(send));
        }
        let names = Names::uids(&uids);
        let chunks = name_chunks(gateway, uids, &message, 0);
        Dispatch::Done(to_each(gateway, &names, Vec::new(), |_| {
            let command = |uids: &Vec<_>| Command::SendToUid { uids: uids.clone(), message: message.clone() };
            chunks.iter().map(command).collect()
        }))
    }

    fn elsewhere(&self, message: &Payload, limit: usize) -> Option<Elsewhere> {
        // With somebody excepted it asks all clusters for the clients, and sends to each by its id.
        let uids = self.uids.as_ref().ok().filter(|_| self.except.is_empty())?;
        let frame = |uids| Command::SendToUid { uids, message: message.clone() }.into_frame();
        let frames = name_chunks_within(limit, uids.clone(), message, 0).into_iter().map(frame).collect();
        Some(Elsewhere { names: Names::uids(uids), frames, except: Vec::new() })
    }
}

impl Target for ToGroups {}
impl sealed::Target for ToGroups {
    fn send(self, gateway: &Gateway, message: Payload) -> Dispatch {
        let send = || -> Result<Delivery, Error> {
            let groups = self.groups?;
            let names = Names::groups(&groups);
            let chunks = name_chunks(gateway, groups, &message, self.except.len());
            to_each(gateway, &names, self.except, |except| {
                let command = |groups: &Vec<_>| Command::SendToGroup {
                    groups: groups.clone(),
                    except: except.clone(),
                    message: message.clone(),
                };
                chunks.iter().map(command).collect()
            })
        };
        Dispatch::Done(send())
    }

    fn elsewhere(&self, message: &Payload, limit: usize) -> Option<Elsewhere> {
        let groups = self.groups.as_ref().ok()?;
        let frame = |groups| {
            Command::SendToGroup { groups, except: Vec::new(), message: message.clone() }.into_frame()
        };
        let chunks = name_chunks_within(limit, groups.clone(), message, self.except.len());
        let frames = chunks.into_iter().map(frame).collect();
        Some(Elsewhere { names: Names::groups(groups), frames, except: self.except.clone() })
    }
}

/// These clients without the excepted ones, in one form.
pub(crate) fn without(
    gateway: &Gateway,
    mut ids: Vec<ClientId>,
    except: &HashSet<ClientId>,
) -> impl Iterator<Item = ClientId> {
    let mut except = Cow::Borrowed(except);
    let mut plain_form = None;
    if gateway.federation().is_some() {
        let mut one_form = gateway.one_form();
        ids.iter_mut().for_each(|id| *id = one_form(*id));
        except = Cow::Owned(except.iter().map(|id| one_form(*id)).collect());
        // A plain id with an address that several clusters have is left as it is: it spares a client of each of them.
        plain_form = (!except.is_empty()).then(|| gateway.plain_form());
    }
    ids.into_iter().filter(move |id| {
        let is_spared = |id: &ClientId| except.contains(id);
        !is_spared(id) && !plain_form.as_mut().is_some_and(|plain_form| is_spared(&plain_form(*id)))
    })
}

/// The uids as the wire has them.
pub(crate) fn uid_bytes<I>(uids: I) -> Result<Vec<Bytes>, IdError>
where
    I: IntoIterator<Item: TryInto<Uid, Error: Into<IdError>>>,
{
    uids.into_iter().map(|uid| Ok(uid.try_into().map_err(Into::into)?.as_bytes().clone())).collect()
}

/// The groups as the wire has them.
pub(crate) fn group_bytes<I>(groups: I) -> Result<Vec<Bytes>, IdError>
where
    I: IntoIterator<Item: TryInto<GroupId, Error: Into<IdError>>>,
{
    groups.into_iter().map(|group| Ok(group.try_into().map_err(Into::into)?.as_bytes().clone())).collect()
}
